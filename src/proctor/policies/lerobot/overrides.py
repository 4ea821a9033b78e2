"""``--policy.<field>=value``: a checkpoint's configuration with the user's changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from proctor.errors import CheckpointError, ConfigError, did_you_mean
from proctor.policies.lerobot.formats import is_shape
from proctor.policies.lerobot.policy_types import PolicyType
from proctor.policies.lerobot.real_time import FIELD as RTC_CONFIG
from proctor.policies.lerobot.real_time import is_real_time, misfit, written_out

_PYTHON_SPELLINGS = {"None": "null", "True": "true", "False": "false"}


def read_value(value: Any) -> Any:
    """Convert a string from the command line to the number, boolean, null, list or object it spells; else return it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(_PYTHON_SPELLINGS.get(value, value))
    except ValueError:
        return value


def override(config: Mapping[str, Any], overrides: Mapping[str, Any], policy_type: PolicyType) -> dict[str, Any]:
    """Give ``config`` with ``overrides`` and the fields that follow from them.

    Names and kinds of values are compared with what ``config.json`` holds. That sees nearly every mistake before
    anything heavy starts; the configuration class sees the rest when the policy is opened.

    Raises:
        ConfigError: a field is unknown, a value is of the wrong kind, or there are fewer action steps than asked for.
        CheckpointError: the checkpoint itself lacks a field that is needed, or describes its features wrongly.
    """
    if not overrides.keys() <= config.keys():
        _check_names(overrides, str(config["type"]))
    for name, value in overrides.items():
        _check_kind(name, value, config.get(name))
    changed = {**config, **overrides}
    _check_features(changed, overrides)
    implied, reason = policy_type.implied
    for name, value in implied(changed).items():
        if overrides.get(name, value) != value:
            raise ConfigError(f"policy.{name} is {overrides[name]}; it must be {value}, because {reason}.")
        changed[name] = value
    _check_counts(changed, overrides, policy_type)
    if is_real_time(changed):
        changed[RTC_CONFIG] = written_out(changed)
        _check_real_time(changed, overrides, policy_type)
    return changed


def _check_names(overrides: Mapping[str, Any], policy_type: str) -> None:
    """Ask the configuration class which fields there are. Slow (it imports lerobot), and hardly ever needed.

    LeRobot writes all fields into ``config.json``, so one that is not there is a slip or newer than the checkpoint.
    """
    from proctor.policies.lerobot.model import config_fields

    known = config_fields(policy_type)
    for name in overrides:
        if name not in known:
            raise ConfigError(f"Unknown field policy.{name} of a checkpoint of this type.{did_you_mean(name, known)}")


def _check_kind(name: str, value: Any, current: Any) -> None:
    if value is None or current is None or type(value) is type(current):
        return
    if isinstance(current, float) and type(value) is int:
        return
    kinds = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    raise ConfigError(
        f"policy.{name} is {value!r}; it must be {kinds[type(current)]}, as in the checkpoint ({current!r})."
    )


def _check_features(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    for side in ("input_features", "output_features"):
        features = config[side]
        if not isinstance(features, Mapping):
            raise _wrong(side, f"is {features!a:.80}; it must be an object that holds features by name", overrides)
        if side == "output_features" and "action" not in features:
            raise _wrong(side, f"holds {', '.join(map(ascii, features))}; it must hold action", overrides)
        for key, feature in features.items():
            if not _is_feature(feature):
                what = (
                    f"describes {key!a} as {feature!a:.80}; that must be an object with a type (VISUAL, STATE, …) and "
                    "a shape, which is a list of whole numbers: three for VISUAL"
                )
                raise _wrong(side, what, overrides)


def _is_feature(value: Any) -> bool:
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str):
        return False
    shape = value.get("shape")
    return is_shape(shape) and (value["type"] != "VISUAL" or len(shape) == 3)


def _check_counts(config: Mapping[str, Any], overrides: Mapping[str, Any], policy_type: PolicyType) -> None:
    limits = dict.fromkeys(policy_type.counts, (1, 1_000_000))
    if config.get("empty_cameras") is not None:
        limits["empty_cameras"] = 0, 100
    for name, (least, most) in limits.items():
        value = config.get(name)
        if type(value) is not int or not least <= value <= most:
            what = f"is {value!a:.80}; it must be a whole number, at least {least} and at most {most}"
            raise _wrong(name, what, overrides)
    executable_steps, formula = policy_type.executable_steps
    if (wanted := policy_type.n_action_steps(config)) > (limit := executable_steps(config)):
        raise ConfigError(
            f"policy.n_action_steps is {wanted}, but at most {limit} steps of a prediction of this "
            f"checkpoint can be executed ({formula})."
        )


def _check_real_time(config: Mapping[str, Any], overrides: Mapping[str, Any], policy_type: PolicyType) -> None:
    n_action_steps, chunk_size = policy_type.n_action_steps(config), policy_type.executable_steps[0](config)
    if found := misfit(config, n_action_steps, chunk_size):
        raise _wrong(*found, overrides)


def _wrong(name: str, what: str, overrides: Mapping[str, Any]) -> ConfigError:
    """Make the error about a field's value: the user's mistake if the user gave it, else the checkpoint's."""
    return (
        ConfigError(f"policy.{name} {what}.")
        if name in overrides
        else CheckpointError(f"{name} of config.json {what}.")
    )
