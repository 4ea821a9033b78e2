"""``proctor race``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from proctor.cli.checkpoints import again, require_targets, rows_of, show_checkpoint, with_output_dir
from proctor.cli.ci import append_text
from proctor.cli.eval import ERRORS_REMAIN
from proctor.config import RunConfig
from proctor.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from proctor.evaluation.sweep import RaceResult
    from proctor.reports.sweep import RaceSummary

_NOTHING = RunConfig()


def race_command(
    *policies: str, config: Annotated[RunConfig, Parameter(name="*")] = _NOTHING, markdown: Path | None = None
) -> int:
    """Evaluate policies on the same episodes until it is known which is the best.

    The policies run the tasks round by round. A policy that is shown not to be the best stops, until one is left. The
    probability that one of the best policies is stopped is at most 5 %, however many policies there are.
    --eval.n_episodes is the largest number of episodes of each task. Each policy has a run directory below the output
    directory, which also holds race.json. The same command with the same --output_dir goes on.

    Parameters
    ----------
    policies
        Checkpoints, training directories, or what proctor sweep takes besides; two or more checkpoints in all.
    config
        The options of proctor eval, without --policy.path.
    markdown
        Append the table in Markdown to this file, for example "$GITHUB_STEP_SUMMARY".
    """
    return hold_race(policies, config, markdown)


def hold_race(targets: tuple[str, ...], config: RunConfig, markdown: Path | None) -> int:
    """Run a race, print how it ended, and return the exit status."""
    from proctor.evaluation.evaluator import Evaluator
    from proctor.evaluation.sweep import Sweep, find_checkpoints, run_race
    from proctor.evaluation.terminal import stopped_by_signals
    from proctor.reports.trackers import check_trackers

    require_targets(targets)
    check_trackers(config)
    checkpoints = find_checkpoints(targets)
    if len(checkpoints) < 2:
        raise ConfigError(f"A race needs two policies or more; {targets[0]} is {checkpoints[0].path} alone.")
    config = with_output_dir(_with_anytime_intervals(config), targets[0])
    folder = Path(str(config.output_dir))
    with Evaluator(config.env, seed=config.seed, trust_remote_code=config.trust_remote_code) as evaluator:
        sweep = Sweep(
            config, folder, evaluator, lambda swept, result: show_checkpoint(swept, result, config), decides=False
        )
        sweep.add(checkpoints)
        try:
            with stopped_by_signals(sweep):
                result = run_race(sweep, checkpoints, folder, _show)
        except Interrupted as interruption:
            interruption.hint = again(folder)
            raise
    return _conclude(result, folder, len(checkpoints), markdown)


def _with_anytime_intervals(config: RunConfig) -> RunConfig:
    """Choose the interval that may be looked at again and again.

    Raises:
        ConfigError: the user asks for another one, for another rule of when to stop, or for a dataset.
    """
    if config.eval.ci not in (None, "anytime"):
        raise ConfigError(f"eval.ci is '{config.eval.ci}', but a race looks again and again; leave it out.")
    if config.eval.stop_at_ci_width is not None:
        raise ConfigError("eval.stop_at_ci_width is given, but a race has a rule of its own; leave it out.")
    if config.eval.recording:
        raise ConfigError(
            "eval.recording is given, but a race would record each run again and again; leave it out, and record the "
            "runs afterwards with `proctor record`."
        )
    return replace(config, eval=replace(config.eval, ci="anytime"))


def _show(result: RaceResult) -> None:
    """Print how the race stands after a step."""
    from proctor.reports.sweep import race_lines

    for line in race_lines(_summary(result)):
        Console(stderr=True).print(line, soft_wrap=True)


def _summary(result: RaceResult) -> RaceSummary:
    from proctor.reports.sweep import RaceSummary

    left = [racer.checkpoint.name for racer in result.left]
    return RaceSummary(left, result.n_rounds, result.n_rounds_planned, result.n_episodes, result.n_episodes_planned)


def _conclude(result: RaceResult, folder: Path, n_asked: int, markdown: Path | None) -> int:
    """Print the table and how the race ended, and return the exit status."""
    from proctor.reports.markdown import race_markdown
    from proctor.reports.sweep import race_lines, sweep_table
    from proctor.reports.text import safe

    rows = [
        replace(row, status="" if end is None else f"out after {end}", mark=_mark(result, end))
        for row, end in zip(rows_of(list(result.racers), None), result.eliminated_after, strict=True)
    ]
    console = Console()
    console.print("", sweep_table(rows), "", sep="\n")
    lines = list(race_lines(_summary(result)))
    for line in [*lines, safe(f"Results     {folder}")]:
        console.print(line, soft_wrap=True)
    if markdown is not None:
        append_text(markdown, race_markdown(rows, lines))
    has_errors = any(racer.counts.n_errors for racer in result.racers)
    return ERRORS_REMAIN if has_errors or len(result.racers) < n_asked else 0


def _mark(result: RaceResult, end: int | None) -> str:
    if end is not None:
        return ""
    return "may be best" if result.winner is None else "best"
