"""``proctor eval``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.config import RunConfig

if TYPE_CHECKING:
    from proctor.ledger import EvalResult

ERRORS_REMAIN = 3
_NOTHING = RunConfig()


def eval_command(config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING) -> int:
    """Evaluate a policy on a benchmark.

    Results are written to the output directory, and a summary is printed. What that directory holds of the same
    evaluation already is kept, and the rest is run.
    """
    from proctor.evaluation import run
    from proctor.job import prepare

    return conclude(run(prepare(config), show))


def show(result: EvalResult) -> None:
    """Print the final block; videos may still have to be made."""
    from proctor.reports.terminal import Whereabouts, print_summary

    where = Whereabouts.of(result.directory)
    print_summary(Console(), result.summary, replace(where, writer=None, n_videos_to_come=result.n_videos_to_come))


def conclude(result: EvalResult) -> int:
    """Say what became of the videos; the exit status says whether errors remain."""
    from proctor.reports.terminal import print_videos

    print_videos(Console(), result.directory, result.summary.videos, result.video_problems)
    return ERRORS_REMAIN if result.n_errors else 0
