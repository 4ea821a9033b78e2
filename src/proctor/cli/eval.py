"""``proctor eval``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.config import RunConfig

if TYPE_CHECKING:
    from proctor.evaluation import EvalResult

ERRORS_REMAIN = 3
_NOTHING = RunConfig()


def eval_command(config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING) -> int:
    """Evaluate a policy on a benchmark.

    A LeRobot checkpoint:
      proctor eval --policy.path=outputs/train/act_pusht/checkpoints/last/pretrained_model --env.type=pusht

    Scripted experts, no weights:
      proctor eval --policy.type=expert --env.type=metaworld --env.task=MT10 --eval.n_episodes=10

    Any Gymnasium environment, any function:
      proctor eval --policy.type=function --policy.function=my_module:predict
                   --env.type=gymnasium --env.task=CartPole-v1
    """
    from proctor.evaluation import run
    from proctor.job import prepare

    return show(run(prepare(config)))


def show(result: EvalResult) -> int:
    """Print the final block; the exit status says whether errors remain."""
    from proctor.reports.terminal import print_summary

    print_summary(Console(), result.summary, result.directory)
    return ERRORS_REMAIN if result.n_errors else 0
