"""The mapping between an environment's arrays and a server's requests, and between its replies and actions.

A mapping is a preset, JSON on the command line, or a file of JSON or YAML::

    inputs:
      - {key: observation/image, source: observation.images.front, rotate: true, resize: [224, 224]}
      - {key: observation/state, source: "observation.pos + axis_angle(observation.quat) + observation.grip[0:2]",
         dtype: float64}
      - {key: prompt, source: instruction}
    actions: [actions]
    n_action_steps: 5
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from proctor.config import structure
from proctor.config.strict_yaml import load_yaml
from proctor.errors import ConfigError, ContractError, PolicyError, did_you_mean
from proctor.policies.actions import to_array
from proctor.policies.base import renamed
from proctor.policies.remote.conversions import OF_ACTIONS, OF_VECTORS
from proctor.policies.remote.images import as_uint8, resize_with_pad, stretched, turned
from proctor.types import INSTRUCTION, Array, Features, Observation

_SLICE = r"(?:\[(\d*):(\d*)\])?"
_TERM = re.compile(rf"(?:(?P<call>\w+)\()?(?P<name>[\w./-]+){_SLICE}(?(call)\)){_SLICE}")
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class _Term:
    """A part of a vector: a slice of one of the environment's arrays, or of what a function makes of such a slice."""

    name: str
    given: slice
    part: slice
    convert: Callable[[Array], Array] = lambda vector: vector

    @classmethod
    def read(cls, text: str, where: str) -> _Term:
        match = _TERM.fullmatch(text.strip())
        if match is None:
            raise ConfigError(f"{where} is '{text}'; expected a name, name[start:stop] or axis_angle(name).")
        call = match["call"]
        if call is not None and call not in OF_VECTORS:
            raise ConfigError(f"{where} names an unknown conversion.{did_you_mean(call, OF_VECTORS)}")
        ends = [int(number) if number else None for number in match.groups()[2:]]
        return cls(match["name"], slice(*ends[:2]), slice(*ends[2:]), *([OF_VECTORS[call]] if call else []))

    def of(self, arrays: MappingOf[str, Array]) -> Array:
        """Compute the part from the environment's arrays."""
        return self.convert(np.asarray(arrays[self.name])[self.given])[self.part]


@dataclass(frozen=True, kw_only=True)
class Input:
    """One entry of the request.

    ``key`` is its name, or a list of names if it is in a map inside of a map. ``source`` is ``instruction``, one of
    the environment's images, or vectors joined by ``+``, each ``name``, ``name[start:stop]``, ``axis_angle(name)`` of
    a quaternion (x, y, z, w), ``bridge_angles(name)`` of a quaternion (w, x, y, z), or ``zeros(name)``; in parentheses,
    too, a slice may follow the name. An image is
    turned by 180 degrees with ``rotate``, then resized with black bars to ``resize``, its height and width, or with
    ``stretch`` without bars by OpenCV's bilinear interpolation, and has its channels last, or first if ``layout`` is
    ``chw``. ``dtype`` is the dtype that a vector is converted to; without it, a vector keeps the environment's dtype.
    """

    key: str | list[str]
    source: str
    rotate: bool = False
    resize: list[int] | None = None
    stretch: bool = False
    layout: str = "hwc"
    dtype: str | None = None

    def __post_init__(self) -> None:
        where = f"policy.inputs: {'/'.join(self.path)}"
        if self.layout not in ("hwc", "chw"):
            raise ConfigError(f"{where} has the layout '{self.layout}'; it is hwc or chw.")
        if self.resize is not None and (len(self.resize) != 2 or not all(1 <= side <= 4096 for side in self.resize)):
            raise ConfigError(f"{where} has resize {self.resize}; it is [height, width] in pixels, up to 4096.")
        if self.dtype is not None and not re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", self.dtype):
            raise ConfigError(f"{where} has the dtype '{self.dtype}'; it is float32, float64, uint8 or the like.")
        if not self.path or not all(self.path):
            raise ConfigError("policy.inputs has an input without a key; give the name that the server expects.")
        assert self.terms

    @property
    def path(self) -> list[str]:
        """``key`` as a list of names."""
        return [self.key] if isinstance(self.key, str) else self.key

    @cached_property
    def terms(self) -> list[_Term]:
        """The parts of the vector, in their order."""
        where = f"The source of policy.inputs {'/'.join(self.path)}"
        return [_Term.read(text, where) for text in self.source.split("+")]

    @property
    def sources(self) -> set[str]:
        """The names of the environment's arrays that the entry is computed from."""
        return {term.name for term in self.terms} - {INSTRUCTION}

    def of(self, arrays: MappingOf[str, Array], instruction: str) -> Any:
        """Compute the entry from an observation: ``arrays`` of the present step, without a time axis."""
        if self.source == INSTRUCTION:
            return instruction
        first = arrays[self.terms[0].name]
        if first.ndim == 3:
            return self._image(first)
        parts = [term.of(arrays) for term in self.terms]
        vector = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return np.array(vector, self.dtype)

    def _image(self, image: Array) -> Array:
        image = turned(image) if self.rotate else image
        if self.resize is not None:
            image = (stretched if self.stretch else resize_with_pad)(as_uint8(image), *self.resize)
        image = as_uint8(image)
        return image.transpose(2, 0, 1) if self.layout == "chw" else image


