"""Renders the page of a sweep: the verdict, the curve over training steps, and a row for each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from rich.text import Text

from proctor.reports.html import charts
from proctor.reports.html.page import PageAddition, content_security_policy, make_environment, read_template
from proctor.reports.sweep import SweepRow, SweepSummary, label_of, sweep_lines, title_of

_NOTHING = PageAddition()


def render_sweep(
    rows: Sequence[SweepRow],
    summary: SweepSummary | None,
    addresses: Mapping[str, str] | None = None,
    addition: PageAddition = _NOTHING,
    chart: Markup | None = None,
) -> str:
    """Render the whole page, as text to be written in UTF-8. It makes no request.

    Args:
        rows: the checkpoints, by series and step.
        summary: the verdict; None if there is none.
        addresses: the addresses of the checkpoints' reports, by the names of the rows that have one.
        addition: what a server adds to the page.
        chart: the curve if it was drawn before.
    """
    style = read_template("page.css") + read_template("sweep.css") + addition.style
    return (
        make_environment()
        .get_template("sweep.html")
        .render(
            title=title_of(rows),
            lines=_lines(rows, summary),
            chart=chart or draw_curve(rows),
            rows=rows,
            series=list(dict.fromkeys(row.series for row in rows)),
            label_of=label_of,
            addresses=addresses or {},
            style=Markup(style),  # noqa: S704 - ours
            script=Markup(addition.script),  # noqa: S704 - ours
            policy=content_security_policy(style, addition.script, connects=addition.connects),
            addition=addition,
        )
    )


def draw_curve(rows: Sequence[SweepRow]) -> Markup | None:
    """Draw the success rate over training steps; None if no checkpoint has a step and a rate."""
    return charts.success_over_steps(rows)


def _lines(rows: Sequence[SweepRow], summary: SweepSummary | None) -> list[Text]:
    if summary is None and any(row.rate is not None for row in rows):
        return [Text("No verdict yet.")]  # a race has its own, and a sweep has one after its first checkpoint
    return list(sweep_lines(summary))
