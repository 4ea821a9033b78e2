"""Videos of episodes, written frame by frame where the simulator is: memory does not grow with the episode."""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from proctor.benchmarks.base import SimEnv
from proctor.engine.messages import Film
from proctor.types import Array


class Footage:
    """One episode's video in the making: its first frame is the reset, its last the end, its speed real time.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, env: SimEnv, film: Film) -> None:
        self._env, self._film = env, film
        self._every = max(1, math.ceil(env.fps / film.max_fps - 1e-9))
        """Steps from frame to frame."""
        self._n_steps = 0
        self._path = Path(film.path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        rate = Fraction(env.fps / self._every).limit_denominator(1000)
        self._writer = _H264Writer(self._path.with_suffix(".part"), rate, film.size)
        self._shoot()

    def after_step(self, *, last: bool) -> None:
        """Take a frame if it is time for one, or if the episode ends here."""
        self._n_steps += 1
        if last or self._n_steps % self._every == 0:
            self._shoot()

    def keep(self) -> None:
        """The episode is over: finish the file and give it its name."""
        self._writer.close()
        self._writer.path.replace(self._path)

    def discard(self) -> None:
        """The episode did not reach its end: leave no file."""
        with suppress(OSError):
            self._writer.close()
        self._writer.path.unlink(missing_ok=True)

    def _shoot(self) -> None:
        with self._env.looking():
            frame = self._env.render(self._film.camera, self._film.size)
        self._writer.add(frame)


class _H264Writer:
    """An MP4 file that every browser plays. Frames of another size than ``size`` (width, height) are scaled."""

    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int] | None) -> None:
        import av

        self.path = path
        self._size = size
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1  # other workers have the other cores

    def add(self, frame: Array) -> None:
        """Append a frame, uint8 ``(height, width, 3)``."""
        import av

        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        if not self._stream.codec_context.is_open:
            width, height = self._size or (picture.width, picture.height)
            self._stream.width, self._stream.height = width // 2 * 2, height // 2 * 2  # what the codec can hold
        picture = picture.reformat(self._stream.width, self._stream.height, "yuv420p")
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        if self._stream.codec_context.is_open:
            self._container.mux(self._stream.encode(None))
        self._container.close()
