"""The units in which a checkpoint's network gives actions: how large one of them is, by the checkpoint's own files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proctor.policies.lerobot.checkpoint import Checkpoint
from proctor.policies.lerobot.files import POSTPROCESSOR
from proctor.policies.lerobot.normalisation import DEFAULT_MAPPINGS
from proctor.policies.lerobot.normalisers import STATISTICS, Feature, Normaliser, embedded_normaliser, read_normaliser
from proctor.types import Array

_ACTION = "action"
_UNNORMALISERS = ("unnormalizer_processor", "molmoact2_masked_unnormalizer")
_STD = "std"


def action_scale(policy: object) -> Array | None:
    """Give the physical size of one unit of each number of a policy's actions, float64 ``(action_size,)``.

    It is the standard deviation, or half of the range, by which the checkpoint's postprocessor multiplies. None if the
    policy is not a LeRobot checkpoint, or its files name no such statistics.
    """
    checkpoint = getattr(policy, "checkpoint", None)
    if not isinstance(checkpoint, Checkpoint):
        return None
    action = Feature.from_config(_ACTION, checkpoint.config["output_features"].get(_ACTION))
    scales = (_scale(normaliser, action) for normaliser in _normalisers(checkpoint, action))
    return next((scale for scale in scales if scale is not None), None)


def _normalisers(checkpoint: Checkpoint, action: Feature) -> Iterator[Normaliser]:
    files = checkpoint.files
    if files.preprocessor is None:
        modes = checkpoint.config.get("normalization_mapping") or DEFAULT_MAPPINGS.get(checkpoint.type, {})
        yield embedded_normaliser(files.weights, modes, [action])
    for step in files.postprocessor or ():
        if step.get("registry_name") in _UNNORMALISERS:
            yield read_normaliser(files.directory / POSTPROCESSOR, step)


def _scale(normaliser: Normaliser, action: Feature) -> Array | None:
    names = STATISTICS.get(normaliser.mode(action), ())
    read = [normaliser.statistics.get(f"{_ACTION}.{name}") for name in names]
    if not names or None in read:
        return None
    low, high = (np.asarray(each(), np.float64).reshape(-1) for each in read if each is not None)
    return high if names[1] == _STD else (high - low) / 2
