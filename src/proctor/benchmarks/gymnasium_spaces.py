"""Mapping of Gymnasium's spaces to a policy's features: the name of each part of an observation, and the action.

=======================================  ====================================================================
space                                    feature of the policy
=======================================  ====================================================================
image: ``Box`` uint8 (H, W, 1, 3 or 4)   ``observation.image``; in a dictionary: under ``pixels`` the same, under
                                         ``pixels.<camera>`` ``observation.images.<camera>``
the same as (1, 3 or 4, H, W), or (H,    the image with its channels last; there must be fewer channels than rows
W), ``Box`` uint8 from 0 to 255          and columns, as LeRobot requires of an image
float image: ``Box`` with 3 channels,    the image in uint8: from 0 to 1 multiplied by 255, rounded
first or last, from 0 to 1 or to 255
vector: ``Box`` (n,); a number: ()       ``observation.state``; in a dictionary: under ``agent_pos`` the same, as
                                         under ``observation`` beside a goal; a number has the shape (1,)
``Discrete``; ``MultiDiscrete``,         the same, float32 (1,); float32 of the space's shape
``MultiBinary``
``Tuple`` of vectors and numbers         the same, joined to one vector in their order: float32, or float64 if a part
                                         needs it
``Box`` of any other shape               the same array, unchanged, which a function can use
any of these elsewhere in a dictionary   ``observation.<key>``, inner dictionaries with a dot: ``observation.a.b``
``Text``                                 the instruction, at most one; it replaces the task's
=======================================  ====================================================================

Shapes and dtypes are the environment's unless the table says otherwise. Spaces that it does not list (``Graph``,
``Sequence``, ``OneOf``, a ``Tuple`` that contains images or dictionaries) are left out of the observation, with a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from proctor.benchmarks.gym_package import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from proctor.errors import ConfigError
from proctor.types import INSTRUCTION, Array

_Path = tuple[str, ...]

_PLACES: dict[_Path, str] = {
    (): "",
    ("pixels",): "",
    ("agent_pos",): "observation.state",
    ("observation",): "observation.state",  # in a goal environment, beside achieved_goal and desired_goal
}
"""Feature names of parts at fixed paths; the name of any other part depends on its space and its key."""

_BYTES_OF_A_CHARACTER = 4
"""Maximum number of bytes of a character in UTF-8."""
_CHANNELS = (1, 3, 4)
_EXACT_IN_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class _Part:
    """One array of a policy's observation: its ``space``, and the function ``of`` that makes it from the environment's
    value, which may have a leading batch axis.
    """

    space: Box
    of: Callable[[Any], Array]
    is_image: bool = False


class ObservationNames:
    """The feature names of the parts of an environment's observations: see the table above.

    ``left_out`` is a sentence about the parts that are left out, "" if there are none.

    Raises:
        ConfigError: two parts would have the same name.
    """

    def __init__(self, space: Any, env_id: str) -> None:
        self._paths: dict[str, _Path] = {}
        self._parts: dict[str, _Part] = {}
        left_out = []
        for path, leaf in _leaves(space):
            part = _part(leaf)
            if part is None:
                left_out.append(f"{'.'.join(path) or 'the observation'} ({leaf})")
                continue
            name = INSTRUCTION if isinstance(leaf, Text) else _feature_name(path, part)
            if name in self._parts:
                both = " and ".join(".".join(each) for each in (self._paths[name], path))
                raise ConfigError(
                    f"{env_id}: {both} would both be named {name}; leave one of them out of the observation."
                )
            self._paths[name], self._parts[name] = path, part
        self.space = Dict({name: part.space for name, part in self._parts.items()})
        self.left_out = ""
        if left_out:
            what = "none of these is" if len(left_out) > 1 else "this is not"
            self.left_out = f"{env_id}: policies are not given {', '.join(left_out)}; {what} an image, numbers or text."

    def of(self, observation: Any) -> dict[str, Array]:
        """Return an observation under feature names; in a vector environment, each part has a leading batch axis.

        Raises:
            ValueError: a part does not have the form that its space declares.
        """
        return {name: self._array(name, _at(observation, path)) for name, path in self._paths.items()}

    def _array(self, name: str, value: Any) -> Array:
        array = self._parts[name].of(value)
        if array.dtype.hasobject:  # a pointer is meaningless in another process
            raise ValueError(f"{name} consists of objects, but its space declares numbers: {value!r:.100}")
        return array


def action_box(space: Any, env_id: str) -> Box:
    """Return the space of a policy's actions: a vector space unchanged, or int64 (1,) for one of *n*.

    Raises:
        ConfigError: the space is neither.
    """
    if isinstance(space, Discrete):
        first = int(space.start)
        return Box(first, first + int(space.n) - 1, (1,), np.int64)
    if isinstance(space, Box) and len(space.shape) == 1:
        return space
    raise ConfigError(f"{env_id}: actions are {space}; they must be a vector (Box of one dimension) or Discrete.")


def native_action(action: Array, space: Any, box: Box) -> Any:
    """Return an action of a policy in the form of an environment's ``space``; ``box`` is its :func:`action_box`.

    If they hold whole numbers, each number is rounded (halves to the even one) and clipped to the valid ones. The
    environment may write into what is returned.
    """
    if box.dtype.kind in "iu":
        action = np.clip(np.rint(action), box.low, box.high)
    return int(action[0]) if isinstance(space, Discrete) else np.array(action, box.dtype)


def rgb_frame(frame: Any) -> Array:
    """Convert an environment's frame to a video's: uint8 (height, width, 3).

    A grey frame, (height, width) or (height, width, 1), is repeated in all three channels. A fourth channel, which is
    the opacity of a pixel, is dropped. Channels that come first are moved to the end if there are fewer of them than
    rows and columns. Floats must be in 0-1 and are multiplied by 255 and rounded.

    Raises:
        ConfigError: the frame has none of these forms.
    """
    array = np.asarray(frame) if frame is not None else np.empty(0, object)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
        return array
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.size == 0 or array.dtype.kind not in "bfiu" or (axis := _channel_axis(array.shape)) is None:
        found = "None" if frame is None else f"{type(frame).__name__} of {array.dtype} {array.shape}"
        raise ConfigError(
            f"its environment renders {found}; a frame must be uint8 (height, width, 3), grey, with a fourth channel, "
            "or of floats from 0 to 1"
        )
    top = 1 if array.dtype.kind in "bf" else 255
    if not (array.min() >= 0 and array.max() <= top):  # so that NaN is refused, too
        raise ConfigError(
            f"its environment renders {array.dtype} from {array.min():g} to {array.max():g}; "
            f"a frame of {array.dtype} must be from 0 to {top}"
        )
    array = _bytes(np.moveaxis(array, axis, -1), 255 // top)
    return np.repeat(array, 3, axis=-1) if array.shape[2] == 1 else array[..., :3]


def _leaves(space: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Yield every space that is not a dictionary, with the keys that lead to it."""
    if isinstance(space, Dict):
        for name, inner in space.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path, space


