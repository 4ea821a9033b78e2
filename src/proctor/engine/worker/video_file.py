"""A video's file, written frame by frame, so that memory does not grow with the episode.

A video is written under the name :attr:`VideoSpec.unfinished <proctor.engine.worker.messages.VideoSpec.unfinished>`.
The engine gives it its own name (:func:`keep_video`) once it is known to show the right episode.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from proctor.engine.worker.messages import VideoSpec
from proctor.security.foreign_code import described
from proctor.types import Array


def keep_video(video_spec: VideoSpec) -> str:
    """Give a finished video its name. Returns "", or if that fails, the reason."""
    try:
        Path(video_spec.unfinished).replace(video_spec.path)
    except OSError as error:
        return cannot_be_written(error)
    return ""


def discard_video(video_spec: VideoSpec) -> None:
    """Remove an unfinished video, if there is one."""
    with suppress(OSError):
        Path(video_spec.unfinished).unlink()


def cannot_be_written(error: BaseException) -> str:
    """Say why a video is not written."""
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
