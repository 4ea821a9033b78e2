"""The server-sent events that update a page while its runs go on.

An event ``state`` holds the HTML of the runs' progress; a ``stamp`` of the runs' files (if it differs from the one with
which the page was made, there is something new to show); whether a process writes to them; and the state of videos that
are being rendered. When nothing more can change, an event ``end`` is sent, so that a page that waits for nothing keeps
no connection.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool

from proctor.results.run_status import RunStatus
from proctor.view.folder import stamp
from proctor.view.replays import RenderQueue, RenderRequest

_LOOK_S = 0.4
_SHARE = 0.1
"""The largest part of the time that is spent on looking: evaluations need the machine more."""
_SIGN_OF_LIFE_S = 10.0
_RECONNECT_MS = 1000

VideoUrl = Callable[[RenderRequest], str]


async def watch(
    directories: Mapping[str, Path],
    replays: RenderQueue,
    video_url: VideoUrl,
    going_on: Callable[[], str],
    ending: Callable[[], bool],
) -> AsyncIterator[bytes]:
    """Stream the events of some runs, by their ids, until nothing more can change or ``ending`` returns true.

    ``going_on`` makes the HTML of the runs' progress.
    """
    yield b"retry: %d\n\n" % _RECONNECT_MS
    last, silent_s = b"", 0.0
    while not ending():
        began = monotonic()
        looked_at = await run_in_threadpool(_look, tuple(directories.values()), going_on)
        pause_s = max(_LOOK_S, (monotonic() - began) / _SHARE)
        asked = {run_id: replays.of(directory) for run_id, directory in directories.items()}
        state = msgspec.json.encode({**looked_at, "replays": _render_states(asked, video_url)})
        if state != last:
            yield _event("state", state)
            last, silent_s = state, 0.0
        elif silent_s >= _SIGN_OF_LIFE_S:
            yield b": still here\n\n"  # fails if the client is gone
            silent_s = 0.0
        if not looked_at["live"] and not any(replay.pending for of_run in asked.values() for replay in of_run):
            yield _event("end", b"{}")
            return
        await asyncio.sleep(pause_s)
        silent_s += pause_s


def page_stamp(directories: Sequence[Path]) -> str:
    """Return a short text that changes whenever the runs' files change."""
    return hashlib.sha256(repr([stamp(directory) for directory in directories]).encode()).hexdigest()[:16]


def _look(directories: Sequence[Path], going_on: Callable[[], str]) -> dict[str, Any]:
    live = any(RunStatus.of(directory).is_live for directory in directories)
    return {"live": live, "stamp": page_stamp(directories), "going_on": going_on()}


def _render_states(asked: Mapping[str, Sequence[RenderRequest]], video_url: VideoUrl) -> list[dict[str, Any]]:
    return [
        {
            "run": run_id,
            "suite": replay.spec.suite,
            "task_id": replay.spec.task_id,
            "episode": replay.spec.episode_index,
            "state": replay.state,
            "message": replay.message,
            "video": video_url(replay) if replay.state == "done" else None,
        }
        for run_id, of_run in asked.items()
        for replay in of_run
    ]


def _event(name: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
