"""The result of an evaluation in open loop as tables and lines, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.text import NONE, count, name_cell, safe
from proctor.results.open_loop import Error, Errors, Finding, OpenLoopEpisode, OpenLoopResult
from proctor.statistics.intervals import LEVEL, Interval

_MOST_ROWS = 16
"""The most rows of a table in the terminal; the page and the JSON have all of them."""
_INTERVAL = f"{LEVEL:.0%} interval"


@dataclass(frozen=True)
class EpisodePlot:
    """An episode to be drawn: for each number of its actions the recorded and the predicted value of each step.

    ``starts`` are the steps at which the policy inferred. ``spans`` are the standard deviations of the numbers in the
    dataset, or 0: an axis shows at least that much, so that a small error does not look like a large one.
    """

    episode_index: int
    task: str
    names: tuple[str, ...]
    spans: Sequence[float]
    truth: Sequence[Sequence[float]]
    predicted: Sequence[Sequence[float]]
    starts: Sequence[int]


def short(value: float | None) -> str:
    """Format an error with three digits that count."""
    return NONE if value is None else f"{value:.3g}"


def short_range(interval: Interval | None) -> str:
    """Format an interval with three digits that count."""
    return NONE if interval is None else f"{interval.low:.3g} … {interval.high:.3g}"


@dataclass(frozen=True)
class ErrorColumns:
    """The columns of a table of errors: the units that ``overall`` has.

    If there are errors in standard deviations, the interval that is shown is theirs, because they can be compared
    between numbers of the action and between datasets.
    """

    overall: Errors
    with_intervals: bool = True

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the columns."""
        std = () if self.overall.std is None else ("MAE / std",)
        interval = (_INTERVAL,) if self.with_intervals else ()
        network = () if self.overall.network is None else ("MAE / network",)
        return ("MAE", "MSE", *std, *interval, *network)

    def cells(self, errors: Errors) -> tuple[str, ...]:
        """Format errors as the cells of a row."""
        shown = [short(errors.physical.mae), short(errors.physical.mse)]
        if self.overall.std is not None:
            shown.append(_mae(errors.std))
        if self.with_intervals:
            first = errors.physical if self.overall.std is None else errors.std
            shown.append(short_range(None if first is None else first.mae_interval))
        if self.overall.network is not None:
            shown.append(_mae(errors.network))
        return tuple(shown)


def _mae(error: Error | None) -> str:
    return NONE if error is None else short(error.mae)


def worst_first(episodes: Sequence[OpenLoopEpisode]) -> list[OpenLoopEpisode]:
    """Sort episodes by their mean absolute error: in standard deviations, else in physical units."""
    return sorted(episodes, key=lambda each: -(each.errors.std or each.errors.physical).mae)


def choose_plots(episodes: Sequence[OpenLoopEpisode], n: int) -> list[OpenLoopEpisode]:
    """Choose ``n`` episodes at equal distances from the worst to the best; of three: worst, median and best."""
    ranked = worst_first(episodes)
    n = min(n, len(ranked))
    places = [round(place * (len(ranked) - 1) / max(1, n - 1)) for place in range(n)]
    return [ranked[place] for place in dict.fromkeys(places)]


def headline_lines(result: OpenLoopResult) -> Iterator[Text]:
    """State the error of all steps, how it compares with a constant prediction, what is missing, and the verdict."""
    overall, n_done = result.overall, len(result.episodes)
    steps = f"{count(overall.n, 'step')} of {count(n_done, 'episode')}"
    if overall.std is not None:
        yield Text.assemble((f"MAE {short(overall.std.mae)} std", "bold"), _interval(overall.std), f"; {steps}")
    else:
        yield Text.assemble((f"MAE {short(overall.physical.mae)}", "bold"), _interval(overall.physical), f"; {steps}")
    if overall.std is not None and result.constant_std:
        share = overall.std.mae / result.constant_std
        yield Text(
            f"That is {share:.0%} of the error of a constant prediction, the dataset's mean action "
            f"({short(result.constant_std)} std)".replace("%", " %", 1)
        )
    yield Text(_physical(result))
    if result.missing:
        yield Text(
            f"{len(result.missing)} of {count(result.n_episodes_selected, 'episode')} have no result yet.", "yellow"
        )
    if result.verdict is not None:
        is_alarm = result.verdict.finding in (Finding.INPUTS_DIFFER, Finding.POLICY_IS_WRONG)
        yield safe(result.verdict.sentence, "bold yellow" if is_alarm else "bold")


def _interval(error: Error) -> str:
    if error.mae_interval is None:
        return "  (no interval: one episode)"
    return f"  ({LEVEL:.0%} interval {short_range(error.mae_interval)}, bootstrap over episodes)"


def _physical(result: OpenLoopResult) -> str:
    physical = result.overall.physical
    every = "step" if result.n_action_steps == 1 else f"{result.n_action_steps} steps"
    return (
        f"MAE {short(physical.mae)}, MSE {short(physical.mse)} in the dataset's units, mean over "
        f"{count(len(result.dimensions), 'number')} of the action; the policy inferred every {every}"
    )


def print_open_loop(console: Console, title: str, result: OpenLoopResult, directory: Path) -> None:
    """Print headline, tables and the place of the files."""
    console.print(safe(title, "dim"), "", sep="\n", soft_wrap=True)
    for line in headline_lines(result):
        console.print(line, soft_wrap=True)
    overall = replace(result.overall, network=None)  # in the terminal there is no room for it
    columns, one = ErrorColumns(overall), ErrorColumns(overall, with_intervals=False)
    dimensions = [(each.name, each.errors, short(each.bias)) for each in result.dimensions]
    console.print("", _table("action", columns, "bias", dimensions), sep="\n")
    tables = [
        ("chunk", columns, "", [_position_row(result, place) for place in _spread(len(result.positions))]),
        ("task", columns, "episodes", [(each.task, each.errors, str(each.n_episodes)) for each in result.tasks]),
        ("worst", one, "steps", [_episode_row(each) for each in worst_first(result.episodes)[:5]]),
    ]
    for head, shown, last, rows in tables:
        if len(rows) > 1:
            console.print("", _table(head, shown, last, rows), sep="\n")
    console.print("", safe(f"Results     {directory}"), sep="\n", soft_wrap=True)


def _position_row(result: OpenLoopResult, place: int) -> tuple[str, Errors, str]:
    each = result.positions[place]
    return f"position {each.position}", each.errors, "" if each.executed else "not executed"


def _episode_row(each: OpenLoopEpisode) -> tuple[str, Errors, str]:
    return f"episode {each.episode_index}", each.errors, str(each.length)


def _spread(n: int) -> list[int]:
    """List at most eight places, the first and the last one among them."""
    return sorted({round(place * (n - 1) / 7) for place in range(8)})


def _table(head: str, columns: ErrorColumns, last: str, rows: Sequence[tuple[str, Errors, str]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(head)
    for name in (*columns.heads, last):
        table.add_column(name, justify="right", no_wrap=True)
    for name, errors, remark in rows[:_MOST_ROWS]:
        table.add_row(name_cell(name), *columns.cells(errors), remark)
    if (hidden := len(rows) - _MOST_ROWS) > 0:
        table.add_row(f"and {hidden} more")
    return table
