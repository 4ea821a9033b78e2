"""``proctor eval``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.ci import CiOptions
from proctor.cli.record import show_recording
from proctor.config import RunConfig

if TYPE_CHECKING:
    from proctor.evaluation.result import EvalResult

ERRORS_REMAIN = 3
_NOTHING = RunConfig()
_NO_CI = CiOptions()


def eval_command(
    config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING,
    *,
    ci: Annotated[CiOptions, Parameter(name="*")] = _NO_CI,
) -> int:
    """Evaluate a policy on a benchmark.

    Results are written to the output directory, and a summary is printed. Episodes of the same evaluation that the
    directory holds already are kept, and the rest is run.
    """
    return conduct(config, ci)


def conduct(config: RunConfig, ci: CiOptions = _NO_CI) -> int:
    """Run an evaluation, or what is left of it, print its results, and return the exit status."""
    from proctor.evaluation.prepared_run import prepare
    from proctor.evaluation.run import run
    from proctor.reports.trackers import check_trackers

    check_trackers(config)
    return conclude(run(prepare(config), show), config, ci)


def show(result: EvalResult) -> None:
    """Print the final block; videos may still have to be made."""
    from proctor.reports.terminal import print_nothing_to_do, print_summary
    from proctor.results.run_dir import RunDirectory, Shard
    from proctor.results.run_status import RunStatus

    where = replace(
        RunStatus.of(result.directory),
        writer=None,
        n_videos_to_come=result.n_videos_to_come,
        video_budget_s=result.video_budget_s,
    )
    console = Console()
    if result.n_measured == 0:
        print_nothing_to_do(console, result.summary)
    config = result.run.config["eval"]
    run = RunDirectory(result.directory, Shard(config["shard_id"], config["num_shards"])).read_run()
    print_summary(console, result.summary, where, run)


def conclude(result: EvalResult, config: RunConfig, ci: CiOptions = _NO_CI) -> int:
    """Print where the videos are, hand the results on as was asked for, and return the exit status."""
    from proctor.reports.terminal import print_left_out, print_videos

    print_videos(Console(), result.directory, result.summary.videos, result.video_problems)
    if result.n_videos_left_out:
        print_left_out(Console(), result.directory, result.n_videos_left_out, result.video_budget_s)
    if result.recording is not None:
        show_recording(result.recording, config.eval.recording_repo_id, private=config.eval.recording_private)
    log_result(result, config)
    status = ci.report(result.run, result.summary)
    return ERRORS_REMAIN if result.n_errors else status


def log_result(result: EvalResult, config: RunConfig) -> None:
    """Log the results wherever that is asked for. A failure there is printed, and changes no result and no status."""
    from proctor.reports.terminal import print_logged, print_not_logged
    from proctor.reports.trackers import log_evaluation

    for outcome in log_evaluation(config, result.directory, result.run, result.summary):
        if isinstance(outcome, str):
            print_logged(Console(), outcome)
        else:
            print_not_logged(Console(), str(outcome), f"proctor resume {shlex.quote(str(result.directory))}")
