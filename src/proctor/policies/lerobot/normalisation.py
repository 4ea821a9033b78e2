"""Checks, from its files alone, that a checkpoint normalises what its policy wants normalised.

LeRobot passes a feature on as it is if its normaliser has no statistics of it: the policy then sees, or gives, numbers
of another scale than in training, without an error or a warning. So a checkpoint is refused unless, for each input the
preprocessor and for the action the postprocessor has a step that normalises it in the mode that the policy's
``normalization_mapping`` names, with statistics of the right names and shape, all of them finite and in order. What a
step itself declares counts too (LingBot-VA's mapping is IDENTITY, and its postprocessor un-normalises by quantiles).

The steps looked at are LeRobot's normalisers, MolmoAct2's and GR00T's own. Not checked are constants in code (the
ImageNet statistics of X-VLA's images), what a model scales inside itself, the contents of GR00T's ``raw_stats``, and
steps of other packages; a policy of another package that uses no normaliser of LeRobot's is warned of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proctor.errors import CheckpointError, ConfigError, note
from proctor.policies.lerobot.files import CONFIG, POSTPROCESSOR, PREPROCESSOR, CheckpointFiles
from proctor.policies.lerobot.normalisers import STATISTICS, Feature, Normaliser, embedded_normaliser, read_normaliser

_NO_MODES = {"VISUAL": "IDENTITY", "STATE": "IDENTITY", "ACTION": "IDENTITY"}
_MEAN_STD = {**_NO_MODES, "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}
_MIN_MAX = {**_NO_MODES, "STATE": "MIN_MAX", "ACTION": "MIN_MAX"}
_MIN_MAX_OF_VECTORS = {**_MIN_MAX, "VISUAL": "MEAN_STD"}
_QUANTILES = {**_NO_MODES, "STATE": "QUANTILES", "ACTION": "QUANTILES"}
DEFAULT_MAPPINGS: Mapping[str, Mapping[str, str]] = {
    "act": {**_MEAN_STD, "VISUAL": "MEAN_STD"},
    **dict.fromkeys(("diffusion", "multi_task_dit"), _MIN_MAX_OF_VECTORS),
    **dict.fromkeys(("gaussian_actor", "sac"), _MIN_MAX_OF_VECTORS | {"ENV": "MIN_MAX"}),
    **dict.fromkeys(("eo1", "fastwam", "pi0", "pi0_fast", "smolvla", "wall_x"), _MEAN_STD),
    **dict.fromkeys(("evo1", "vqbet"), _MIN_MAX),
    **dict.fromkeys(("molmoact2", "pi05"), _QUANTILES),
    **dict.fromkeys(("lingbot_va", "xvla"), _NO_MODES),
    "tdmpc": {**_NO_MODES, "ENV": "IDENTITY", "ACTION": "MIN_MAX"},
    "vla_jepa": {**_MEAN_STD, "ACTION": "MIN_MAX"},
}
"""The modes of each of LeRobot's types of policy if ``config.json`` has no ``normalization_mapping``. GR00T is
left out: it normalises by minimum and maximum in steps of its own, whatever its mapping is."""

_STEPS = {
    PREPROCESSOR: ("normalizer_processor", "molmoact2_masked_normalizer"),
    POSTPROCESSOR: ("unnormalizer_processor", "molmoact2_masked_unnormalizer"),
}
_GROOT_STEPS = {
    PREPROCESSOR: ("groot_n1_7_pack_inputs_v1", "groot_pack_inputs_v3"),
    POSTPROCESSOR: (
        "groot_n1_7_action_decode_v1",
        "groot_action_unpack_unnormalize_v2",
        "groot_action_unpack_unnormalize_v1",
    ),
}
_SAVE_AGAIN = "save the checkpoint again with the statistics of the data set it was trained on"


def check_normalisation(files: CheckpointFiles, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that LeRobot would run without normalising what the policy wants normalised.

    ``config`` are the fields of its configuration, with the user's ``overrides`` applied. A ``normalization_mapping``
    among the overrides describes the training of the policy; what it leaves as it is may lack statistics.

    Raises:
        CheckpointError: a step or a statistic is missing, of the wrong shape, or not finite.
        ConfigError: the processors do not normalise as the overriding mapping does.
    """
    inputs = [Feature.from_config(key, fields) for key, fields in config["input_features"].items()]
    action = Feature.from_config("action", config["output_features"].get("action"))
    if config["type"] == "groot":
        _check_groot(files, [feature for feature in inputs if feature.type == "STATE"], action)
        return
    mapping = config.get("normalization_mapping")
    wanted = mapping if isinstance(mapping, Mapping) else DEFAULT_MAPPINGS.get(str(config["type"]), {})
    check = _Check(files, wanted, config["type"] in DEFAULT_MAPPINGS, "normalization_mapping" in overrides)
    if files.preprocessor is None:
        before = after = [embedded_normaliser(files.weights, wanted, [*inputs, action])]
    else:
        before, after = (
            [read_normaliser(files.directory / name, step) for step in steps or () if _is_one(step, _STEPS[name])]
            for name, steps in ((PREPROCESSOR, files.preprocessor), (POSTPROCESSOR, files.postprocessor))
        )
    nothing_there = {f"observation.images.empty_camera_{i}" for i in range(config.get("empty_cameras") or 0)}
    for feature in inputs:
        if feature.key not in nothing_there:
            check(feature, before, files.directory / PREPROCESSOR)
    check(action, after, files.directory / POSTPROCESSOR)


