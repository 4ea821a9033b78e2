"""The facts about a policy's training that its files hold: statistics of its dataset, feature by feature.

LeRobot saves all statistics of the training's dataset in the step that normalises, also those that its mode does not
use. By default it replaces an image's statistics by ImageNet's, which then say nothing about the dataset. Statistics
describe what enters the step: if another step before it changes a feature, they are of something that the environment
does not give. Importing this imports neither torch nor lerobot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from proctor.errors import CheckpointError
from proctor.policies.lerobot.files import POSTPROCESSOR, PREPROCESSOR, CheckpointFiles
from proctor.policies.lerobot.normalisers import Feature, Normaliser, embedded_normaliser, read_normaliser
from proctor.results.audit import TrainedFeature, Training

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""The statistics that LeRobot puts in place of every image's if ``dataset.use_imagenet_stats`` is true."""

_CHANGE_NOTHING = (
    *("batch_processor", "device_processor", "tokenizer_processor", "new_line_processor"),
    *("rename_observations_processor", "relative_actions_processor", "absolute_actions_processor"),
)
"""The ends of the names of steps that leave states and images as they are."""
_CHANGE_IMAGES = ("crop", "resize", "image")
_READ_TEXT = ("tokenizer", "newline", "new_line", "pack_inputs", "conversation", "task_processor", "qwen", "vlm_encode")
"""Parts of the names of steps that do something with the instruction."""
_NORMALISERS = ("normalizer_processor", "molmoact2_masked_normalizer")
_UNNORMALISERS = ("unnormalizer_processor", "molmoact2_masked_unnormalizer")
_LARGEST = 4096
"""A statistic with more elements is one of an image's every pixel."""


def training_of(files: CheckpointFiles, config: Mapping[str, Any], rename_map: Mapping[str, str]) -> Training:
    """Read what a checkpoint's files hold of its training; ``config`` has the user's overrides, ``files`` has not.

    Raises:
        CheckpointError: a file of the checkpoint is not whole.
    """
    inputs = [Feature.from_config(key, fields) for key, fields in config["input_features"].items()]
    action = Feature.from_config("action", config["output_features"].get("action"))
    before, after = _normalisers(files, config, [*inputs, action])
    changes = list(_steps_before(files.preprocessor or ()))
    features = {each.key: _feature(each, before, changes) for each in inputs}
    return Training(
        {**features, "action": _feature(action, after, [])},
        dict(rename_map),
        _reads_text(files.preprocessor),
        _whole_number(files.config.get("n_action_steps")),
    )


def _normalisers(
    files: CheckpointFiles, config: Mapping[str, Any], features: Sequence[Feature]
) -> tuple[list[Normaliser], list[Normaliser]]:
    if files.preprocessor is None:
        modes = config.get("normalization_mapping")
        embedded = embedded_normaliser(files.weights, modes if isinstance(modes, Mapping) else {}, features)
        return [embedded], [embedded]
    before, after = (
        [read_normaliser(files.directory / name, step) for step in steps or () if step.get("registry_name") in names]
        for name, steps, names in (
            (PREPROCESSOR, files.preprocessor, _NORMALISERS),
            (POSTPROCESSOR, files.postprocessor, _UNNORMALISERS),
        )
    )
    return before, after


def _steps_before(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Name the steps before the normaliser that may change a feature."""
    for step in steps:
        name = str(step.get("registry_name") or step.get("class") or "a step without a name")
        if name in _NORMALISERS:
            return
        if not name.endswith(_CHANGE_NOTHING) and not name.startswith("to_batch_processor"):
            yield name


def _feature(feature: Feature, normalisers: Sequence[Normaliser], changes: Sequence[str]) -> TrainedFeature:
    statistics = next(filter(None, (_statistics(feature.key, each) for each in normalisers)), {})
    is_image = feature.type == "VISUAL"
    changed = [name for name in changes if is_image or not any(part in name.lower() for part in _CHANGE_IMAGES)]
    why_not = ""
    if not statistics:
        why_not = "the checkpoint holds no statistics of it"
    elif changed:
        why_not = f"the policy's step {changed[0]} changes it before it is normalised"
    elif is_image and is_imagenet(statistics):
        why_not = "the checkpoint holds ImageNet's statistics in place of the dataset's, as is LeRobot's default"
    return TrainedFeature(feature.type, feature.shape, statistics, why_not)


def _statistics(key: str, normaliser: Normaliser) -> dict[str, list[float]]:
    """Read the statistics of a feature, flat; a number that is not finite is left out with its statistic."""
    found = {}
    for name, read in normaliser.statistics.items():
        feature, _, kind = name.rpartition(".")
        if feature == key:
            value = np.asarray(read(), np.float64).ravel()
            if value.size <= _LARGEST and np.isfinite(value).all():
                found[kind] = value.tolist()
    return found


def is_imagenet(statistics: Mapping[str, Sequence[float]]) -> bool:
    """Say whether an image's statistics are those of ImageNet."""
    return all(
        len(statistics.get(name, ())) == len(usual) and np.allclose(statistics[name], usual, atol=2e-3)
        for name, usual in IMAGENET.items()
    )


def _reads_text(steps: Sequence[Mapping[str, Any]] | None) -> bool | None:
    """Say whether a step uses the instruction; None if the steps are not known."""
    if steps is None:
        return None
    names = [str(step.get("registry_name") or step.get("class")).lower() for step in steps]
    return any(part in name for name in names for part in _READ_TEXT)


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def training_or_none(
    files: CheckpointFiles, config: Mapping[str, Any], rename_map: Mapping[str, str]
) -> Training | None:
    """Read as :func:`training_of` does; None if a file is gone, as those of a policy object are after it was read."""
    try:
        return training_of(files, config, rename_map)
    except CheckpointError:
        return None
