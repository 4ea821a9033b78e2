"""The routes of the viewer.

=====================================  ==============================================================
``/``                                  the index
``/runs/<run>``                        the report of a run
``/compare?run=<run>&run=<run>``       runs side by side; ``&anyway=yes`` although they are not the same exam
``/sweeps/<sweep>``                    the checkpoints of a sweep
``/events?run=<run>``                  the progress of runs, as server-sent events
``/runs/<run>/episodes/<t>/<n>/video`` the video of episode *n* of the *t*-th task of the plan
``/runs/<run>/episodes/<t>/<n>/trace`` what that episode recorded at each step, as JSON; null if nothing
``POST /runs/<run>/replays``           asks for a video: ``{"suite": …, "task_id": …, "episode": …}``
=====================================  ==============================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from proctor.errors import ConfigError, ProctorError
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo
from proctor.results.traces import read_trace
from proctor.security.consent import uninstalled_code
from proctor.types import EpisodeSpec
from proctor.view.events import watch
from proctor.view.folder import RunFolder
from proctor.view.pages import Page, Pages, ShownRun, video_url
from proctor.view.replays import RenderQueue, RenderRequest

_MOST_COMPARED = 30
_LONGEST_BODY = 4096
_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")


class VideoRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to render the video of an episode."""

    suite: str
    task_id: int
    episode: int


