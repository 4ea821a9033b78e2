"""Videos of episodes, written frame by frame in the worker, so that memory does not grow with the episode.

A worker writes a video under the name :attr:`VideoSpec.unfinished
<proctor.engine.worker.messages.VideoSpec.unfinished>`. The engine gives it its own name (:func:`keep_video`) once it is
known to show the right episode.
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


def keep_video(video_spec: VideoSpec) -> str:
    """Give a finished video its name. Returns "", or if that fails, the reason."""
    try:
        Path(video_spec.unfinished).replace(video_spec.path)
    except OSError as error:
        return _cannot_be_written(error)
    return ""


def discard_video(video_spec: VideoSpec) -> None:
    """Remove an unfinished video, if there is one."""
    with suppress(OSError):
        Path(video_spec.unfinished).unlink()


class VideoRecorder:
    """Writes one episode's video: its first frame shows the reset, its last frame the end, and it plays in real time.

    If a frame cannot be drawn or the file cannot be written, the episode goes on without a video, and ``problem`` says
    why there is none.
    """

    def __init__(self, env: SimEnv, video_spec: VideoSpec) -> None:
        self._env, self._spec = env, video_spec
        self.problem = ""
        self._every = max(1, math.ceil(env.fps / video_spec.max_fps - 1e-9))
        """The number of steps from one frame to the next."""
        self._n_steps = 0
        rate = Fraction(env.fps).limit_denominator(1000) / self._every
        self._writer = H264Writer(Path(video_spec.unfinished), rate, video_spec.size)
        self._add_frame()

    def after_step(self, *, last: bool) -> None:
        """Add a frame if it is time for one, or if the episode ends with this step."""
        self._n_steps += 1
        if last or self._n_steps % self._every == 0:
            self._add_frame()

    def finish(self) -> None:
        """Complete the file, as the episode is over."""
        if not self.problem:
            with self._noting(_cannot_be_written):
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
                traceback.print_exc()  # the log has the details
            self.give_up(describe(error))


def _cannot_be_drawn(error: BaseException) -> str:
    return str(error) if isinstance(error, ConfigError) else f"cannot be drawn ({described(error)})"


def _cannot_be_written(error: BaseException) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else described(error)
    return f"the video cannot be written ({reason})"


class H264Writer:
    """An MP4 file that every browser plays. Frames are scaled to ``size`` (width, height in pixels) if it is given.

    The file and its folder are made with the first frame.
    """

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int] | None) -> None:
        self._path, self._rate, self._size = path, rate, size
        self._container: Any = None

    def add(self, frame: Array) -> None:
        """Append a frame, uint8 of shape ``(height, width, 3)``.

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
        """Write the frames that the encoder still holds, and the index.

        Raises:
            OSError: the file cannot be written.
        """
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close the file as it is. To encode more after a failed write would end the process."""
        if self._container is not None:
            self._container.close()

    def _open(self, width: int, height: int) -> None:
        import av

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream(
            "libx264", rate=self._rate, options={"preset": "veryfast", "crf": "23"}
        )
        self._stream.width, self._stream.height = width // 2 * 2, height // 2 * 2  # the codec needs even numbers
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1  # the other cores are for other workers
