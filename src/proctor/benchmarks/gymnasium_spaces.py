"""Gymnasium's spaces as a policy knows them: which feature each part of an observation is, and what an action is.

=======================================  ====================================================================
space                                    what a policy calls it
=======================================  ====================================================================
image: ``Box`` uint8 (H, W, 3)           ``observation.image``; in a dictionary: under ``pixels`` the same, under
                                         ``pixels.<camera>`` ``observation.images.<camera>``
vector: ``Box`` (n,)                     ``observation.state``; in a dictionary: under ``agent_pos`` the same, as
                                         under ``observation`` beside a goal
anything else in a dictionary            ``observation.<key>``, inner dictionaries with a dot: ``observation.a.b``
``Text``                                 the instruction, one at most; it takes the place of the task's
=======================================  ====================================================================

Shapes and dtypes are the environment's. Everything else (``Tuple``, ``Discrete``, ``Graph``, arrays of other ranks) is
refused: what a policy would make of it is not for us to guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Text

from proctor.errors import ConfigError
from proctor.types import INSTRUCTION, Array

_Path = tuple[str, ...]

_PLACES: dict[_Path, str] = {
    (): "",
    ("pixels",): "",
    ("agent_pos",): "observation.state",
    ("observation",): "observation.state",  # of a goal environment, beside achieved_goal and desired_goal
}
"""Where a part lies, and its name; without one it is what its space is."""


_BYTES_OF_A_CHARACTER = 4
"""At most, in UTF-8."""


class ObservationNames:
    """What a policy calls the parts of an environment's observations: see the table above.

    Raises:
        ConfigError: a part is neither an image nor a vector nor a text, or two would have the same name.
    """

    def __init__(self, space: Any, env_id: str) -> None:
        self._paths: dict[str, _Path] = {}
        spaces: dict[str, Box] = {}
        for path, leaf in _leaves(space):
            name = _feature_name(path, leaf, env_id)
            if name in spaces:
                parts = " and ".join(".".join(each) for each in (self._paths[name], path))
                raise ConfigError(f"{env_id}: {parts} would both be {name}; leave one of them out of what it observes.")
            self._paths[name] = path
            if isinstance(leaf, Text):
                leaf = Box(0, 255, (_BYTES_OF_A_CHARACTER * leaf.max_length,), np.uint8)  # noqa: PLW2901 - as it travels
            spaces[name] = leaf
        self.space = Dict(spaces)

    def of(self, observation: Any) -> dict[str, Array]:
        """An observation under those names; of a vector environment, each part with its leading batch axis."""
        return {name: self._array(name, _at(observation, path)) for name, path in self._paths.items()}

    def _array(self, name: str, value: Any) -> Array:
        if name != INSTRUCTION:
            return np.asarray(value)
        if not isinstance(value, str):
            return np.stack([self._array(name, text) for text in value])
        room, encoded = self.space[name].shape[0], value.encode()
        if len(encoded) > room:
            raise ValueError(f"the text it observes is longer than its space allows: {value!r}")
        return np.frombuffer(encoded.ljust(room, b"\0"), np.uint8)


def action_box(space: Any, env_id: str) -> Box:
    """The actions as a policy gives them: a vector as it is; one of *n* as float32 (1,).

    Raises:
        ConfigError: they are neither.
    """
    if isinstance(space, Discrete):
        first = int(space.start)
        return Box(first, first + int(space.n) - 1, (1,), np.float32)
    if isinstance(space, Box) and len(space.shape) == 1:
        return space
    raise ConfigError(f"{env_id}: actions are {space}; they must be a vector (Box of one dimension) or Discrete.")


def _leaves(space: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Every space that is not a dictionary, with the keys that lead to it."""
    if isinstance(space, Dict):
        for name, inner in space.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path, space


def _at(observation: Any, path: _Path) -> Any:
    for name in path:
        observation = observation[name]
    return observation


def _feature_name(path: _Path, space: Any, env_id: str) -> str:
    """What a policy calls this part of an observation."""
    if isinstance(space, Text):
        return INSTRUCTION
    is_image = isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] == 3
    if not is_image and not (isinstance(space, Box) and len(space.shape) == 1):
        part = ".".join(path) or "the observation"
        raise ConfigError(
            f"{env_id}: {part} is {space}; it must be an image (uint8, height x width x 3), a vector or a text. "
            "A wrapper of Gymnasium's, such as FlattenObservation, may bring it into that form."
        )
    if path[:1] == ("pixels",) and len(path) == 2:
        return f"observation.images.{path[1]}"
    by_kind = "observation.image" if is_image else "observation.state"
    return (_PLACES[path] or by_kind) if path in _PLACES else ".".join(("observation", *path))
