"""Videos of episodes, written frame by frame where the simulator is: memory does not grow with the episode.

A worker leaves a finished video under :attr:`VideoSpec.unfinished
<proctor.engine.worker.messages.VideoSpec.unfinished>`. Its name it is given by whoever knows that it shows the right
episode.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from proctor.benchmarks.base import SimEnv
from proctor.engine.worker.messages import VideoSpec
from proctor.errors import ConfigError
from proctor.security.foreign_code import described, is_ctrl_c
from proctor.types import Array


def keep_video(film: VideoSpec) -> str:
    """Give a finished video its name. Returns what is wrong, "" if nothing is."""
    try:
        Path(film.unfinished).replace(film.path)
    except OSError as error:
        return _cannot_be_written(error)
    return ""


def discard_video(film: VideoSpec) -> None:
    """Remove what there is of a video without a name. A folder that takes no videos holds none."""
    with suppress(OSError):
        Path(film.unfinished).unlink()


class VideoRecorder:
    """One episode's video in the making: its first frame is the reset, its last the end, its speed real time.

    Nothing that goes wrong with it reaches the episode. There will be no video then, and ``problem`` says why.
    """

    def __init__(self, env: SimEnv, film: VideoSpec) -> None:
        self._env, self._film = env, film
        self.problem = ""
        self._every = max(1, math.ceil(env.fps / film.max_fps - 1e-9))
        """Steps from frame to frame."""
        self._n_steps = 0
        rate = Fraction(env.fps).limit_denominator(1000) / self._every
        self._writer = _H264Writer(Path(film.unfinished), rate, film.size)
        self._shoot()

    def after_step(self, *, last: bool) -> None:
        """Take a frame if it is time for one, or if the episode ends here."""
        self._n_steps += 1
        if last or self._n_steps % self._every == 0:
            self._shoot()

    def finish(self) -> None:
        """The episode is over: complete the file."""
        if not self.problem:
            with self._noting(_cannot_be_written):
                self._writer.close()

    def give_up(self, problem: str) -> None:
        """Leave no file. The first problem is the one that is told."""
        if not self.problem:
            self.problem = problem
            with suppress(Exception):  # on a full disk it cannot be closed without one either
                self._writer.abandon()
            discard_video(self._film)

    def _shoot(self) -> None:
        if self.problem:
            return
        with self._noting(_cannot_be_drawn), self._env.looking():
            frame = self._env.render(self._film.camera, self._film.size)
        if not self.problem:
            with self._noting(_cannot_be_written):
                self._writer.add(frame)

    @contextmanager
    def _noting(self, describe: Callable[[BaseException], str]) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # drawing and encoding may fail in any way; the episode goes on
            if is_ctrl_c(error):
                raise
            if not isinstance(error, ConfigError | OSError):
                traceback.print_exc()  # into the log, for whom the sentence is not enough
            self.give_up(describe(error))


def _cannot_be_drawn(error: BaseException) -> str:
    return str(error) if isinstance(error, ConfigError) else f"cannot be drawn ({described(error)})"


def _cannot_be_written(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else described(error)
    return f"the video cannot be written ({reason})"


class _H264Writer:
    """An MP4 file that every browser plays. Frames of another size than ``size`` (width, height) are scaled.

    The file, and the folder it is in, are made for the first frame.
    """

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int] | None) -> None:
        self._path, self._rate, self._size = path, rate, size
        self._container: Any = None

    def add(self, frame: Array) -> None:
        """Append a frame, uint8 ``(height, width, 3)``.

        Raises:
            OSError: the file cannot be written.
        """
        import av

        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        if self._container is None:
            self._open(*(self._size or (picture.width, picture.height)))
        picture = picture.reformat(self._stream.width, self._stream.height, "yuv420p")
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what the encoder still holds, and the index.

        Raises:
            OSError: the file cannot be written.
        """
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Let go of the file as it is. To encode more after a failed write would end the process."""
        if self._container is not None:
            self._container.close()

    def _open(self, width: int, height: int) -> None:
        import av

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream(
            "libx264", rate=self._rate, options={"preset": "veryfast", "crf": "23"}
        )
        self._stream.width, self._stream.height = width // 2 * 2, height // 2 * 2  # what the codec can hold
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1  # other workers have the other cores
