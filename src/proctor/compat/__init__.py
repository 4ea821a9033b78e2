"""LeRobot's Python functions, with the same names and results: `make_env`, `make_policy`, `eval_policy`."""

from proctor.compat.lerobot import eval_policy, make_env, make_policy

__all__ = ["eval_policy", "make_env", "make_policy"]
