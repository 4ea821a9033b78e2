"""The pages: the index, reports of one run or several, and error messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from threading import Lock

import jinja2
from markupsafe import Markup

from proctor.reports.html import PageAddition, ReportRun, read_report_run, render_report
from proctor.reports.html.page import content_security_policy, make_environment, page_script, page_style, read_template
from proctor.results.compare import compare_where_possible
from proctor.results.run_info import RunInfo
from proctor.results.run_status import RunStatus
from proctor.types import EpisodeSpec, TaskKey
from proctor.view.events import page_stamp
from proctor.view.folder import RunEntry


@dataclass(frozen=True)
class Page:
    """HTML, and the content security policy that restricts it."""

    html: str
    policy: str


class Pages:
    """Makes pages. A page's request to render a video must carry ``token``."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._environment = make_environment()
        loaders = [jinja2.PackageLoader("proctor.view"), self._environment.loader]
        self._environment.loader = jinja2.ChoiceLoader([loader for loader in loaders if loader is not None])
        self._drawing = Lock()  # matplotlib may not draw in several threads at once

    def index(self, root: Path, entries: Sequence[RunEntry]) -> Page:
        """Make the index: every run, with filters."""
        style = read_template("page.css") + _own("index.css")
        script = _own("index.js")
        html = self._environment.get_template("index.html").render(
            root=str(root),
            entries=entries,
            benchmarks=sorted({entry.benchmark for entry in entries} - {""}),
            policies=sorted({entry.policy for entry in entries} - {""}),
            style=Markup(style),  # noqa: S704 - ours
            script=Markup(script),  # noqa: S704 - ours
        )
        return Page(html, _policy(style, script).replace("form-action 'none'", "form-action 'self'"))

    def report(self, directories: Mapping[str, Path], names: Sequence[str]) -> Page:
        """Make the report of one run, or of several side by side; ``directories`` are by the runs' ids.

        Raises:
            ProctorError: one of the runs cannot be read.
        """
        live = any(RunStatus.of(directory).is_live for directory in directories.values())
        stamp = page_stamp(
            list(directories.values())
        )  # taken before they are read, so that at worst the page reloads once too often
        runs = [read_report_run(directory) for directory in directories.values()]
        comparisons = compare_where_possible([run.measured for run in runs])
        ids = {run.path: run_id for run_id, run in zip(directories, runs, strict=True)}

        def address(run: ReportRun, spec: EpisodeSpec) -> str | None:
            if run.run is None or spec not in run.summary.videos:
                return None
            return video_url(ids[run.path], run.run, spec)

        def trace_address(run: ReportRun, task: TaskKey) -> str:
            assert run.run is not None
            return f"/runs/{ids[run.path]}/episodes/{_position(run.run, task)}/"

        header = self._environment.get_template("header.html").render(
            names=names, ids=list(directories), live=live, stamp=stamp, token=self._token
        )
        addition = PageAddition(header, _own("live.css"), _own("live.js") + _own("render.js"), connects=True)
        with self._drawing:
            html = render_report(runs, comparisons, address, replace(addition, trace=trace_address))
        policy = _policy(page_style() + addition.style, page_script() + addition.script)
        return Page(html, policy)

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


def _policy(style: str, script: str) -> str:
    return content_security_policy(style, script, connects=True) + "; frame-ancestors 'none'"


def _own(name: str) -> str:
    return files("proctor.view").joinpath("templates", name).read_text("utf-8")
