"""The steps of a checkpoint that normalise, as its files describe them, and the statistics they have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proctor.policies.lerobot.files import EMBEDDED_NORMALISATION
from proctor.policies.lerobot.formats import is_shape, read_safetensors_header, read_tensors
from proctor.types import Array

STATISTICS = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
"""The statistics that each of LeRobot's normalisation modes computes with; IDENTITY needs none."""

Statistics = Mapping[str, Callable[[], Array]]
"""Statistics by feature and name (``observation.state.mean``), each read when it is called."""


@dataclass(frozen=True)
class Feature:
    """An input of the policy, or its action: ``type`` is LeRobot's FeatureType, ``shape`` None or channels first."""

    key: str
    type: str
    shape: tuple[int, ...] | None

    @classmethod
    def from_config(cls, key: str, fields: Any) -> Feature:
        """Read a feature that ``config.json`` or a step describes."""
        fields = fields if isinstance(fields, Mapping) else {}
        shape = fields.get("shape")
        return cls(
            key, "ACTION" if key == "action" else str(fields.get("type")), tuple(shape) if is_shape(shape) else None
        )


@dataclass(frozen=True)
class Normaliser:
    """A step that normalises, or the layers that lay among the weights before lerobot 0.4.

    Attributes:
        pipeline: the file that lists the step.
        source: the file that holds its statistics, for a message.
        statistics: its statistics.
        modes: its mode by type of feature.
        features: the observations that it lists.
        only: the observations that it is confined to; None if it is not confined.
    """

    pipeline: Path
    source: str
    statistics: Statistics
    modes: Mapping[str, Any]
    features: Mapping[str, Feature]
    only: Sequence[str] | None = None

    def mode(self, feature: Feature) -> str:
        """Give the mode by which it normalises a feature. As in LeRobot's step, it must list observations."""
        if feature.type == "ACTION":
            return str(self.modes.get("ACTION", "IDENTITY"))
        listed = self.features.get(feature.key)
        if listed is None or listed.type == "ACTION" or (self.only is not None and feature.key not in self.only):
            return "IDENTITY"
        return str(self.modes.get(listed.type, "IDENTITY"))

    def has_statistics_of(self, key: str) -> bool:
        """Say whether it has any statistic of a feature; LeRobot's step passes a feature without statistics on."""
        return any(name.rpartition(".")[0] == key for name in self.statistics)

    def shapes(self, feature: Feature) -> list[tuple[int, ...]]:
        """List the shapes that the feature may have in this step: EVO1 pads states and actions in a step before."""
        own = self.features.get(feature.key)
        return [each.shape for each in (feature, own) if each is not None and each.shape is not None]


def read_normaliser(
    pipeline: Path,
    step: Mapping[str, Any],
    modes: Mapping[str, Any] | None = None,
    features: Iterable[Feature] | None = None,
) -> Normaliser:
    """Read a step of a pipeline's file; ``modes`` and ``features`` are its configuration's if they are None.

    Raises:
        CheckpointError: the file of its statistics is not whole.
    """
    config = _mapping(step.get("config"))
    if features is None:
        features = [Feature.from_config(key, fields) for key, fields in _mapping(config.get("features")).items()]
    statistics: Statistics = {
        f"{key}.{name}": _constant(value)
        for key, values in _mapping(config.get("stats")).items()
        for name, value in _mapping(values).items()
    }  # if there are any, LeRobot does not read the file
    source = f"{pipeline} (its step {step.get('registry_name')})"
    if not statistics and step.get("state_file"):
        file = pipeline.parent / step["state_file"]
        statistics, source = {name: _tensor(file, name) for name in read_safetensors_header(file)}, str(file)
    return Normaliser(
        pipeline,
        source,
        statistics,
        _mapping(config.get("norm_map")) if modes is None else modes,
        {feature.key: feature for feature in features},
        config.get("normalize_observation_keys"),
    )


def embedded_normaliser(weights: Sequence[Path], modes: Mapping[str, Any], features: Sequence[Feature]) -> Normaliser:
    """Make a normaliser of the statistics that lerobot before 0.4 kept among the weights."""
    files = {name: file for file in weights for name in read_safetensors_header(file)}
    found = embedded_statistics(files, (feature.key for feature in features))
    statistics = {statistic: _tensor(files[name], name) for statistic, name in found.items()}
    return Normaliser(weights[0], str(weights[0]), statistics, modes, {feature.key: feature for feature in features})


def embedded_statistics(names: Iterable[str], keys: Iterable[str]) -> dict[str, str]:
    """Find the statistics among the weights of lerobot before 0.4: ``{"observation.state.mean": tensor's name}``.

    LeRobot's own conversion reads a feature's name off the buffer's, which has underscores for its dots, so that
    ``observation.images.top_left`` is lost; here the names are looked for that the configuration gives.
    """
    buffers = [name for name in names if name.startswith(EMBEDDED_NORMALISATION)]
    return {
        f"{key}.{name.rpartition('.')[2]}": name
        for key in keys
        for name in buffers
        if f".buffer_{key.replace('.', '_')}." in name
    }


def _tensor(file: Path, name: str) -> Callable[[], Array]:
    return lambda: read_tensors(file, [name])[name]


def _constant(value: Any) -> Callable[[], Array]:
    """Read a statistic that is written as JSON; a value that is not an array of numbers is NaN."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.asarray(np.nan)
    return lambda: array


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
