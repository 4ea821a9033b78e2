"""Encodes, in the engine's process, the videos of workers whose interpreter has no PyAV (``--env.python``).

Such a worker sends each frame when it has drawn it, and goes on once the frame is encoded.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from proctor.engine.worker.messages import FrameDrawn, VideoSpec
from proctor.engine.worker.video_file import H264Writer, cannot_be_written, discard_video
from proctor.types import Array


class SentVideos:
    """The videos that are under way, at most one of each worker."""

    def __init__(self) -> None:
        self._videos: dict[int, tuple[VideoSpec, H264Writer]] = {}

    def add(self, worker_id: int, drawn: FrameDrawn, frame: Array) -> str:
        """Encode a frame, uint8 ``(height, width, 3)``. Returns "", or if there can be no video, the reason."""
        if drawn.first:
            self.drop(worker_id)
            spec, rate = drawn.video_spec, Fraction(*drawn.rate)
            self._videos[worker_id] = (spec, H264Writer(Path(spec.unfinished), rate, spec.size))
        try:
            self._videos[worker_id][1].add(frame)
        except Exception as error:  # noqa: BLE001 - encoding may fail in any way; the episode goes on
            self.drop(worker_id)
            return cannot_be_written(error)
        return ""

    def finish(self, worker_id: int) -> str:
        """Complete the file of a worker's episode, if there is one. Returns "", or if that fails, the reason."""
        if worker_id not in self._videos:
            return ""
        try:
            self._videos[worker_id][1].close()
        except Exception as error:  # noqa: BLE001 - as above
            self.drop(worker_id)
            return cannot_be_written(error)
        del self._videos[worker_id]
        return ""

    def drop(self, worker_id: int) -> None:
        """Remove the file of a worker's episode that does not reach its end, if there is one."""
        if worker_id in self._videos:
            spec, writer = self._videos.pop(worker_id)
            with suppress(Exception):  # on a full disk closing raises too
                writer.abandon()
            discard_video(spec)

    def close(self) -> None:
        """Remove the files of all episodes that do not reach their end."""
        for worker_id in list(self._videos):
            self.drop(worker_id)
