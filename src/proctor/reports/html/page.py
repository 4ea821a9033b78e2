"""The page as a whole."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
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

from proctor.reports.comparison import letter, p_value, points, points_range
from proctor.reports.html import charts
from proctor.reports.html.episodes import MOST_ROWS, VideoAddress, episode_table
from proctor.reports.html.runs import ReportRun
from proctor.reports.html.tables import comparison_views, provenance, task_table
from proctor.reports.sentences import error_lines, headline_lines, run_title
from proctor.reports.text import count, mean_reward, number, percent, percent_range, tally
from proctor.results.compare import Challenge, Incomparable
from proctor.results.distributions import histograms, lengths_and_rewards
from proctor.results.profile import profile_of
from proctor.results.summary import Summary
from proctor.statistics.intervals import LEVEL


@dataclass(frozen=True)
class PageAddition:
    """What somebody who serves the page adds to it.

    ``header`` is HTML at the top of the body; ``style`` and ``script`` come after the page's own. An episode that was
    chosen is announced by the document's event ``proctor:episode``, whose ``detail`` has the row's columns by name.
    Only with ``connects`` may the script talk to where the page came from.
    """

    header: str = ""
    style: str = ""
    script: str = ""
    connects: bool = False


_NOTHING = PageAddition()

_COURSE = Markup(
    "After every complete round of the plan: the first episode of every task, the second, … The band is the "
    "anytime-valid interval; all of it holds together, however often one looks."
)
_TIME = "Of all workers together; the tail is when a worker found no episode left."


def render_report(
    runs: Sequence[ReportRun],
    comparisons: Sequence[Challenge | Incomparable],
    video: VideoAddress,
    addition: PageAddition = _NOTHING,
    most_rows: int = MOST_ROWS,
) -> str:
    """The whole page, as text to be written in UTF-8. It makes no request but for the videos at the addresses given.

    ``comparisons`` are those of the second of ``runs``, the third, … with the first.
    """
    environment = make_environment()
    summaries = [run.summary for run in runs]
    style = read_template("page.css") + addition.style
    script = read_template("page.js") + addition.script
    return environment.get_template("page.html").render(
        title=" · ".join(run.name for run in runs),
        runs=[_run_view(number, run) for number, run in enumerate(runs)],
        table=task_table(runs),
        comparisons=comparison_views(comparisons),
        charts=_charts(summaries),
        episodes=episode_table(runs, video, most_rows),
        facts=provenance(runs),
        version=version("proctor"),
        made=datetime.now(UTC).isoformat(timespec="minutes"),
        style=Markup(style),  # noqa: S704 - ours
        script=Markup(script),  # noqa: S704 - ours
        policy=content_security_policy(style, script, connects=addition.connects),
        addition=addition,
    )


def content_security_policy(style: str, script: str, *, connects: bool = False) -> str:
    """What a page may do: run this one script, look like this, play videos from where it lies or out of itself."""
    parts = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "media-src": "'self' data:",
        "connect-src": "'self'" if connects else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in parts.items())


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def read_template(name: str) -> str:
    """A file of the folder ``templates``."""
    return files("proctor.reports.html").joinpath("templates", name).read_text("utf-8")


def make_environment() -> jinja2.Environment:
    """What the page's templates need: others may extend them. Whatever is put into a template is escaped."""
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
    environment.globals.update(level=f"{LEVEL:.0%}", n_run_colours=charts.N_RUN_COLOURS)
    return environment


def marked(said: Text | str) -> Markup:
    """What a terminal shows, with its emphasis."""
    if isinstance(said, str):
        return escape(said)
    parts = Markup()
    for piece in said.divide(sorted({end for span in said.spans for end in (span.start, span.end)})):
        styles = {word for span in piece.spans for word in str(span.style).split()}
        parts += Markup("<strong>{}</strong>").format(piece.plain) if "bold" in styles else escape(piece.plain)
    return parts


def breakable(name: str) -> Markup:
    """A long name that may be continued in the next line after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def as_json(value: Any) -> Markup:
    """For a ``<script type="application/json">``: nothing in it ends the element."""
    return htmlsafe_json_dumps(value, dumps=lambda value: msgspec.json.encode(value).decode())


# ------------------------------------------------------------------------------------------------------------ inside


@dataclass(frozen=True)
class _Chart:
    """A picture with its title and what is to be known of it."""

    title: str
    picture: Markup | None
    remark: str | Markup


@dataclass(frozen=True)
class _RunView:
    """How one evaluation is introduced: what it is, what came out, and what one must know of it."""

    letter: str
    name: str
    title: tuple[str, ...]
    headline: tuple[Text, ...]
    warnings: tuple[Text | str, ...]
    config: str


def _run_view(position: int, run: ReportRun) -> _RunView:
    said = tuple(headline_lines(run.summary)) if run.summary.overall.n_planned else ()
    return _RunView(
        letter(position),
        run.name,
        () if run.run is None else tuple(run_title(run.run)),
        said,
        (*error_lines(run.summary), *_gaps(run)),
        "" if run.run is None else msgspec.json.format(msgspec.json.encode(run.run.config), indent=2).decode(),
    )


def _gaps(run: ReportRun) -> Iterator[str]:
    """That there is more to come, or would be, or that nobody knows."""
    if run.run is None:
        yield "The file says neither what was evaluated nor which episodes these are."
    if missing := len(run.summary.missing):
        yield f"{missing} of {count(run.summary.overall.n_planned, 'planned episode')} have no result yet."
    if run.where.writer:
        yield "It was still running when this page was made."  # by whom and where is nobody's business


def _outcomes(summaries: Sequence[Summary]) -> Markup:
    """Which colour is which outcome, of those that completed episodes have."""
    unknown = [summary.overall.n_unknown for summary in summaries]
    spoken = any(summary.overall.n_completed > summary.overall.n_unknown for summary in summaries)
    names = ["success", "failure"] * spoken + ["unknown"] * any(unknown)
    return Markup(" ").join(Markup('<span class="key {0}">{0}</span>').format(name) for name in names)


def _charts(summaries: Sequence[Summary]) -> list[_Chart]:
    lengths, rewards = zip(*map(lengths_and_rewards, summaries), strict=True)
    drawn = [
        _Chart("Success over the plan", charts.success_over_plan(summaries), _COURSE),
        _Chart("Where time went", charts.where_time_went([*map(profile_of, summaries)]), _TIME),
        _Chart("Episode length", charts.distribution(histograms(lengths), "steps"), _outcomes(summaries)),
        _Chart("Reward", charts.distribution(histograms(rewards), "sum of rewards"), _outcomes(summaries)),
    ]
    return [chart for chart in drawn if chart.picture is not None]
