"""A sketch of what an episode's policy was given, which leaves the engine with the episode's other arrays.

A sketch follows from the episode alone, so it does not depend on workers, shards, batches or order, and sketches of
episodes are put together by listing them. It is small and cheap: of vectors it holds extremes and at most
:data:`MOST_ROWS` rows, of images a few looks, each at about every tenth pixel. A wrong wiring is the same in every
episode, so only the first :data:`MOST_EPISODES` episodes of a task have a sketch, and fewer of them images.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from proctor.types import Array, ArrayBytes, EpisodeSpec, Observation

NAME = "audit"
"""The name of the sketch among an episode's arrays: uint8 ``(n,)``, the MessagePack document of an InputSketch."""
MOST_EPISODES = 100
MOST_EPISODES_WITH_IMAGES = 16
MOST_ROWS = 32
MOST_ELEMENTS = 256
"""The elements of a vector that are looked at; a longer vector is a flattened image or point cloud."""
THUMBNAIL = 32
"""The most pixels of a thumbnail's side, in both directions."""
IMAGE_LOOKS = frozenset({0, 4, 16, 64, 256})
"""The looks of an episode at which images are kept: at any number of actions per look some are early, some late."""


class VectorSketch(msgspec.Struct, frozen=True):
    """The values of a vector over an episode's looks.

    ``shape`` and ``dtype`` are those of one observation. ``low`` and ``high`` are float64 ``(size,)`` over the finite
    values of all looks, NaN if there are none; ``n_not_finite`` counts the others. ``rows`` is float32 ``(n, size)``,
    the first of them that of the first look.
    """

    shape: tuple[int, ...]
    dtype: str
    low: ArrayBytes
    high: ArrayBytes
    n_not_finite: int
    rows: ArrayBytes


class ImageSketch(msgspec.Struct, frozen=True):
    """Images of an episode. ``thumbnails`` is ``(n, height, width, channels)`` of the images' dtype, the first of them
    of the first look. ``first`` are the compressed (zlib) bytes of the whole first image, of the task's first episode
    only.
    """

    shape: tuple[int, ...]
    dtype: str
    thumbnails: ArrayBytes
    first: bytes = b""


class InputSketch(msgspec.Struct, frozen=True):
    """A sketch of one episode. ``n_looks`` is the number of looks, and ``steps`` the control step of each row.

    ``instruction`` is the text at the first look, ``action_low`` and ``action_high`` are the bounds of an action, and
    ``fps`` the control steps per simulated second, 0 if they are not known.
    """

    n_looks: int
    steps: tuple[int, ...]
    instruction: str
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    fps: float
    vectors: dict[str, VectorSketch]
    images: dict[str, ImageSketch]

    def to_array(self) -> Array:
        """Encode the sketch as an array of bytes."""
        return np.frombuffer(_encode(self), np.uint8)

    @classmethod
    def from_array(cls, array: Array) -> InputSketch:
        """Decode a sketch.

        Raises:
            ValueError: the bytes are not a sketch.
        """
        try:
            return _decode(array.tobytes())
        except msgspec.MsgspecError as error:
            raise ValueError(f"the sketch of an episode's inputs cannot be read ({error})") from None


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(InputSketch).decode


@dataclass
class InputRecorder:
    """Takes in what the policy of one episode is given, look by look."""

    spec: EpisodeSpec
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    fps: float = 0.0
    _steps: list[int] = field(default_factory=list)
    _instruction: str = ""
    _rows: dict[str, list[Array]] = field(default_factory=dict)
    _thumbnails: dict[str, list[Array]] = field(default_factory=dict)
    _images: dict[str, ImageSketch] = field(default_factory=dict)

    def look(self, step: int, observation: Observation) -> None:
        """Take in an observation; of its arrays ``(looks, …)`` the last entry is the present one, before ``step``."""
        look = len(self._steps)
        self._steps.append(step)
        if not look:
            self._instruction = observation.instruction
        with_images = look in IMAGE_LOOKS and self.spec.episode_index < MOST_EPISODES_WITH_IMAGES
        for key, array in observation.arrays.items():
            if array.ndim != 4:
                self._rows.setdefault(key, []).append(array[-1].ravel()[:MOST_ELEMENTS].copy())
            elif with_images:
                self._take_image(key, array[-1])

    def _take_image(self, key: str, image: Array) -> None:
        if key not in self._images:
            whole = zlib.compress(image.tobytes(), 1) if self.spec.episode_index == 0 else b""
            self._images[key] = ImageSketch(image.shape, image.dtype.str, ArrayBytes.pack(image[:0]), whole)
        self._thumbnails.setdefault(key, []).append(thumbnail(image))

    def sketch(self) -> InputSketch:
        """Make the sketch of the looks so far."""
        stride = max(1, -(-len(self._steps) // MOST_ROWS))
        thumbnails = {key: ArrayBytes.pack(np.stack(found)) for key, found in self._thumbnails.items()}
        return InputSketch(
            len(self._steps),
            tuple(self._steps[::stride]),
            self._instruction,
            self.action_low,
            self.action_high,
            self.fps,
            {key: _vector(rows, stride) for key, rows in self._rows.items()},
            {key: msgspec.structs.replace(image, thumbnails=thumbnails[key]) for key, image in self._images.items()},
        )

    def arrays(self) -> Mapping[str, Array]:
        """Give the sketch in the form in which it is kept with an episode's arrays."""
        return {NAME: self.sketch().to_array()}


def recorder_of(
    spec: EpisodeSpec, action_low: tuple[float, ...], action_high: tuple[float, ...], fps: float
) -> InputRecorder | None:
    """Make the recorder of an episode; None if it is not among the first of its task."""
    if spec.episode_index >= MOST_EPISODES:
        return None
    return InputRecorder(spec, action_low, action_high, fps)


def thumbnail(image: Array) -> Array:
    """Take evenly spaced pixels of an image ``(height, width, channels)``, at most ``THUMBNAIL`` in each direction."""
    strides = [max(1, -(-side // THUMBNAIL)) for side in image.shape[:2]]
    small: Array = image[strides[0] // 2 :: strides[0], strides[1] // 2 :: strides[1]].copy()
    return small


def _vector(rows: list[Array], stride: int) -> VectorSketch:
    values = np.stack(rows)
    as_floats = values.astype(np.float64)
    finite = np.isfinite(as_floats)
    low = np.where(finite, as_floats, np.inf).min(axis=0)
    high = np.where(finite, as_floats, -np.inf).max(axis=0)
    with np.errstate(over="ignore"):
        kept = as_floats[::stride].astype(np.float32)
    return VectorSketch(
        rows[0].shape,
        rows[0].dtype.str,
        ArrayBytes.pack(np.where(np.isfinite(low), low, np.nan)),
        ArrayBytes.pack(np.where(np.isfinite(high), high, np.nan)),
        int((~finite).sum()),
        ArrayBytes.pack(kept),
    )
