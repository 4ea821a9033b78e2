"""Renders the page: every section, the style sheet, the script, and the policy that restricts them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import jinja2
import msgspec
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape
from rich.text import Text

from proctor.errors import distribution_name
from proctor.reports.comparison import letter, p_value, points, points_range
from proctor.reports.html import charts
from proctor.reports.html.audit import audit_views
from proctor.reports.html.episodes import MOST_ROWS, TraceAddress, VideoAddress, episode_table
from proctor.reports.html.matrix import MOST_IN_FULL, N_SHADES, matrix_of, run_rows, shared
from proctor.reports.html.report_run import ReportRun
from proctor.reports.html.tables import ComparisonView, comparison_views, provenance, task_table
from proctor.reports.html.traces import embedded_traces
from proctor.reports.sentences import error_lines, headline_lines, run_title
from proctor.reports.text import count, mean_reward, number, percent, percent_range, tally
from proctor.results.compare import Incomparable, RunComparison
from proctor.results.distributions import Values, histograms, joined, lengths_and_rewards
from proctor.results.profile import profile_of
from proctor.results.summary import Summary
from proctor.statistics.intervals import LEVEL
from proctor.types import Task


@dataclass(frozen=True)
class PageAddition:
    """The parts that a server adds to the page.

    ``header`` is HTML at the top of the body; ``style`` and ``script`` follow the page's own. When episodes are
    chosen, the document dispatches the event ``proctor:episodes``, whose ``detail`` is a list of them, each with the
    row's columns by name, and with the element ``lane`` in which the page shows it. Only if ``connects`` is true may
    the script send requests to the server from which the page came. ``trace`` returns the addresses of traces there;
    without it, the page holds as many traces as it has room for.
    """

    header: str = ""
    style: str = ""
    script: str = ""
    connects: bool = False
    trace: TraceAddress | None = None


_NOTHING = PageAddition()

_SCRIPTS = ("page", "trace", "panel", "list", "gallery", "matrix", "keys")

_MOST_CHARTED = 6
"""The most evaluations that a chart tells apart, as it has a colour for each."""

_ROUNDS = Markup(
    "The rate after every complete round of the plan: the first episode of every task, the second, … The band is the "
    "anytime-valid interval; all of it holds together, however often one looks."
)
_TIME = "The time of all workers together; the tail is the time of workers for which no episode was left."


def render_report(
    runs: Sequence[ReportRun],
    comparisons: Sequence[RunComparison | Incomparable],
    video: VideoAddress,
    addition: PageAddition = _NOTHING,
    most_rows: int = MOST_ROWS,
) -> str:
    """Render the whole page, as text to be written in UTF-8. It makes no request but for videos.

    Args:
        runs: the evaluations that the page shows.
        comparisons: those of the second of ``runs``, the third, … with the first.
        video: returns the address of an episode's video.
        addition: what a server adds to the page.
        most_rows: the most episodes in the table.
    """
    style, script = page_style() + addition.style, page_script() + addition.script
    episodes = episode_table(runs, video, most_rows, addition.trace)
    views = comparison_views(comparisons)
    return (
        make_environment()
        .get_template("page.html")
        .render(
            title=" · ".join(run.name for run in runs),
            runs=[_run_view(number, run, followed=addition.connects) for number, run in enumerate(runs)],
            table=task_table(runs) if len(runs) == 1 else None,
            rows=run_rows(runs, comparisons),
            most_in_full=MOST_IN_FULL,
            matrix=matrix_of(runs, comparisons),
            comparisons=views,
            notes=shared([_notes(view) for view in views]),
            charts=_charts([run.summary for run in runs]),
            episodes=episodes,
            traces=None if addition.trace else embedded_traces(runs, episodes.specs),
            facts=provenance(runs),
            audits=audit_views(runs),
            version=version(distribution_name()),
            made=datetime.now(UTC).isoformat(timespec="minutes"),
            style=Markup(style),  # noqa: S704 - ours
            script=Markup(script),  # noqa: S704 - ours
            policy=content_security_policy(style, script, connects=addition.connects),
            addition=addition,
        )
    )


def _notes(view: ComparisonView) -> tuple[str, ...]:
    """Give what a reader must know of a comparison before its numbers, or why there is none."""
    return (f"not compared with A: {'; '.join(view.reasons)}.",) if view.reasons else view.remarks


def page_style() -> str:
    """Return the style sheet of a report."""
    return "".join(read_template(name) for name in ("page.css", "panel.css"))


def page_script() -> str:
    """Return the script of a report: its parts in one scope, of which the first holds what the others share."""
    return "".join(read_template(f"{name}.js") for name in _SCRIPTS)


def content_security_policy(style: str, script: str, *, connects: bool = False) -> str:
    """Make the policy of a page: it may run this one script, use this style, and play videos from its own place or out
    of itself.
    """
    parts = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "media-src": "'self' data:",
        "img-src": "data:",
        "connect-src": "'self'" if connects else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in parts.items())


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def read_template(name: str) -> str:
    """Read a file of the folder ``templates``."""
    return files("proctor.reports.html").joinpath("templates", name).read_text("utf-8")


def make_environment() -> jinja2.Environment:
    """Make the environment of the page's templates, which other templates may extend. Inserted values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proctor.reports.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    numbers = (p_value, points, points_range, number, percent, percent_range, tally, mean_reward)
    formats = (letter, *numbers, marked, breakable, as_json)
    environment.filters.update({function.__name__: function for function in formats})
    environment.globals.update(level=f"{LEVEL:.0%}", n_run_colours=charts.N_RUN_COLOURS, n_shades=N_SHADES)
    return environment


