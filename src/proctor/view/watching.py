"""What a page hears of while its runs go on: server-sent events.

An event ``state`` says what the runs' files look like by now (``stamp``: if it differs from the one the page was made
with, there is something new to show), whether anybody writes to them, and how episodes that are being filmed get on.
Once nothing more can happen an event ``end`` is sent: a page that is not waiting for anything keeps no connection.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from proctor.results.run_status import RunStatus
from proctor.view.folder import stamp
from proctor.view.replays import Renderings, RenderRequest

_LOOK_S = 0.4
_SIGN_OF_LIFE_S = 10.0
_RECONNECT_MS = 1000

VideoUrl = Callable[[RenderRequest], str]


async def watch(
    directories: Mapping[str, Path], replays: Renderings, video_url: VideoUrl, ending: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The stream of events on some runs, by their ids; until ``ending`` says that the server stops."""
    yield b"retry: %d\n\n" % _RECONNECT_MS
    last, silent_s = b"", 0.0
    while not ending():
        looked_at = await run_in_threadpool(_look, tuple(directories.values()))
        asked = {run_id: replays.of(directory) for run_id, directory in directories.items()}
        state = msgspec.json.encode({**looked_at, "replays": _told(asked, video_url)})
        if state != last:
            yield _event("state", state)
            last, silent_s = state, 0.0
        elif silent_s >= _SIGN_OF_LIFE_S:
            yield b": still here\n\n"  # finds out whether anybody listens
            silent_s = 0.0
        if not looked_at["live"] and not any(replay.pending for of_run in asked.values() for replay in of_run):
            yield _event("end", b"{}")
            return
        await asyncio.sleep(_LOOK_S)
        silent_s += _LOOK_S


def page_stamp(directories: Sequence[Path]) -> str:
    """What the runs' files look like, as short text."""
    return hashlib.sha256(repr([stamp(directory) for directory in directories]).encode()).hexdigest()[:16]


def _look(directories: Sequence[Path]) -> dict[str, Any]:
    live = any(RunStatus.of(directory).is_live for directory in directories)
    return {"live": live, "stamp": page_stamp(directories)}


def _told(asked: Mapping[str, Sequence[RenderRequest]], video_url: VideoUrl) -> list[dict[str, Any]]:
    return [
        {
            "run": run_id,
            "suite": replay.spec.suite,
            "task_id": replay.spec.task_id,
            "episode": replay.spec.episode_index,
            "state": replay.state,
            "said": replay.said,
            "video": video_url(replay) if replay.state == "done" else None,
        }
        for run_id, of_run in asked.items()
        for replay in of_run
    ]


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
