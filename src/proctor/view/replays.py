"""Videos on demand: renders those that are missing, one at a time, each by ``proctor replay`` in a process of its own.

So the server never loads a simulator or GL, and survives whatever a simulator does.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from proctor.child import python_command
from proctor.errors import ConfigError
from proctor.security.consent import GIVE_CONSENT
from proctor.types import EpisodeSpec

_MOST_WAITING = 20
_GRACE_S = 0.7
_LONGEST_SENTENCE = 600
_FINAL = ("done", "failed")


@dataclass
class RenderRequest:
    """An episode whose video is to be rendered.

    ``state`` is waiting, running, done or failed; ``message`` is the last line that the command printed, or the error.
    """

    directory: Path
    spec: EpisodeSpec
    state: str = "waiting"
    message: str = ""

    @property
    def pending(self) -> bool:
        return self.state not in _FINAL


class RenderQueue:
    """The requests to render videos since the server started."""

    def __init__(self) -> None:
        self._asked: dict[tuple[Path, EpisodeSpec], RenderRequest] = {}
        self._waiting: asyncio.Queue[RenderRequest] = asyncio.Queue()

    def of(self, directory: Path) -> list[RenderRequest]:
        """Return the requests for episodes of a run."""
        return [replay for replay in self._asked.values() if replay.directory == directory]

    def ask(self, directory: Path, spec: EpisodeSpec) -> RenderRequest:
        """Request the video of an episode; if one is pending for the episode already, return that one.

        Raises:
            ConfigError: too many requests are waiting.
        """
        known = self._asked.get((directory, spec))
        if known is not None and known.pending:
            return known
        if self._waiting.qsize() >= _MOST_WAITING:
            raise ConfigError(f"{_MOST_WAITING} videos are waiting to be rendered already; wait for one of them.")
        replay = self._asked[directory, spec] = RenderRequest(directory, spec)
        self._waiting.put_nowait(replay)
        return replay

    def refuse(self, directory: Path, spec: EpisodeSpec, code: str) -> RenderRequest:
        """Record a failed request for an episode whose simulator is ``code`` that is not installed, with the command
        that renders its video.
        """
        command = [*_command(directory, spec), GIVE_CONSENT]
        message = f"The viewer does not run code that is not installed ({code}). If you trust it: {shlex.join(command)}"
        replay = self._asked[directory, spec] = RenderRequest(directory, spec, "failed", message)
        return replay

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Render requested videos while this is entered. Leaving it stops a replay that is running."""
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker

    async def _work(self) -> None:
        while True:
            replay = await self._waiting.get()
            replay.state = "running"
            try:
                replay.state = "done" if await self._render(replay) == 0 else "failed"
            except OSError as error:
                replay.state, replay.message = "failed", f"The video cannot be rendered: {error.strerror}."

    async def _render(self, replay: RenderRequest) -> int:
        process = await asyncio.create_subprocess_exec(
            *python_command(*_command(replay.directory, replay.spec)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            printed: list[str] = []
            async for line in process.stdout:
                printed.extend(_sentences(line))
                replay.message = printed[-1] if printed else ""
            status = await process.wait()
        finally:
            await _end(process)
        if status:
            replay.message = _reason(printed) or f"proctor replay ended with status {status}."
        return status


def _command(directory: Path, spec: EpisodeSpec) -> list[str]:
    task = f"{spec.suite}/{spec.task_id}"
    return ["proctor", "replay", str(directory), f"--task={task}", f"--episode={spec.episode_index}"]


def _sentences(line: bytes) -> Iterator[str]:
    text = "".join(char for char in line.decode(errors="replace") if char.isprintable()).strip()
    if text:
        yield text[:_LONGEST_SENTENCE]


def _reason(printed: list[str]) -> str:
    """Find the reason of a failure in what the command printed: an error, or a replay that differs from the episode."""
    for label in ("Error:", "No video"):
        for position, line in enumerate(printed):
            if line.startswith(label):
                return " ".join([line.removeprefix(label).strip(), *printed[position + 1 :]])[:_LONGEST_SENTENCE]
    return printed[-1] if printed else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    """Terminate a process and the processes that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_S)