def marked(text: Text | str) -> Markup:
    """Make HTML of a text for the terminal; bold text stays bold."""
    if isinstance(text, str):
        return escape(text)
    parts = Markup()
    for piece in text.divide(sorted({end for span in text.spans for end in (span.start, span.end)})):
        styles = {word for span in piece.spans for word in str(span.style).split()}
        parts += Markup("<strong>{}</strong>").format(piece.plain) if "bold" in styles else escape(piece.plain)
    return parts


def breakable(name: str) -> Markup:
    """Make HTML of a name that may be wrapped after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def as_json(value: Any) -> Markup:
    """Make JSON for a ``<script type="application/json">``, in which no text can end the element."""
    return htmlsafe_json_dumps(value, dumps=lambda value: msgspec.json.encode(value).decode())


# ------------------------------------------------------------------------------------------------------------ inside


@dataclass(frozen=True)
class _Chart:
    """A picture with its title and a remark that explains it."""

    title: str
    picture: Markup | None
    remark: str | Markup


@dataclass(frozen=True)
class _RunView:
    """The introduction of one evaluation: what was evaluated, its headline, and warnings, ``gaps`` among them."""

    letter: str
    name: str
    title: tuple[str, ...]
    headline: tuple[Text, ...]
    warnings: tuple[Text | str, ...]
    gaps: tuple[str, ...]
    n_completed: int
    n_planned: int
    config: str


def _run_view(position: int, run: ReportRun, *, followed: bool) -> _RunView:
    counts, gaps = run.summary.overall, tuple(_gaps(run, followed=followed))
    headlines = tuple(headline_lines(run.summary)) if counts.n_planned else ()
    return _RunView(
        letter(position),
        run.name,
        () if run.run is None else tuple(run_title(run.run)),
        headlines,
        (*error_lines(run.summary), *gaps),
        gaps,
        counts.n_completed,
        counts.n_planned,
        "" if run.run is None else msgspec.json.format(msgspec.json.encode(run.run.config), indent=2).decode(),
    )


def _gaps(run: ReportRun, *, followed: bool) -> Iterator[str]:
    """Give the warnings of a run that is not complete, or not described; a page that follows it shows its progress."""
    if run.run is None:
        yield "The file records neither what was evaluated nor which episodes these are."
    goes_on = run.status.writer is not None
    if (missing := len(run.summary.missing)) and not (goes_on and followed):
        yield f"{missing} of {count(run.summary.overall.n_planned, 'planned episode')} have no result yet."
    if goes_on and not followed:
        yield "It was still running when this page was made."  # no host, as a page may be passed on


def _outcomes(summaries: Sequence[Summary]) -> Markup:
    """Make the legend of the outcomes that completed episodes have."""
    unknown = [summary.overall.n_unknown for summary in summaries]
    known = any(summary.overall.n_completed > summary.overall.n_unknown for summary in summaries)
    names = ["success", "failure"] * known + ["unknown"] * any(unknown)
    return Markup(" ").join(Markup('<span class="key {0}">{0}</span>').format(name) for name in names)


def _charts(summaries: Sequence[Summary]) -> list[_Chart]:
    if len(summaries) > _MOST_CHARTED or not all(summary.tasks for summary in summaries):
        return []
    legend = _outcomes(summaries)
    values = [{task.task: lengths_and_rewards(task.episodes) for task in summary.tasks} for summary in summaries]
    lengths = [joined([length for length, _ in of_run.values()]) for of_run in values]
    drawn = [
        _Chart("Episode length", charts.distribution(histograms(lengths), "steps"), legend),
        _Chart(*_rewards_chart(values), legend),
        _Chart("Success over the plan", charts.success_over_plan(summaries), _ROUNDS),
        _Chart("Where time went", charts.where_time_went([*map(profile_of, summaries)]), _TIME),
    ]
    return [chart for chart in drawn if chart.picture is not None]


def _rewards_chart(values: Sequence[Mapping[Task, tuple[Values, Values]]]) -> tuple[str, Markup | None]:
    """Draw the rewards of a single task, or of each task of a single evaluation: tasks do not share a scale."""
    tasks = list(dict.fromkeys(task for of_run in values for task in of_run))
    if len(tasks) == 1:
        found = histograms([reward for of_run in values for _, reward in of_run.values()])
        return "Reward", charts.distribution(found, "sum of rewards")
    if len(values) > 1:
        return "", None
    by_task = {task.name: histograms([reward]) for task, (_, reward) in values[0].items()}
    return "Reward by task", charts.rewards_by_task({name: found[0] for name, found in by_task.items() if found})
