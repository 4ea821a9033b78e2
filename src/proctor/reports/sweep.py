"""Rates over training steps: the table, the verdict and the curve of a sweep.

What is shown of a checkpoint is a :class:`SweepRow`, which the sweep makes of its results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from proctor.reports.text import NONE, count, name_cell, percent, percent_range
from proctor.statistics.intervals import LEVEL, Interval

_CURVE_WIDTH = 21
"""Characters from 0 to 100 %: each stands for five points."""


@dataclass(frozen=True)
class SweepRow:
    """A checkpoint as it is shown.

    Attributes:
        series: the training; shown only if there are several.
        name: the name of its run directory, shown if the step is not known.
        step: the training step.
        rate, interval: the success rate, 0 to 1, and its interval; None if there is none.
        tally: successes of episodes, ``27/30``.
        status: "failed", "unfinished" or "waiting"; "" if every episode was completed.
        problem: the reason why it failed.
        mark: "best" or "like best" or "".
    """

    series: str
    name: str
    step: int | None
    rate: float | None
    interval: Interval | None
    tally: str
    status: str = ""
    problem: str = ""
    mark: str = ""


@dataclass(frozen=True)
class SweepSummary:
    """The best checkpoint as it is shown: its label, its rate, the interval that allows for the choice among
    ``n_compared``, and the labels of those that cannot be told from it.
    """

    best: str
    rate: float
    interval: Interval
    like_best: Sequence[str]
    n_compared: int


@dataclass(frozen=True)
class RaceSummary:
    """The state of a race as it is shown: the labels of those that may be the best, rounds and episodes."""

    left: Sequence[str]
    n_rounds: int
    n_rounds_planned: int
    n_episodes: int
    n_episodes_planned: int


def sweep_table(rows: Sequence[SweepRow]) -> Table:
    """Make a table with a row for each checkpoint, with its interval drawn from 0 to 100 %."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    several = len({row.series for row in rows}) > 1
    if several:
        table.add_column("training", min_width=8)
    for name in ("step", "success", "rate", f"{LEVEL:.0%} interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column(f"0 %{'100 %':>{_CURVE_WIDTH - 3}}", no_wrap=True)
    for row in rows:
        style = "bold" if row.mark == "best" else ""
        cells = [label_of(row), row.tally, percent(row.rate), percent_range(row.interval)]
        mark = Text(row.mark, "green") if row.mark else Text(row.status, "yellow")
        table.add_row(*([name_cell(row.series)] if several else []), *cells, mark, interval_bar(row), style=style)
    return table


def label_of(row: SweepRow) -> str:
    """Name a checkpoint by its step; by its run directory if the step is not known."""
    return row.name if row.step is None else str(row.step)


def interval_bar(row: SweepRow) -> str:
    """Draw the interval as a line, and the rate as a point on it."""
    if row.rate is None or row.interval is None:
        return ""
    low, at, high = (round(value * (_CURVE_WIDTH - 1)) for value in (row.interval.low, row.rate, row.interval.high))
    line = (" " * low + "─" * (high - low + 1)).ljust(_CURVE_WIDTH)
    return f"{line[:at]}●{line[at + 1 :]}"


def sweep_lines(summary: SweepSummary | None) -> Iterator[Text]:
    """State the verdict."""
    if summary is None:
        yield Text("No checkpoint has a success rate.", "yellow")
        return
    chosen = f"chosen among {summary.n_compared}" if summary.n_compared > 1 else "the only one with a rate"
    yield Text.assemble(
        (f"Best: {summary.best}", "bold"),
        f"  {percent(summary.rate)}  ({LEVEL:.0%} interval {percent_range(summary.interval)}, "
        f"which allows for its being {chosen})",
    )
    if summary.like_best:
        yield Text(f"Not told from it by these episodes: {', '.join(summary.like_best)}")
    elif summary.n_compared > 1:
        yield Text("Every other one is shown to be worse (p values adjusted by Holm's method for all pairs).")


def race_lines(shown: RaceSummary) -> Iterator[Text]:
    """State who has won a race, or who still may, and what the early end has saved."""
    rounds = f"{shown.n_rounds} of {count(shown.n_rounds_planned, 'round')}"
    if len(shown.left) == 1:
        yield Text.assemble(
            (f"{shown.left[0]} is the best", "bold"), f"  (error at most {1 - LEVEL:.0%}, however often one looks)"
        )
    else:
        yield Text.assemble(("Not decided", "bold"), f": one of {', '.join(shown.left)} is the best")
    saved = 1 - shown.n_episodes / shown.n_episodes_planned
    episodes = f"{shown.n_episodes} of {count(shown.n_episodes_planned, 'episode')}"
    yield Text(f"Looked at after {rounds}; {episodes} were run, {saved:.0%} were saved")


def cells_of(row: SweepRow) -> list[str]:
    """Give the cells of a checkpoint's row of a page: training, step, successes, rate, interval, remark."""
    remark = row.mark or " ".join(filter(None, (row.status, row.problem))) or NONE
    return [row.series, label_of(row), row.tally, percent(row.rate), percent_range(row.interval), remark]


def title_of(rows: Sequence[SweepRow]) -> str:
    """Name a sweep by its trainings and the number of its checkpoints."""
    return f"{', '.join(dict.fromkeys(row.series for row in rows))}: {count(len(rows), 'checkpoint')}"
