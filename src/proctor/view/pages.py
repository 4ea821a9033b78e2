"""The pages: the index, reports of one run or several, and sentences on what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from threading import Lock

import jinja2
from markupsafe import Markup

from proctor.reports.html import PageAddition, ReportRun, read_report_run, render_report
from proctor.reports.html.page import content_security_policy, make_environment, read_template
from proctor.results.compare import compare_where_possible
from proctor.results.run_status import RunStatus
from proctor.types import EpisodeSpec
from proctor.view.folder import RunEntry
from proctor.view.watching import page_stamp


@dataclass(frozen=True)
class Page:
    """HTML, and the policy that says what it may do."""

    html: str
    policy: str


class Pages:
    """Makes pages. ``token`` is what a page's request for a video must bring."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._environment = make_environment()
        loaders = [jinja2.PackageLoader("proctor.view"), self._environment.loader]
        self._environment.loader = jinja2.ChoiceLoader([loader for loader in loaders if loader is not None])
        self._drawing = Lock()  # pictures are drawn by a library that is not made for threads

    def index(self, root: Path, entries: Sequence[RunEntry]) -> Page:
        """Every run, with what chooses among them."""
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
        """One run, or several side by side, by their ids.

        Raises:
            ProctorError: one of them cannot be read.
        """
        live = any(RunStatus.of(directory).is_live for directory in directories.values())
        stamp = page_stamp(list(directories.values()))  # before they are read: at worst the page looks again
        runs = [read_report_run(directory) for directory in directories.values()]
        comparisons = compare_where_possible([run.measured for run in runs])
        ids = {run.path: run_id for run_id, run in zip(directories, runs, strict=True)}

        def address(run: ReportRun, spec: EpisodeSpec) -> str | None:
            return video_url(ids[run.path], run, spec) if spec in run.summary.videos else None

        header = self._environment.get_template("header.html").render(
            names=names, ids=list(directories), live=live, stamp=stamp, token=self._token
        )
        addition = PageAddition(header, _own("live.css"), _own("live.js"), connects=True)
        with self._drawing:
            html = render_report(runs, comparisons, address, addition)
        policy = _policy(read_template("page.css") + addition.style, read_template("page.js") + addition.script)
        return Page(html, policy)

    def sentence(self, text: str) -> Page:
        """Something that is to be said in place of a page."""
        style = read_template("page.css") + _own("live.css")
        html = self._environment.get_template("sentence.html").render(text=text, style=Markup(style))  # noqa: S704 - ours
        return Page(html, _policy(style, ""))


def video_url(run_id: str, run: ReportRun, spec: EpisodeSpec) -> str:
    """Where the video of an episode is served: by the position of its task in the plan, and its number."""
    assert run.run is not None
    position = [task.key for task in run.run.tasks].index(spec.task)
    return f"/runs/{run_id}/episodes/{position}/{spec.episode_index}/video"


def _policy(style: str, script: str) -> str:
    return content_security_policy(style, script, connects=True) + "; frame-ancestors 'none'"


def _own(name: str) -> str:
    return files("proctor.view").joinpath("templates", name).read_text("utf-8")