def _at(observation: Any, path: _Path) -> Any:
    for name in path:
        observation = observation[name]
    return observation


def _feature_name(path: _Path, part: _Part) -> str:
    """Return the feature name of the part of an observation at ``path``."""
    if path[:1] == ("pixels",) and len(path) == 2:
        return f"observation.images.{path[1]}"
    by_kind = "observation.image" if part.is_image else "observation.state"
    return (_PLACES[path] or by_kind) if path in _PLACES else ".".join(("observation", *path))


def _part(space: Any) -> _Part | None:
    """Return the array that a policy is given for a space that is not a dictionary; None if it is left out."""
    match space:
        case Text():
            return _text(space)
        case Box() if len(space.shape) in (2, 3) and (image := _image(space)) is not None:
            return image
        case Box():
            return _Part(space, np.asarray) if space.shape else _number(space.low, space.high, space.dtype)
        case Tuple():
            return _joined([None if isinstance(inner, Text) else _part(inner) for inner in space])
    return _counted(space)


def _counted(space: Any) -> _Part | None:
    """Convert discrete spaces (one of *n*, or several of them) to floats, because policies compute with floats."""
    match space:
        case Discrete():
            first, last = int(space.start), int(space.start) + int(space.n) - 1
            exact = max(abs(first), abs(last)) <= _EXACT_IN_FLOAT32
            return _number(first, last, np.float32 if exact else np.float64)
        case MultiDiscrete():
            return _floats(space.start, space.start + space.nvec - 1)
        case MultiBinary():
            return _floats(np.zeros(space.shape), np.ones(space.shape))
    return None