@dataclass(frozen=True, kw_only=True)
class Output:
    """A part of the action: an array of the reply by its key; ``convert`` names a conversion of its numbers."""

    key: str
    convert: str | None = None

    def __post_init__(self) -> None:
        if self.convert is not None and self.convert not in OF_ACTIONS:
            raise ConfigError(
                f"policy.inputs: {self.key} has an unknown conversion.{did_you_mean(self.convert, OF_ACTIONS)}"
            )


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """The entries of a request, and the arrays of a reply that are joined along their last axis to the actions."""

    inputs: tuple[Input, ...]
    actions: tuple[Output, ...] = (Output(key="actions"),)
    n_action_steps: int | None = None
    """The number of actions of a chunk that are executed; all if None."""

    @property
    def sources(self) -> set[str]:
        """The names of the environment's arrays that are sent."""
        return {name for each in self.inputs for name in each.sources}

    @property
    def sha256(self) -> str:
        """The SHA-256 of all fields, for fingerprints."""
        fields = asdict(self)
        for each in fields["inputs"]:
            if not each["stretch"]:
                del each["stretch"]  # as in mappings from before this field
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def items(self, observation: Observation, names: MappingOf[str, str]) -> Iterator[tuple[Input, Any]]:
        """Yield each input with its value; ``names`` maps the environment's names to those of the mapping."""
        arrays = {names.get(name, name): array[-1] for name, array in observation.arrays.items()}
        for each in self.inputs:
            yield each, each.of(arrays, observation.instruction)

    def action(self, reply: MappingOf[Any, Any]) -> Array:
        """Return the actions of a reply, which maps keys to arrays ``(…, steps, size)``.

        Raises:
            PolicyError: the reply lacks one of the arrays, or their numbers of steps differ.
        """
        parts = [self._part(reply, each) for each in self.actions]
        if len({part.shape[:-1] for part in parts}) > 1:
            shapes = ", ".join(f"{each.key} {part.shape}" for each, part in zip(self.actions, parts, strict=True))
            raise PolicyError(
                f"the server's reply holds parts of actions that have different numbers of steps: {shapes}"
            )
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    @staticmethod
    def _part(reply: MappingOf[Any, Any], output: Output) -> Array:
        found = reply.get(output.key, reply.get(output.key.removeprefix("action.")))
        if found is None:
            held = ", ".join(f"{name!r:.40}" for name in list(reply)[:8]) or "nothing"
            raise PolicyError(f"the server's reply has no '{output.key}'; it holds {held}")
        array = to_array(found)
        return array if output.convert is None else OF_ACTIONS[output.convert](array)