@dataclass(frozen=True)
class _Check:
    """Compares, for one feature at a time, the mode that ``wanted`` names with the one that a pipeline applies.

    ``is_known`` is True if the type of policy is LeRobot's, ``is_asked`` if ``wanted`` comes from the user.
    """

    files: CheckpointFiles
    wanted: Mapping[str, Any]
    is_known: bool
    is_asked: bool

    def __call__(self, feature: Feature, normalisers: Sequence[Normaliser], pipeline: Path) -> None:
        wanted = str(self.wanted.get(feature.type, "IDENTITY"))
        active = [each for each in normalisers if each.mode(feature) != "IDENTITY"]
        filled = [each for each in active if each.has_statistics_of(feature.key)]
        if self.is_asked and wanted == "IDENTITY":
            if filled:
                raise ConfigError(
                    f"policy.normalization_mapping leaves {feature.type} as it is, but {pipeline} {_does(feature)} "
                    f"{feature.key} by {_shown(filled[0].mode(feature))}; leave the option out."
                )
        elif active:
            if self.is_known and len(filled) > 1:
                raise CheckpointError(
                    f"{pipeline} {_does(feature)} {feature.key} in {len(filled)} steps, one after the other; leave one."
                )
            for each in filled or active[:1]:
                self._check_mode(feature, each, wanted)
                _check_statistics(feature, each, self._as_it_is(feature))
        elif wanted != "IDENTITY":
            self._refuse_or_warn(feature, pipeline, wanted)

    def _check_mode(self, feature: Feature, normaliser: Normaliser, wanted: str) -> None:
        if normaliser.mode(feature) not in STATISTICS:
            raise CheckpointError(
                f"{normaliser.pipeline} {_does(feature)} {feature.key} by {normaliser.mode(feature)!a}, which is none "
                f"of {', '.join(STATISTICS)}; {_SAVE_AGAIN}."
            )
        if wanted in ("IDENTITY", normaliser.mode(feature)):
            return
        asking = "policy.normalization_mapping" if self.is_asked else self.files.directory / CONFIG
        raise CheckpointError(
            f"{normaliser.pipeline} {_does(feature)} {feature.key} by {_shown(normaliser.mode(feature))}, but {asking} "
            f"asks for {_shown(wanted)}; if the policy was trained as the former does: "
            f"{self._option(feature, normaliser.mode(feature))}"
        )

    def _refuse_or_warn(self, feature: Feature, pipeline: Path, wanted: str) -> None:
        message = (
            f"{pipeline} has no step that {_does(feature)} {feature.key}, which the policy wants by {_shown(wanted)}"
        )
        if self.is_known:
            raise CheckpointError(f"{message}; {_SAVE_AGAIN}{self._as_it_is(feature)}")
        note(f"{message}; it is not known here whether its own package does it otherwise.")

    def _as_it_is(self, feature: Feature) -> str:
        return f", or, if it was trained without them: {self._option(feature, 'IDENTITY')}"

    def _option(self, feature: Feature, mode: str) -> str:
        return f"--policy.normalization_mapping='{json.dumps({**self.wanted, feature.type: mode})}'"