class Routes:
    """The handlers of all routes; ``ending`` returns whether the server is about to stop."""

    def __init__(self, folder: RunFolder, pages: Pages, ending: Callable[[], bool]) -> None:
        self._folder, self._pages, self._ending = folder, pages, ending
        self._queue = RenderQueue()

    def application(self) -> Starlette:
        """Make the application, without the guard around it."""
        routes = [
            Route("/", self.index),
            Route("/runs/{run}", self.run),
            Route("/compare", self.compare),
            Route("/sweeps/{sweep}", self.sweep),
            Route("/events", self.events),
            Route("/runs/{run}/episodes/{task}/{episode}/video", self.video),
            Route("/runs/{run}/episodes/{task}/{episode}/trace", self.trace),
            Route("/runs/{run}/replays", self.replay, methods=["POST"]),
        ]
        handlers = {HTTPException: self._explain, ProctorError: self._explain}

        def lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
            return self._queue.working()

        return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)

    def index(self, _: Request) -> Response:
        entries = self._folder.entries()
        return _html(self._pages.index(self._folder.root, entries, most_compared=_MOST_COMPARED))

    def run(self, request: Request) -> Response:
        return self._report([request.path_params["run"]])

    def compare(self, request: Request) -> Response:
        parameters = request.query_params
        return self._report(parameters.getlist("run"), anyway=parameters.get("anyway") == "yes")

    def _report(self, ids: list[str], *, anyway: bool = False) -> Response:
        return _html(self._pages.report(self._shown(self._directories(ids)), anyway=anyway))

    def _shown(self, directories: Mapping[str, Path]) -> dict[str, ShownRun]:
        return {
            run_id: ShownRun(directory, self._folder.entry(run_id, directory), self._folder.sweep_of(directory))
            for run_id, directory in directories.items()
        }

    def sweep(self, request: Request) -> Response:
        try:
            sweep = self._folder.sweep(request.path_params["sweep"])
        except KeyError:
            raise HTTPException(404, "There is no such sweep in this folder.") from None
        if sweep.problem:
            raise ConfigError(sweep.problem)
        return _html(self._pages.sweep(sweep, most_compared=_MOST_COMPARED))

    def events(self, request: Request) -> Response:
        directories = self._directories(request.query_params.getlist("run"))
        urls = {directory: run_id for run_id, directory in directories.items()}

        def url(replay: RenderRequest) -> str:
            return video_url(urls[replay.directory], self._run(replay.directory), replay.spec)

        def going_on() -> str:
            return self._pages.going_on(self._shown(directories))

        stream = watch(directories, self._queue, url, going_on, self._ending)
        return StreamingResponse(stream, media_type="text/event-stream")

    def trace(self, request: Request) -> Response:
        directory, spec = self._episode(request)
        return JSONResponse(read_trace(directory, spec))

    def _episode(self, request: Request) -> tuple[Path, EpisodeSpec]:
        """Find the run and the episode of a path.

        Raises:
            HTTPException: there is no such run, or it has no such episode.
        """
        (directory,) = self._directories([request.path_params["run"]]).values()
        position, number = (request.path_params[name] for name in ("task", "episode"))
        spec = None
        for task in (each for at, each in enumerate(self._run(directory).plan) if str(at) == position):
            specs = (EpisodeSpec(task.task.suite, task.task.task_id, *episode) for episode in task.episodes)
            spec = next((spec for spec in specs if str(spec.episode_index) == number), None)
        if spec is None:
            raise HTTPException(404, "The run has no such episode.")
        return directory, spec

    def video(self, request: Request) -> Response:
        directory, spec = self._episode(request)
        if (path := self._folder.video(directory, spec)) is None:
            raise HTTPException(404, f"{spec} has no video.")
        _check_range(request, path)
        return FileResponse(path, media_type="video/mp4")

    async def replay(self, request: Request) -> Response:
        (directory,) = self._directories([request.path_params["run"]]).values()
        asked, run = await _read_video_request(request), self._run(directory)
        wanted = (asked.suite, asked.task_id, asked.episode)
        spec = next((spec for spec in run.specs if (spec.suite, spec.task_id, spec.episode_index) == wanted), None)
        if spec is None:
            raise HTTPException(404, "The run has no such episode.")
        if code := uninstalled_code({"env": run.config.get("env")}, on_import_path=True):
            replay = self._queue.refuse(directory, spec, ", ".join(code))
            return JSONResponse({"state": replay.state})
        replay = self._queue.ask(directory, spec)
        return JSONResponse({"state": replay.state}, 202)

    def _directories(self, ids: list[str]) -> dict[str, Path]:
        ids = list(dict.fromkeys(ids))
        if not 1 <= len(ids) <= _MOST_COMPARED:
            raise HTTPException(400, f"Name between one and {_MOST_COMPARED} runs.")
        try:
            return {run_id: self._folder.directory(run_id) for run_id in ids}
        except KeyError:
            raise HTTPException(404, "There is no such run in this folder.") from None

    def _run(self, directory: Path) -> RunInfo:
        if (run := RunDirectory(directory).read_run()) is None:
            raise HTTPException(404, "The run is gone.")
        return run

    async def _explain(self, _: Request, error: Exception) -> Response:
        """Make a page of an error's message."""
        if isinstance(error, HTTPException):
            return _html(self._pages.message(error.detail), error.status_code, error.headers)
        return _html(self._pages.message(str(error)), 409 if isinstance(error, ConfigError) else 500)


def _html(page: Page, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return HTMLResponse(page.html, status, {**(headers or {}), "content-security-policy": page.policy})


def _check_range(request: Request, path: Path) -> None:
    """Check that a request for a part of a file asks for one range of bytes, some of which are in the file.

    Raises:
        HTTPException: the range is malformed, or beyond the end of the file.
    """
    size = path.stat().st_size
    for asked in request.headers.getlist("range"):
        match = _RANGE.fullmatch(asked)
        if match is None or not _is_within(match["first"], match["last"], size):
            content_range = {"content-range": f"bytes */{size}"}
            raise HTTPException(416, "The requested range of bytes is not in the video.", content_range)


def _is_within(first: str, last: str, size: int) -> bool:
    if not first:
        return int(last or 0) > 0
    return int(first) < size and (not last or int(first) <= int(last))


async def _read_video_request(request: Request) -> VideoRequest:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_BODY:
            raise HTTPException(413, "The request is larger than the name of an episode.")
    try:
        return msgspec.json.decode(body, type=VideoRequest)
    except msgspec.MsgspecError as error:
        raise HTTPException(400, f"The request does not name an episode: {error}.") from None
