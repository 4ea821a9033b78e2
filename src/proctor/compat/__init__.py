"""LeRobot's Python functions, with the same names and results (`make_env`, `make_policy`, `eval_policy`,
`eval_policy_all`), and the configuration classes that nothing else here uses.
"""

from proctor.compat.lerobot import eval_policy, eval_policy_all, make_env, make_policy
from proctor.compat.peft import PeftConfig

__all__ = ["PeftConfig", "eval_policy", "eval_policy_all", "make_env", "make_policy"]
