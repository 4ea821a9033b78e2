"""Draws the frames of an episode's video in the worker, and encodes them there if its interpreter has PyAV.

Another interpreter (``--env.python``) need not have it: then the worker sends each frame to the engine, which encodes
it in the same way.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Protocol

from proctor.benchmarks.base import SimEnv
from proctor.engine.worker.messages import VideoSpec
from proctor.engine.worker.video_file import H264Writer, cannot_be_written, discard_video
from proctor.errors import ConfigError
from proctor.security.foreign_code import described, is_ctrl_c
from proctor.types import Array


class Writer(Protocol):
    """A video that is made of frames, uint8 ``(height, width, 3)``."""

    def add(self, frame: Array) -> None:
        """Append a frame."""

    def close(self) -> None:
        """Complete the video."""

    def abandon(self) -> None:
        """End without a video."""


@cache
def can_encode() -> bool:
    """Say whether this interpreter has PyAV."""
    try:
        import av  # noqa: F401 - it is only looked whether it works
    except ImportError:
        return False
    return True


class Outbox:
    """Holds a frame until the worker sends it, in place of a file."""

    def __init__(self) -> None:
        self.frame: Array | None = None

    def add(self, frame: Array) -> None:
        self.frame = frame

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        self.frame = None


class VideoRecorder:
    """Writes one episode's video: its first frame shows the reset, its last frame the end, and it plays in real time.

    If a frame cannot be drawn or the file cannot be written, the episode goes on without a video, and ``problem`` says
    why there is none. If this interpreter cannot encode, each frame has to be taken from :meth:`unsent` before the next
    one; ``rate`` is the number of frames per second.
    """

    def __init__(self, env: SimEnv, video_spec: VideoSpec) -> None:
        self._env, self._spec = env, video_spec
        self.problem = ""
        self._every = max(1, math.ceil(env.fps / video_spec.max_fps - 1e-9))
        """The number of steps from one frame to the next."""
        self._n_steps = 0
        self.rate = Fraction(env.fps).limit_denominator(1000) / self._every
        self._outbox = None if can_encode() else Outbox()
        self._writer: Writer = self._outbox or H264Writer(Path(video_spec.unfinished), self.rate, video_spec.size)
        self._add_frame()

    def after_step(self, *, last: bool) -> None:
        """Add a frame if it is time for one, or if the episode ends with this step."""
        self._n_steps += 1
        if last or self._n_steps % self._every == 0:
            self._add_frame()

    @property
    def video_spec(self) -> VideoSpec:
        """The order that is executed."""
        return self._spec

    @property
    def is_first(self) -> bool:
        """No step has been taken yet."""
        return self._n_steps == 0

    def unsent(self) -> Array | None:
        """Take the frame that the engine is to encode, None if there is none."""
        if self._outbox is None:
            return None
        frame, self._outbox.frame = self._outbox.frame, None
        return frame

    def finish(self) -> None:
        """Complete the file, as the episode is over."""
        if not self.problem:
            with self._noting(cannot_be_written):
                self._writer.close()

    def give_up(self, problem: str) -> None:
        """Remove the file. If there are several problems, the first one is kept."""
        if not self.problem:
            self.problem = problem
            with suppress(Exception):  # on a full disk closing raises too
                self._writer.abandon()
            discard_video(self._spec)

    def _add_frame(self) -> None:
        if self.problem:
            return
        with self._noting(_cannot_be_drawn), self._env.looking():
            frame = self._env.render(self._spec.camera, self._spec.size)
        if not self.problem:
            with self._noting(cannot_be_written):
                self._writer.add(frame)

    @contextmanager
    def _noting(self, describe: Callable[[BaseException], str]) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # drawing and encoding may fail in any way; the episode goes on
            if is_ctrl_c(error):
                raise
            if not isinstance(error, ConfigError | OSError):
                traceback.print_exc()  # the log has the details
            self.give_up(describe(error))


def _cannot_be_drawn(error: BaseException) -> str:
    return str(error) if isinstance(error, ConfigError) else f"cannot be drawn ({described(error)})"
