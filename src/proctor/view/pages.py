"""The pages: the index, reports of one run or several, sweeps, and error messages."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from threading import Lock

import jinja2
from markupsafe import Markup

from proctor.reports.html import PageAddition, ReportRun, read_report_run, render_report, render_sweep
from proctor.reports.html.page import content_security_policy, make_environment, page_script, page_style, read_template
from proctor.reports.html.sweep import draw_curve
from proctor.reports.sweep import SweepRow
from proctor.reports.text import duration
from proctor.results.compare import Incomparable, RunComparison, compare_where_possible, different_exams
from proctor.results.run_info import RunInfo
from proctor.types import EpisodeSpec, TaskKey
from proctor.view.entries import RunEntry
from proctor.view.events import page_stamp
from proctor.view.sweeps import SweepEntry

_MOST_KEPT = 8
"""The number of reports that are kept, each of up to some MB."""


@dataclass(frozen=True)
class Page:
    """HTML, and the content security policy that restricts it."""

    html: str
    policy: str


@dataclass(frozen=True)
class ShownRun:
    """A run that a report shows: its directory and its entry, and the id and the name of its sweep if it has one."""

    directory: Path
    entry: RunEntry
    sweep: tuple[str, str] | None = None


class Pages:
    """Makes pages. A page's request to render a video must carry ``token``."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._environment = make_environment()
        loaders = [jinja2.PackageLoader("proctor.view"), self._environment.loader]
        self._environment.loader = jinja2.ChoiceLoader([loader for loader in loaders if loader is not None])
        self._environment.filters["duration"] = duration
        self._environment.filters["quoted"] = shlex.quote
        self._environment.tests["sweep"] = lambda entry: isinstance(entry, SweepEntry)
        self._drawing = Lock()  # matplotlib may not draw in several threads at once
        self._kept: dict[tuple[str, bool, tuple[tuple[str, ShownRun], ...]], Page] = {}
        self._curve = lru_cache(32)(draw_curve)

    def index(self, root: Path, entries: Sequence[RunEntry | SweepEntry], *, most_compared: int) -> Page:
        """Make the index: every run and every sweep, with filters."""
        style = read_template("page.css") + _own("index.css") + _own("copy.css")
        script = _own("index.js") + _own("copy.js")
        runs = [run for entry in entries for run in (entry.runs if isinstance(entry, SweepEntry) else [entry])]
        html = self._environment.get_template("index.html").render(
            root=str(root),
            entries=entries,
            most_compared=most_compared,
            benchmarks=sorted({run.benchmark for run in runs} - {""}),
            policies=sorted({run.policy for run in runs} - {""}),
            states=[state for state in ("running", "finished", "unfinished") if state in {run.state for run in runs}],
            with_steps=any(run.step is not None for run in runs),
            with_action_steps=any(run.n_action_steps is not None for run in runs),
            style=Markup(style),  # noqa: S704 - ours
            script=Markup(script),  # noqa: S704 - ours
        )
        return Page(html, _policy(style, script).replace("form-action 'none'", "form-action 'self'"))

    def report(self, shown: Mapping[str, ShownRun], *, anyway: bool = False) -> Page:
        """Make the report of one run, or of several side by side; ``shown`` are by the runs' ids.

        The last pages are kept, and given again if no file of their runs has changed.

        Raises:
            ProctorError: one of the runs cannot be read.
        """
        stamp = page_stamp([each.directory for each in shown.values()])  # taken before the runs are read
        key = (stamp, anyway, tuple(shown.items()))
        if key not in self._kept:
            page = self._report(shown, stamp, anyway=anyway)
            with self._drawing:
                self._kept = dict([*self._kept.items(), (key, page)][-_MOST_KEPT:])
            return page
        return self._kept[key]

    def _report(self, shown: Mapping[str, ShownRun], stamp: str, *, anyway: bool) -> Page:
        directories = [each.directory for each in shown.values()]
        runs = [read_report_run(directory) for directory in directories]
        several = len(runs) > 1
        comparisons = compare_where_possible([run.measured for run in runs], anyway=anyway) if several else []
        ids = {run.path: run_id for run_id, run in zip(shown, runs, strict=True)}

        def address(run: ReportRun, spec: EpisodeSpec) -> str | None:
            if run.run is None or spec not in run.summary.videos:
                return None
            return video_url(ids[run.path], run.run, spec)

        def trace_address(run: ReportRun, task: TaskKey) -> str:
            assert run.run is not None
            return f"/runs/{ids[run.path]}/episodes/{_position(run.run, task)}/"

        header = self._environment.get_template("header.html").render(
            shown=shown,
            live=any(each.entry.state == "running" for each in shown.values()),
            stamp=stamp,
            token=self._token,
            other_exams=_other_exams(comparisons),
        )
        style = _own("live.css") + _own("copy.css")
        script = _own("live.js") + _own("render.js") + _own("copy.js")
        addition = PageAddition(header, style, script, connects=True)
        with self._drawing:
            html = render_report(runs, comparisons, address, replace(addition, trace=trace_address))
        policy = _policy(page_style() + addition.style, page_script() + addition.script)
        return Page(html, policy)

    def going_on(self, shown: Mapping[str, ShownRun]) -> str:
        """Make the part of a report's header that says how far its runs are, as HTML."""
        return self._environment.get_template("going_on.html").render(shown=shown, other_exams=False)

    def sweep(self, sweep: SweepEntry, *, most_compared: int) -> Page:
        """Make the page of a sweep."""
        ids = {row.name: run_id for row, run_id in zip(sweep.rows, sweep.run_ids, strict=True) if run_id}
        header = self._environment.get_template("sweep_header.html").render(
            sweep=sweep, compared=list(ids.values())[:most_compared], n_runs=len(ids)
        )
        style, script = _own("live.css") + _own("copy.css"), _own("sweep.js") + _own("copy.js")
        addition = PageAddition(header, style, script, connects=True)
        addresses = {name: f"/runs/{run_id}" for name, run_id in ids.items()}
        with self._drawing:
            chart = self._curve(tuple(map(_without_status, sweep.rows)))
        html = render_sweep(sweep.rows, sweep.summary, addresses, addition, chart)
        return Page(html, _policy(read_template("page.css") + read_template("sweep.css") + style, script))

    def message(self, text: str) -> Page:
        """Make a page of an error message."""
        style = read_template("page.css") + _own("live.css")
        html = self._environment.get_template("message.html").render(text=text, style=Markup(style))  # noqa: S704 - ours
        return Page(html, _policy(style, ""))


def video_url(run_id: str, run: RunInfo, spec: EpisodeSpec) -> str:
    """Return the path at which an episode's video is served: its task's position in the plan, and its number."""
    return f"/runs/{run_id}/episodes/{_position(run, spec.task)}/{spec.episode_index}/video"


def _position(run: RunInfo, task: TaskKey) -> int:
    return [each.key for each in run.tasks].index(task)


def _other_exams(comparisons: Sequence[RunComparison | Incomparable]) -> bool:
    """Return whether a run is not compared because it is another exam, so that it could be compared anyway."""
    return any(isinstance(each, Incomparable) and different_exams(each.a, each.b) for each in comparisons)


def _without_status(row: SweepRow) -> SweepRow:
    """Leave out what changes while a checkpoint is evaluated and is not in the curve."""
    return SweepRow(row.series, row.name, row.step, row.rate, row.interval, "", mark=row.mark)


def _policy(style: str, script: str) -> str:
    return content_security_policy(style, script, connects=True) + "; frame-ancestors 'none'"


def _own(name: str) -> str:
    return files("proctor.view").joinpath("templates", name).read_text("utf-8")