def _text(space: Text) -> _Part:
    room = _BYTES_OF_A_CHARACTER * space.max_length

    def encode(value: Any) -> Array:
        if not isinstance(value, str):
            return np.stack([encode(text) for text in value])
        if len(encoded := value.encode()) > room:
            raise ValueError(f"an observed text is longer than its space allows: {value!r}")
        return np.frombuffer(encoded.ljust(room, b"\0"), np.uint8)

    return _Part(Box(0, 255, (room,), np.uint8), encode)  # the form in which it is sent


def _image(space: Box) -> _Part | None:
    """Return an image with its channels last; None if the space does not look like an image."""
    if space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] == 3:
        return _Part(space, np.asarray, is_image=True)
    shape = space.shape if len(space.shape) == 3 else (*space.shape, 1)
    axis, top = _channel_axis(shape), _top(space)
    if space.dtype == np.uint8 and axis == -1 and len(space.shape) == 3:
        return _Part(space, np.asarray, is_image=True)
    if axis is None or top is None or (space.dtype != np.uint8 and shape[axis] != 3):
        return None

    def convert(value: Any) -> Array:
        array = np.asarray(value)
        if len(space.shape) == 2:
            array = array[..., np.newaxis]
        if not np.isfinite(array).all():
            raise ValueError("an observed image contains numbers that are not finite")
        return _bytes(np.moveaxis(array, axis, -1), 255 // top)

    channels = shape[axis]
    height, width = (size for i, size in enumerate(shape) if i != axis % 3)
    return _Part(Box(0, 255, (height, width, channels), np.uint8), convert, is_image=True)


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return the axis of the channels in (height, width, channels) or (channels, height, width).

    There are fewer channels than rows and columns, so at most one axis qualifies.
    """
    if len(shape) != 3:
        return None
    for axis, sides in ((-1, shape[:2]), (-3, shape[1:])):
        if shape[axis] in _CHANNELS and shape[axis] < min(sides):
            return axis
    return None


def _top(space: Box) -> int | None:
    """Return the maximum of a space that is 0 to 255 everywhere, or 0 to 1 for floats; None for any other space."""
    tops = (1, 255) if space.dtype.kind == "f" else (255,) if space.dtype == np.uint8 else ()
    return next((top for top in tops if np.all(space.low == 0) and np.all(space.high == top)), None)


def _bytes(image: Array, scale: int) -> Array:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    return np.rint(np.clip(image.astype(np.float64) * scale, 0, 255)).astype(np.uint8)


def _number(low: Any, high: Any, dtype: Any) -> _Part:
    box = Box(np.full(1, low, dtype), np.full(1, high, dtype), dtype=dtype)
    return _Part(box, lambda value: np.asarray(value).astype(dtype)[..., np.newaxis])


def _floats(low: Array, high: Array) -> _Part:
    box = Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
    return _Part(box, lambda value: np.asarray(value, np.float32))


def _joined(parts: list[_Part | None]) -> _Part | None:
    """Join several parts into one vector; None if one of the parts is None."""
    vectors = [part for part in parts if part is not None and not part.is_image and len(part.space.shape) == 1]
    if not vectors or len(vectors) < len(parts):
        return None
    dtype = np.result_type(np.float32, *(part.space.dtype for part in vectors))
    low, high = (np.concatenate(ends) for ends in zip(*((p.space.low, p.space.high) for p in vectors), strict=True))

    def join(values: Any) -> Array:
        joined = [part.of(value) for part, value in zip(vectors, values, strict=True)]
        return np.concatenate(joined, axis=-1).astype(dtype)

    return _Part(Box(low.astype(dtype), high.astype(dtype), dtype=dtype), join)
