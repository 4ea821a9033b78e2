"""The page of an evaluation in open loop: errors, their tables, and predictions drawn over what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from proctor.reports.html.charts import STAND_INS, picture, tick_locator
from proctor.reports.html.page import content_security_policy, make_environment, read_template
from proctor.reports.open_loop import EpisodePlot, ErrorColumns, headline_lines, short
from proctor.reports.text import safe
from proctor.results.open_loop import OpenLoopResult, PositionErrors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW_POSITIONS = 20
"""The number of positions up to which each is marked by a point."""
_MOST_DIMENSIONS = 32
"""The most numbers of an action that are drawn."""
_MOST_ROWS = 24
"""The most rows of a table that is shown unfolded."""
_HEIGHT, _MARGIN = 92, 40
_TITLE_SIZE = 11


@dataclass(frozen=True)
class _Table:
    """A table of the page: its heading, an explanation, the names of its columns, and its rows."""

    heading: str
    remark: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def is_long(self) -> bool:
        """The table is folded until it is asked for."""
        return len(self.rows) > _MOST_ROWS


def render_open_loop(
    title: str, result: OpenLoopResult, plots: Sequence[EpisodePlot], facts: Sequence[tuple[str, str]]
) -> str:
    """Render the page, as text to be written in UTF-8. It makes no request.

    Args:
        title: names policy and dataset.
        result: the errors.
        plots: the episodes that are drawn.
        facts: what the evaluation consists of, by name.
    """
    style = read_template("page.css") + read_template("open_loop.css")
    return (
        make_environment()
        .get_template("open_loop.html")
        .render(
            title=title,
            lines=list(headline_lines(result)),
            chart=_over_positions(result.positions),
            plots=[(_caption(result, plot), _plot(plot)) for plot in plots],
            tables=_tables(result),
            facts=facts,
            style=Markup(style),  # noqa: S704 - ours
            policy=content_security_policy(style, ""),
        )
    )


def _tables(result: OpenLoopResult) -> list[_Table]:
    columns, one = ErrorColumns(result.overall), ErrorColumns(result.overall, with_intervals=False)
    cells, heads = columns.cells, columns.heads
    return [
        _Table(
            "By number of the action",
            "The bias is the mean of prediction minus recording. One std is the dataset's standard deviation, and one "
            "network the unit of the checkpoint's own normalisation; both are given in the dataset's units.",
            ("number", *heads, "bias", "one std", "one network"),
            [
                (each.name, *cells(each.errors), short(each.bias), short(each.std), short(each.network_scale))
                for each in result.dimensions
            ],
        ),
        _Table(
            "By position in the chunk",
            "Position 0 is the action for the step at which the policy looked. The next look replaces the positions "
            "that are not executed.",
            ("position", *heads, "executed"),
            [(str(each.position), *cells(each.errors), "yes" if each.executed else "no") for each in result.positions],
        ),
        _Table(
            "By task",
            "",
            ("task", *heads, "episodes"),
            [(each.task or "(no name)", *cells(each.errors), str(each.n_episodes)) for each in result.tasks],
        ),
        _Table(
            "By episode",
            "",
            ("episode", *one.heads, "steps", "inferences", "task"),
            [
                (str(each.episode_index), *one.cells(each.errors), str(each.length), str(each.n_inferences), each.task)
                for each in result.episodes
            ],
        ),
    ]


def _over_positions(positions: Sequence[PositionErrors]) -> Markup | None:
    """Draw the error over the position in the chunk, with its interval; None if chunks are single actions."""
    if len(positions) < 2:
        return None
    errors = [each.errors.std or each.errors.physical for each in positions]
    places = [each.position for each in positions]
    n_executed = sum(each.executed for each in positions)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        intervals = [each.mae_interval for each in errors]
        known = [(at, each.low, each.high) for at, each in zip(places, intervals, strict=True) if each is not None]
        if known:
            at, low, high = zip(*known, strict=True)
            axes.fill_between(at, low, high, color=STAND_INS["run-0"], alpha=0.16, linewidth=0)
        marker = "o" if len(places) <= _FEW_POSITIONS else None
        axes.plot(
            places, [each.mae for each in errors], color=STAND_INS["run-0"], linewidth=2, marker=marker, markersize=4
        )
        if n_executed < len(positions):
            axes.axvline(n_executed - 0.5, color=STAND_INS["muted"], linewidth=1)
            axes.annotate("not executed", (n_executed - 0.5, 1), (5, -12), ("data", "axes fraction"), "offset points")
        axes.xaxis.set_major_locator(tick_locator(8))
        axes.set(ylim=(0, None), xlabel="position in the chunk", ylabel=f"MAE, {_unit(positions)}")

    return picture("Mean absolute error over the position in the chunk", 260, draw)


def _unit(positions: Sequence[PositionErrors]) -> str:
    return "the dataset's units" if positions[0].errors.std is None else "std"


def _caption(result: OpenLoopResult, plot: EpisodePlot) -> tuple[str, str]:
    (found,) = (each for each in result.episodes if each.episode_index == plot.episode_index)
    error = found.errors.std
    mae = f"MAE {short(found.errors.physical.mae)}" if error is None else f"MAE {short(error.mae)} std"
    return f"Episode {plot.episode_index}", f"{mae}, {found.n_inferences} inferences. {plot.task}".rstrip(". ") + "."


def _plot(plot: EpisodePlot) -> Markup:
    """Draw, for each number of the action, what was recorded and what was predicted, with dots where it inferred."""
    names = plot.names[:_MOST_DIMENSIONS]

    def draw(figure: Figure) -> None:
        rows: list[Axes] = list(figure.subplots(len(names), sharex=True, squeeze=False)[:, 0])
        lines = zip(names, plot.spans, plot.truth, plot.predicted, strict=False)
        for axes, (name, span, truth, predicted) in zip(rows, lines, strict=False):
            axes.plot(truth, color=STAND_INS["muted"], linewidth=1.5)
            axes.plot(predicted, color=STAND_INS["run-1"], linewidth=1.5)
            axes.scatter(
                plot.starts, [predicted[start] for start in plot.starts], 14, color=STAND_INS["run-1"], zorder=3
            )
            axes.set_title(safe(name).plain, loc="left", fontsize=_TITLE_SIZE, color=STAND_INS["text"], pad=3)
            axes.yaxis.set_major_locator(tick_locator(3, integer=False))
            axes.set_ylim(*_limits([*truth, *predicted], span))
        rows[-1].xaxis.set_major_locator(tick_locator(8))
        rows[-1].set_xlabel("step")

    label = f"Episode {plot.episode_index}: recorded and predicted actions"
    return picture(label, _MARGIN + _HEIGHT * len(names), draw)


def _limits(values: Sequence[float], span: float) -> tuple[float, float]:
    """Give the ends of an axis for ``values``, at least ``span`` apart."""
    middle, half = (min(values) + max(values)) / 2, max(max(values) - min(values), span) / 2
    half = 1.1 * half or 1.0
    return middle - half, middle + half
