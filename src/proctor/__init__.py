"""Proctor gives a robot policy its exam.

::

    import proctor

    result = proctor.evaluate(policy="outputs/train/…/pretrained_model", env="pusht", n_episodes=50)
    print(result.pc_success, result.directory)

Importing this package loads no simulator, no torch and no web framework; names are resolved when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proctor.benchmarks.base import Benchmark, SimEnv, Step
    from proctor.compat import PeftConfig, eval_policy, eval_policy_all, make_env, make_policy
    from proctor.config import DatasetConfig, EnvConfig, EvalConfig, WandBConfig
    from proctor.engine.plan import shard_episodes
    from proctor.errors import ProctorError
    from proctor.evaluation.evaluator import Evaluator
    from proctor.evaluation.result import EvalResult
    from proctor.evaluation.run import evaluate
    from proctor.policies.base import Policy
    from proctor.tuning.autotune import AutotuneRecommendation
    from proctor.types import EpisodeResult, EpisodeSpec, Observation, Outcome, Task

__version__: str

_HOMES = {
    "proctor.benchmarks.base": ("Benchmark", "SimEnv", "Step"),
    "proctor.config": ("DatasetConfig", "EnvConfig", "EvalConfig", "WandBConfig"),
    "proctor.engine.plan": ("shard_episodes",),
    "proctor.errors": ("ProctorError",),
    "proctor.evaluation.evaluator": ("Evaluator",),
    "proctor.evaluation.run": ("evaluate",),
    "proctor.evaluation.result": ("EvalResult",),
    "proctor.policies.base": ("Policy",),
    "proctor.tuning.autotune": ("AutotuneRecommendation",),
    "proctor.types": ("EpisodeResult", "EpisodeSpec", "Observation", "Outcome", "Task"),
    "proctor.compat": ("PeftConfig", "eval_policy", "eval_policy_all", "make_env", "make_policy"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AutotuneRecommendation",
    "Benchmark",
    "DatasetConfig",
    "EnvConfig",
    "EpisodeResult",
    "EpisodeSpec",
    "EvalConfig",
    "EvalResult",
    "Evaluator",
    "Observation",
    "Outcome",
    "PeftConfig",
    "Policy",
    "ProctorError",
    "SimEnv",
    "Step",
    "Task",
    "WandBConfig",
    "eval_policy",
    "eval_policy_all",
    "evaluate",
    "make_env",
    "make_policy",
    "shard_episodes",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # which takes as long to import as all of this package's own start

        from proctor.errors import distribution_name

        return version(distribution_name())
    if name not in _HOME_OF:
        raise AttributeError(f"module 'proctor' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