def _check_statistics(feature: Feature, normaliser: Normaliser, otherwise: str = "") -> None:
    """Refuse a normaliser without the right statistics of a feature; ``otherwise`` is a remedy if it has none."""
    mode = normaliser.mode(feature)
    purpose = f"{feature.key}, by which {normaliser.pipeline.name} {_does(feature)} it"
    if missing := [name for name in STATISTICS[mode] if f"{feature.key}.{name}" not in normaliser.statistics]:
        names = sorted(normaliser.statistics)
        has = f"only {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else "and no other statistics"
        raise CheckpointError(
            f"{normaliser.source} holds no {' and '.join(missing)} of {purpose}, {has}; {_SAVE_AGAIN}"
            f"{'' if normaliser.has_statistics_of(feature.key) else otherwise}"
        )
    shapes = normaliser.shapes(feature)
    values = {name: normaliser.statistics[f"{feature.key}.{name}"]() for name in STATISTICS[mode]}
    for name, value in values.items():
        with np.errstate(over="ignore"):
            is_finite = np.isfinite(value.astype(np.float32)).all()
        if not is_finite:
            raise CheckpointError(
                f"{normaliser.source} holds a {name} of {purpose}, that is not finite; {_SAVE_AGAIN}."
            )
        if shapes and not any(_broadcasts(value.shape, shape) for shape in shapes):
            raise CheckpointError(
                f"{normaliser.source} holds a {name} of {purpose}, of shape {value.shape}, while the feature has "
                f"{shapes[0]}; {_SAVE_AGAIN}."
            )
    low, high = values.values()
    if mode == "MEAN_STD" and (high < 0).any():
        raise CheckpointError(f"{normaliser.source} holds a std of {purpose}, that is negative; {_SAVE_AGAIN}.")
    if mode != "MEAN_STD" and low.shape == high.shape and (low > high).any():
        lower, upper = values
        raise CheckpointError(
            f"{normaliser.source} holds a {lower} of {purpose}, that is greater than its {upper}; {_SAVE_AGAIN}."
        )


def _broadcasts(statistic: tuple[int, ...], feature: tuple[int, ...]) -> bool:
    """Say whether LeRobot can apply a statistic to a batch: a flat one of an image has an element for each channel."""
    if len(feature) == 3 and len(statistic) == 1:
        statistic = (*statistic, 1, 1)
    try:
        return np.broadcast_shapes(statistic, (0, *feature)) == (0, *feature)
    except ValueError:
        return False


def _check_groot(files: CheckpointFiles, states: Sequence[Feature], action: Feature) -> None:
    """Check GR00T's own steps. They pass a feature without statistics on, and pad or cut those of another shape."""
    for name, steps, features in (
        (PREPROCESSOR, files.preprocessor, states),
        (POSTPROCESSOR, files.postprocessor, [action]),
    ):
        pipeline = files.directory / name
        step = next((step for step in steps or () if _is_one(step, _GROOT_STEPS[name])), None)
        if step is None:
            raise CheckpointError(f"{pipeline} has no step that normalises ({_GROOT_STEPS[name][0]}); {_SAVE_AGAIN}.")
        config = step.get("config") or {}
        if step["registry_name"] == "groot_n1_7_action_decode_v1":
            if not config.get("raw_stats") or not config.get("modality_config"):
                raise CheckpointError(
                    f"{pipeline} holds no raw_stats or no modality_config, by which {step['registry_name']} is to "
                    f"un-normalise the action; {_SAVE_AGAIN}."
                )
        elif config.get("normalize_min_max", True):
            of_any_shape = [Feature(feature.key, feature.type, None) for feature in features]
            normaliser = read_normaliser(
                pipeline, step, {"STATE": "MIN_MAX", "ACTION": "MIN_MAX"}, features=of_any_shape
            )
            for feature in of_any_shape:
                _check_statistics(feature, normaliser)


def _is_one(step: Mapping[str, Any], registry_names: Sequence[str]) -> bool:
    return step.get("registry_name") in registry_names


def _does(feature: Feature) -> str:
    return "un-normalises" if feature.type == "ACTION" else "normalises"


def _shown(mode: str) -> str:
    return f"{' and '.join(STATISTICS[mode])} ({mode})" if mode in STATISTICS else mode
