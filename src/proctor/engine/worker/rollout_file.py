"""The files of a recorded episode: what its policy saw and did at each step, until a dataset is made of many episodes.

A folder for each episode holds ``values.npz`` (all that is not an image, a row per step, and statistics of the images)
and for each camera a video, or the images themselves (``.rgb``) if the worker's interpreter has no PyAV: then the
engine's process encodes them. The folder has the name :attr:`RolloutSpec.unfinished
<proctor.engine.worker.messages.RolloutSpec.unfinished>` until it is known to hold the right episode.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from proctor.engine.worker.messages import Codec, RolloutSpec
from proctor.security.foreign_code import described
from proctor.types import Array

CANNOT_BE_WRITTEN = "the recording cannot be written"
VALUES_FILE = "values.npz"
_RAW_SUFFIX = ".rgb"
_VIDEO_SUFFIX = ".mp4"
SIZE_PREFIX = "size/"
"""Before a camera's key: the height and width of its images, int64 ``(2,)``."""
PIXELS_PREFIX = "pixels/"
"""Before a camera's key: how often each value occurs in each channel of its sampled images, int64 ``(3, 256)``."""
RATE = "fps"
"""The key of the number of steps per simulated second, int64 ``()``."""


def cannot_be_written(error: BaseException) -> str:
    """Say why a recording is not written."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else described(error)
    return f"{CANNOT_BE_WRITTEN} ({reason})"


def video_file(folder: Path, key: str) -> Path:
    """Name the video of the camera ``key`` in the folder of an episode."""
    return folder / f"{key}{_VIDEO_SUFFIX}"


def read_values(folder: Path) -> dict[str, Array]:
    """Read ``values.npz`` of a recorded episode.

    Raises:
        OSError, ValueError: the file is missing or damaged.
    """
    with np.load(folder / VALUES_FILE, allow_pickle=False) as values:
        return {key: values[key] for key in values.files}


class VideoFrames:
    """Encodes images, uint8 ``(height, width, 3)``, as they come; the codec works on threads of its own."""

    def __init__(self, folder: Path, key: str, fps: int, codec: Codec) -> None:
        self._path, self._fps, self._codec = video_file(folder, key), fps, codec
        self._container: Any = None

    def add(self, image: Array) -> None:
        """Append an image; its memory may be reused afterwards."""
        import av

        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        if self._container is None:
            self._open(picture.width, picture.height)
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write the images that the codec still holds, and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._container is not None:
            self._container.close()

    def _open(self, width: int, height: int) -> None:
        import av

        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 describes itself at length for each video otherwise
        self._container = av.open(str(self._path), "w", format="mp4")
        self._stream = self._container.add_stream(self._codec.name, self._fps, options=dict(self._codec.options))
        self._stream.pix_fmt = self._codec.pixel_format
        self._stream.width, self._stream.height = width, height


class RawFrames:
    """Writes images as they are, in an interpreter that cannot encode."""

    def __init__(self, folder: Path, key: str) -> None:
        self._file: BinaryIO = (folder / f"{key}{_RAW_SUFFIX}").open("wb")

    def add(self, image: Array) -> None:
        """Append an image."""
        self._file.write(np.ascontiguousarray(image).data)

    def close(self) -> None:
        """Complete the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()


def encode_raw_frames(folder: Path, codec: Codec) -> None:
    """Make videos of the images of a worker that cannot encode, and remove those images.

    Raises:
        OSError: a file cannot be read or written.
    """
    values = read_values(folder)
    for raw in sorted(folder.glob(f"*{_RAW_SUFFIX}")):
        key = raw.name.removesuffix(_RAW_SUFFIX)
        height, width = values[SIZE_PREFIX + key]
        writer = VideoFrames(folder, key, int(values[RATE]), codec)
        with raw.open("rb") as file:
            while image := file.read(height * width * 3):
                writer.add(np.frombuffer(image, np.uint8).reshape(height, width, 3))
        writer.close()
        raw.unlink()


def discard_rollout(spec: RolloutSpec) -> None:
    """Remove the folder of an unfinished recording, if there is one."""
    with suppress(OSError):
        shutil.rmtree(spec.unfinished)
