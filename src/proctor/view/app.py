"""The addresses that are served.

=====================================  ==============================================================
``/``                                  the index
``/runs/<run>``                        the report of a run
``/compare?run=<run>&run=<run>``       runs side by side
``/events?run=<run>``                  what goes on with them, as server-sent events
``/runs/<run>/episodes/<t>/<n>/video`` the video of episode *n* of the *t*-th task of the plan
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
from proctor.security.consent import uninstalled_code
from proctor.types import EpisodeSpec
from proctor.view.folder import RunFolder
from proctor.view.pages import Page, Pages
from proctor.view.replays import Renderings, RenderRequest
from proctor.view.watching import watch

_MOST_COMPARED = 8
_LONGEST_BODY = 4096
_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Which episode is to be filmed."""

    suite: str
    task_id: int
    episode: int


class Addresses:
    """What answers. ``ending`` says whether the server is about to stop."""

    def __init__(self, folder: RunFolder, pages: Pages, ending: Callable[[], bool]) -> None:
        self._folder, self._pages, self._ending = folder, pages, ending
        self._replays = Renderings()

    def application(self) -> Starlette:
        """All of it, without the guard."""
        routes = [
            Route("/", self.index),
            Route("/runs/{run}", self.run),
            Route("/compare", self.compare),
            Route("/events", self.events),
            Route("/runs/{run}/episodes/{task:int}/{episode:int}/video", self.video),
            Route("/runs/{run}/replays", self.replay, methods=["POST"]),
        ]
        handlers = {HTTPException: self._explain, ProctorError: self._explain}

        def lifespan(_: Starlette) -> AbstractAsyncContextManager[None]:
            return self._replays.working()

        return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)

    def index(self, _: Request) -> Response:
        return _html(self._pages.index(self._folder.root, self._folder.entries()))

    def run(self, request: Request) -> Response:
        return self._report([request.path_params["run"]])

    def compare(self, request: Request) -> Response:
        return self._report(request.query_params.getlist("run"))

    def _report(self, ids: list[str]) -> Response:
        directories = self._directories(ids)
        names = [self._folder.name(directory) for directory in directories.values()]
        return _html(self._pages.report(directories, names))

    def events(self, request: Request) -> Response:
        directories = self._directories(request.query_params.getlist("run"))
        urls = {directory: run_id for run_id, directory in directories.items()}

        def url(replay: RenderRequest) -> str:
            return _video_url(urls[replay.directory], self._plan(replay.directory), replay.spec)

        stream = watch(directories, self._replays, url, self._ending)
        return StreamingResponse(stream, media_type="text/event-stream")

    def video(self, request: Request) -> Response:
        (directory,) = self._directories([request.path_params["run"]]).values()
        wanted = request.path_params
        tasks = self._plan(directory).plan
        spec = None
        if wanted["task"] < len(tasks):
            task = tasks[wanted["task"]]
            specs = (EpisodeSpec(task.task.suite, task.task.task_id, *episode) for episode in task.episodes)
            spec = next((spec for spec in specs if spec.episode_index == wanted["episode"]), None)
        if spec is None:
            raise HTTPException(404, "The run has no such episode.")
        if (path := self._folder.video(directory, spec)) is None:
            raise HTTPException(404, f"{spec} has no video.")
        _check_range(request, path)
        return FileResponse(path, media_type="video/mp4")

    async def replay(self, request: Request) -> Response:
        (directory,) = self._directories([request.path_params["run"]]).values()
        wanted = await _read_wanted(request)
        specs = (run := self._plan(directory)).specs
        asked = (wanted.suite, wanted.task_id, wanted.episode)
        spec = next((spec for spec in specs if (spec.suite, spec.task_id, spec.episode_index) == asked), None)
        if spec is None:
            raise HTTPException(404, "The run has no such episode.")
        if code := uninstalled_code({"env": run.config.get("env")}, on_import_path=True):
            replay = self._replays.refuse(directory, spec, ", ".join(code))
            return JSONResponse({"state": replay.state})
        replay = self._replays.ask(directory, spec)
        return JSONResponse({"state": replay.state}, 202)

    def _directories(self, ids: list[str]) -> dict[str, Path]:
        ids = list(dict.fromkeys(ids))
        if not 1 <= len(ids) <= _MOST_COMPARED:
            raise HTTPException(400, f"Name between one and {_MOST_COMPARED} runs.")
        try:
            return {run_id: self._folder.directory(run_id) for run_id in ids}
        except KeyError:
            raise HTTPException(404, "There is no such run in this folder.") from None

    def _plan(self, directory: Path) -> RunInfo:
        if (run := RunDirectory(directory).read_run()) is None:
            raise HTTPException(404, "The run is gone.")
        return run

    async def _explain(self, _: Request, error: Exception) -> Response:
        """A sentence, as a page."""
        if isinstance(error, HTTPException):
            return _html(self._pages.sentence(error.detail), error.status_code, error.headers)
        return _html(self._pages.sentence(str(error)), 409 if isinstance(error, ConfigError) else 500)


def _video_url(run_id: str, run: RunInfo, spec: EpisodeSpec) -> str:
    position = [task.key for task in run.tasks].index(spec.task)
    return f"/runs/{run_id}/episodes/{position}/{spec.episode_index}/video"


def _html(page: Page, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return HTMLResponse(page.html, status, {**(headers or {}), "content-security-policy": page.policy})


def _check_range(request: Request, path: Path) -> None:
    """A range of bytes is one range, and some of it is there.

    Raises:
        HTTPException: it is not.
    """
    size = path.stat().st_size
    for asked in request.headers.getlist("range"):
        match = _RANGE.fullmatch(asked)
        if match is None or not _is_within(match["first"], match["last"], size):
            raise HTTPException(
                416, "One range of bytes that the video has, please.", {"content-range": f"bytes */{size}"}
            )


def _is_within(first: str, last: str, size: int) -> bool:
    if not first:
        return int(last or 0) > 0
    return int(first) < size and (not last or int(first) <= int(last))


async def _read_wanted(request: Request) -> Wanted:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_BODY:
            raise HTTPException(413, "That is more than the name of an episode.")
    try:
        return msgspec.json.decode(body, type=Wanted)
    except msgspec.MsgspecError as error:
        raise HTTPException(400, f"That is no episode: {error}.") from None