@dataclass(frozen=True)
class Choice:
    """The mappings that ``--policy.inputs`` allows, by their names; the environment's arrays decide between them."""

    candidates: MappingOf[str, Mapping] = field(default_factory=dict)
    names: MappingOf[str, str] = field(default_factory=dict)
    """The user's ``--rename_map``, from the environment's names to the mapping's."""

    @property
    def n_action_steps(self) -> int | None:
        """The number of actions of a chunk that are executed if the user gives no number."""
        return next(iter(self.candidates.values())).n_action_steps

    def fingerprint(self) -> dict[str, Any]:
        """Return the digests of the mappings, which are part of a policy's fingerprint."""
        return {name: mapping.sha256 for name, mapping in self.candidates.items()}

    def for_observation(self, arrays: MappingOf[str, Any]) -> Mapping:
        """Return the first mapping whose sources are all among ``arrays``.

        Raises:
            ContractError: no mapping fits; the message names the missing arrays of each.
        """
        given = {self.names.get(name, name) for name in arrays}
        for mapping in self.candidates.values():
            if mapping.sources <= given:
                return mapping
        raise ContractError(self._what_is_missing(given))

    def check_contract(self, features: Features) -> None:
        """See :meth:`proctor.policies.base.Policy.check_contract`."""
        renamed(features, self.names)
        self.for_observation(features.observation)

    def _what_is_missing(self, given: set[str]) -> str:
        lines = [
            f"  {name}: the environment lacks {', '.join(sorted(mapping.sources - given))}"
            for name, mapping in self.candidates.items()
        ]
        table = "\n".join(lines)
        return (
            f"The environment lacks arrays that the server expects:\n{table}\n"
            f"It gives {', '.join(sorted(given))}.\n"
            "Describe the request with --policy.inputs (a file, or JSON), or give arrays other names with --rename_map."
        )


def choose(inputs: Any, presets: MappingOf[str, Mapping], names: MappingOf[str, str] | None) -> Choice:
    """Read ``--policy.inputs``: a preset's name, a file, or a mapping; None allows any of ``presets``.

    Raises:
        ConfigError: it is none of these; the message names the fault.
    """
    if inputs is None:
        candidates = {name: replace(mapping) for name, mapping in presets.items()}
    elif isinstance(inputs, str) and inputs in presets:
        candidates = {inputs: presets[inputs]}
    elif isinstance(inputs, str):
        candidates = {Path(inputs).name: read_mapping(_from_file(inputs, presets))}
    else:
        candidates = {"inputs": read_mapping(inputs)}
    return Choice(candidates, dict(names or {}))


def _from_file(name: str, presets: MappingOf[str, Mapping]) -> Any:
    path = Path(name)
    try:
        if not path.is_file():
            raise ConfigError(
                f"policy.inputs is '{name}', which is neither a file nor a preset.{did_you_mean(name, presets)}"
            )
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"policy.inputs: {path} is larger than {_LARGEST_FILE} bytes.")
        return load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"policy.inputs: {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"policy.inputs: {path} is neither JSON nor YAML: {error}.") from None


def read_mapping(given: Any) -> Mapping:
    """Read a mapping: a list of inputs, or a map with ``inputs``, ``actions`` and ``n_action_steps``.

    Raises:
        ConfigError: a field is unknown, or a value has another type.
    """
    fields = {"inputs": given} if isinstance(given, list) else given
    known = ("inputs", "actions", "n_action_steps")
    if not isinstance(fields, dict) or not isinstance(fields.get("inputs"), list) or not fields["inputs"]:
        raise ConfigError(
            "policy.inputs is a list of inputs, or a map with the keys inputs, actions and n_action_steps."
        )
    for name in fields:
        if name not in known:
            raise ConfigError(f"policy.inputs has an unknown field {name}.{did_you_mean(str(name), known)}")
    inputs = tuple(_structured(Input, each, "inputs") for each in fields["inputs"])
    outputs = [
        {"key": each} if isinstance(each, str) else each for each in _sequence(fields.get("actions", ["actions"]))
    ]
    steps = fields.get("n_action_steps")
    if steps is not None and (type(steps) is not int or steps < 1):
        raise ConfigError(f"policy.inputs: n_action_steps is {steps!r}; it is a whole number of at least 1.")
    return Mapping(
        inputs=inputs, actions=tuple(_structured(Output, each, "actions") for each in outputs), n_action_steps=steps
    )


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise ConfigError("policy.inputs: actions is a list of keys of the reply, such as [actions].")
    return value


def _structured(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(
            f"policy.inputs: {where} holds {value!r:.40}; "
            "each entry is a map such as {key: state, source: observation.state}."
        )
    return structure(kind, value, f"policy.inputs.{where}")
