"""The module holds what ``proctor sweep`` and ``proctor race`` share: targets, a directory, lines about checkpoints."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from proctor.cli.eval import log_result
from proctor.config import RunConfig
from proctor.errors import ConfigError

if TYPE_CHECKING:
    from proctor.evaluation.result import EvalResult
    from proctor.evaluation.sweep import SweepVerdict, SweptCheckpoint
    from proctor.reports.sweep import SweepRow


def require_targets(targets: tuple[str, ...]) -> None:
    """Check that there is a target.

    Raises:
        ConfigError: there is none.
    """
    if not targets:
        raise ConfigError("Give at least one target, such as outputs/train/RUN.")


def with_output_dir(config: RunConfig, target: str) -> RunConfig:
    """Choose a new directory if the user has chosen none; of two sweeps that start together, each has its own."""
    from proctor.results.run_dir import RunDirectory

    if config.output_dir is not None:
        return config
    slug = re.sub(r"[^\w.-]+", "-", config.job_name or Path(target).name).strip("-.") or "sweep"
    wanted = Path(datetime.now().strftime(f"outputs/sweep/%Y-%m-%d/%H-%M-%S_{slug}"))  # noqa: DTZ005 - the user's clock
    return replace(config, output_dir=str(RunDirectory.create(wanted).path))


def again(folder: Path) -> str:
    """Say how to go on, as the end of a sentence."""
    return f"go on with the same command and --output_dir={shlex.quote(str(folder))}"


def show_checkpoint(swept: SweptCheckpoint, result: EvalResult | None, config: RunConfig) -> None:
    """Print a line about a checkpoint, and log its results wherever that is asked for."""
    from proctor.reports.text import percent, percent_range, safe

    name = swept.checkpoint.name
    if swept.problem:
        for line in f"{name}  failed: {swept.problem}".splitlines():
            Console().print(safe(line, "yellow"), soft_wrap=True)
        return
    numbers = f"{percent(swept.rate)}  ({percent_range(swept.interval)})"
    Console().print(safe(f"{name}  {numbers}  {swept.directory}"), soft_wrap=True)
    if result is not None:
        log_result(result, replace(config, job_name=name))


def rows_of(swept: list[SweptCheckpoint], verdict: SweepVerdict | None) -> list[SweepRow]:
    """Make the rows that are shown."""
    from proctor.reports.sweep import SweepRow
    from proctor.reports.text import NONE, tally

    best = None if verdict is None else verdict.best
    like = () if verdict is None else verdict.like_best
    return [
        SweepRow(
            series=each.checkpoint.series,
            name=each.checkpoint.name,
            step=each.checkpoint.step,
            rate=each.rate,
            interval=each.interval,
            tally=tally(each.counts) if each.summary is not None else NONE,
            status="" if each.status == "done" else each.status,
            problem=each.problem,
            mark="best" if each is best else "like best" if each in like else "",
        )
        for each in swept
    ]
