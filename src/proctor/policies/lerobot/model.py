"""The half of loading that needs lerobot: configuration, weights and processors. Importing this imports torch.

LeRobot's own ``from_pretrained`` is not used: it leaves a temporary file behind for every configuration, prints, and
loads weights that do not fit with nothing but a log entry.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import draccus
import torch
from lerobot.policies.factory import make_pre_post_processors
from safetensors.torch import load_model

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot.cpu import prepare_for_cpu
from proctor.policies.lerobot.files import WEIGHTS

if TYPE_CHECKING:
    from proctor.policies.lerobot.checkpoint import Checkpoint
    from proctor.policies.lerobot.families import Family


class Loaded(NamedTuple):
    """A policy of lerobot and its processors, ready on ``device``."""

    model: Any
    preprocessor: Any
    postprocessor: Any
    device: torch.device


def build(checkpoint: Checkpoint) -> Loaded:
    """Load a checkpoint.

    Raises:
        CheckpointError: lerobot cannot make its configuration or processors, or the weights do not fit.
        ConfigError: an override the configuration does not accept, a device that is not there.
    """
    device = _device(checkpoint.device)
    config = _config(checkpoint, device)
    model = _model(checkpoint, config, device)
    if device.type == "cpu":
        prepare_for_cpu(model)
    own_steps = {step.get("registry_name") for step in checkpoint.files.preprocessor}
    # The policy renames and drops observations itself.
    overrides = {"device_processor": {"device": str(device)}, "rename_observations_processor": {"rename_map": {}}}
    directory = str(checkpoint.files.directory)
    try:
        preprocessor, postprocessor = make_pre_post_processors(
            config,
            directory,
            preprocessor_overrides={name: value for name, value in overrides.items() if name in own_steps},
        )
    except Exception as error:
        raise CheckpointError(f"The processors of {directory} cannot be built: {_cause(error)}.") from error
    return Loaded(model, preprocessor, postprocessor, device)


def config_fields(family: Family) -> set[str]:
    """The fields of the family's configuration class in the installed lerobot."""
    return {field.name for field in dataclasses.fields(_class(family, "configuration", "Config"))}


def _class(family: Family, kind: str, suffix: str) -> Any:
    module = family.module.rpartition(".")[2]
    return getattr(importlib.import_module(f"{family.module}.{kind}_{module}"), family.name + suffix)


def _device(requested: str | None) -> torch.device:
    available = [name for name in ("cuda", "mps", "xpu") if getattr(torch, name).is_available()] + ["cpu"]
    if requested is None:
        return torch.device(available[0])
    device = torch.device(requested)
    if device.type not in available or (device.index or 0) >= max(1, getattr(torch, device.type).device_count()):
        raise ConfigError(
            f"policy.device is {requested}, which this machine does not have; it has {', '.join(available)}."
        )
    return device


def _config(checkpoint: Checkpoint, device: torch.device) -> Any:
    """The configuration object. A field that this lerobot does not know is dropped where it is switched off."""
    known = config_fields(checkpoint.family)
    fields = {name: value for name, value in checkpoint.config.items() if name != "type"}
    if foreign := sorted(name for name, value in fields.items() if name not in known and value not in (None, False)):
        from lerobot import __version__

        raise CheckpointError(
            f"The checkpoint's configuration has fields that lerobot {__version__} does not know "
            f"({', '.join(foreign[:4])}); install the version it was made with."
        )
    fields = {name: value for name, value in fields.items() if name in known}
    fields |= {**checkpoint.family.while_loading, "device": str(device)}
    return _decode(_class(checkpoint.family, "configuration", "Config"), fields, checkpoint.overrides)


def _decode(config_class: Any, fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> Any:
    try:
        return draccus.decode(config_class, fields)
    except Exception as error:
        at = getattr(error, "key_path", None) or [""]
        if at[0] in overrides:
            raise ConfigError(f"policy.{at[0]} is {overrides[at[0]]!r}: {_cause(error)}.") from error
        if overrides:
            shown = ", ".join(f"policy.{name}={value}" for name, value in overrides.items())
            raise ConfigError(f"The checkpoint's configuration does not accept {shown}: {_cause(error)}.") from error
        raise CheckpointError(f"The checkpoint's config.json is not valid: {_cause(error)}.") from error


def _model(checkpoint: Checkpoint, config: Any, device: torch.device) -> Any:
    """The network with its weights, all of them and no others."""
    weights = checkpoint.files.directory / WEIGHTS
    try:
        model = _class(checkpoint.family, "modeling", "Policy")(config)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise CheckpointError(f"The checkpoint's configuration describes no policy: {_cause(error)}.") from error
    try:
        # Not strict, because it reports what is missing; it knows which names share one tensor.
        missing, unexpected = load_model(model, weights, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{weights} holds weights of another shape than config.json: {_cause(error)}.") from error
    for names, problem in ((missing, "lacks weights that"), (unexpected, "holds weights that no part of")):
        if names:
            some = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
            raise CheckpointError(f"{weights} {problem} its config.json asks for: {some} ({len(names)} in all).")
    return model.to(device).eval()


def _cause(error: BaseException) -> str:
    """What went wrong at the bottom, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if len(lines) > 1 and lines[0].endswith(":"):  # PyTorch and draccus begin with a heading
        del lines[0]
    return lines[0].rstrip(".")
