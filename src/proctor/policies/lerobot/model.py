"""The half of loading that needs lerobot: configuration, weights and processors. Importing this imports torch.

LeRobot's own ``from_pretrained`` is not used: it leaves a temporary file behind for every configuration, prints, and
loads weights that do not fit with nothing but a log entry.
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import draccus
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.import_utils import register_third_party_plugins
from safetensors import SafetensorError
from safetensors.torch import load_file

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot.checkpoint import Checkpoint
from proctor.policies.lerobot.cpu import prepare_for_cpu
from proctor.policies.lerobot.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG, EMBEDDED_NORMALISATION
from proctor.policies.lerobot.foreign_code import without_foreign_code
from proctor.policies.lerobot.hub import comes_from_the_hub, lost_model, missing_files
from proctor.policies.lerobot.normalisers import embedded_statistics
from proctor.policies.lerobot.steps import check_registered, register_plugin_steps

Tensors = dict[str, torch.Tensor]
_COMPILED = "_orig_mod."
_DRAWN_AGAIN = {"base_model.vera_A", "base_model.vera_B"}
"""VeRA's projections, which PEFT may save but always draws again from ``projection_prng_key``."""


class Loaded(NamedTuple):
    """A policy of lerobot and its processors, ready on ``device``."""

    model: Any
    preprocessor: Any
    postprocessor: Any
    device: torch.device


@without_foreign_code
def build(checkpoint: Checkpoint) -> Loaded:
    """Load a checkpoint.

    Raises:
        CheckpointError: lerobot cannot make its configuration or processors, or the weights do not fit.
        ConfigError: the configuration does not accept an override, or this machine lacks the device.
    """
    device = _device(checkpoint.device)
    config = _config(checkpoint, device)
    tensors = {name: tensor for file in checkpoint.files.weights for name, tensor in _read_weights(file).items()}
    statistics = {name: tensors.pop(name) for name in [*tensors] if name.startswith(EMBEDDED_NORMALISATION)}
    model = _model(checkpoint, config, tensors).to(device).eval()
    if checkpoint.compiles_network and checkpoint.policy_type.network is not None:
        checkpoint.policy_type.network(model).compile()
    elif device.type == "cpu":
        prepare_for_cpu(model)
    pre, post = _processors(checkpoint, config, device, statistics)
    try:
        checkpoint.policy_type.load_rest(model, pre)
    except Exception as error:
        raise _cannot_build(checkpoint, error, "A part of the policy cannot be loaded") from error
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # inference has a stream of its own
    return Loaded(model, pre, post, device)


def _read_weights(file: Path) -> Tensors:
    try:
        tensors: Tensors = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is not a whole safetensors file ({_cause(error)}); download or copy it again."
        ) from error
    return tensors


def saved_processors(checkpoint: Checkpoint, config: Any) -> tuple[Any, Any]:
    """Make the processors of a checkpoint alone, on its device; the checkpoint has files of them.

    Raises:
        CheckpointError: lerobot cannot make them.
    """
    return _processors(checkpoint, config, _device(checkpoint.device), {})


def config_fields(policy_type: str) -> set[str]:
    """Give the names of the fields of a policy type's configuration in the installed lerobot."""
    return {field.name for field in dataclasses.fields(_config_class(policy_type))}


def _config_class(policy_type: str) -> Any:
    if policy_type not in PreTrainedConfig.get_known_choices():
        importlib.import_module("lerobot.policies")  # if it was imported for another type of policy alone
        register_third_party_plugins()
    known = PreTrainedConfig.get_known_choices()
    if policy_type not in known:
        from lerobot import __version__

        raise CheckpointError(
            f"The checkpoint is a '{policy_type}' policy, which lerobot {__version__} does not know; install the "
            f"package it comes from (lerobot_policy_…), or evaluate one of {', '.join(sorted(known))}."
        )
    return known[policy_type]


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
    """Make the configuration. A field that this lerobot does not have is dropped if its value is None or False."""
    known = config_fields(checkpoint.type)
    fields = {name: value for name, value in checkpoint.config.items() if name in known}
    if foreign := sorted(
        {name for name, value in checkpoint.config.items() if value not in (None, False)} - known - {"type"}
    ):
        from lerobot import __version__

        options = " ".join(f"--policy.{name}=null" for name in foreign)
        raise CheckpointError(
            f"{checkpoint.files.directory / CONFIG} has fields that lerobot {__version__} does not know "
            f"({', '.join(foreign[:4])}); install the version it was made with, or, if it does the same without them: "
            f"{options}"
        )
    fields |= {**checkpoint.policy_type.while_loading, "device": str(device)}
    fields["pretrained_path"] = str(checkpoint.files.directory)  # else some get the weights they began with
    return _decode(_config_class(checkpoint.type), fields, checkpoint.overrides)


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
        what = f"{at[0]} is {fields[at[0]]!a:.80}: " if at[0] in fields else ""
        raise CheckpointError(f"The checkpoint's config.json is not valid: {what}{_cause(error)}.") from error


def _model(checkpoint: Checkpoint, config: Any, tensors: Tensors) -> Any:
    """Make the network with exactly the checkpoint's weights, and with its adapter if it has one."""
    files = checkpoint.files
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # so that weights that are missing get the same values each time
            model = get_policy_class(checkpoint.type)(config)
    except ImportError as error:
        raise CheckpointError(
            f"A '{checkpoint.type}' policy needs a package that is missing: {_cause(error)}."
        ) from error
    except Exception as error:
        raise _cannot_build(checkpoint, error, "The checkpoint's configuration does not describe a policy") from error
    try:
        problems = _load_weights(model, _compiled_names(model, checkpoint.policy_type.weights(model, tensors)))
    except RuntimeError as error:
        raise CheckpointError(
            f"{files.weights_file} holds weights of another shape than config.json: {_cause(error)}."
        ) from error
    _refuse_or_warn(checkpoint, files.weights_file, problems)
    if files.is_adapter:
        _refuse_or_warn(checkpoint, files.directory / ADAPTER_WEIGHTS, _add_adapter(model, files.directory))
    return model


def _refuse_or_warn(checkpoint: Checkpoint, weights: Path, problems: Iterable[str]) -> None:
    for problem in problems:
        if checkpoint.strict:
            raise CheckpointError(f"{weights} {problem}; --policy.strict=false takes it as it is.")
        warnings.warn(f"{weights} {problem}.", stacklevel=1)


def _add_adapter(model: Any, directory: Path) -> list[str]:
    """Put an adapter's layers into the model itself; return the misfits of its weights, which PEFT accepts."""
    from peft import PeftModel

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # so that missing weights get the same values each time
            adapted = PeftModel.from_pretrained(model, str(directory))
            # PeftModel.from_pretrained does not return the misfits
            missing, unexpected = adapted.load_adapter(str(directory), adapted.active_adapter)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{directory / ADAPTER_CONFIG} does not describe an adapter that PEFT can put into this policy: "
            f"{_cause(error)}."
        ) from error
    unexpected = set(unexpected) - _DRAWN_AGAIN
    return _misfits(_unfilled(adapted.state_dict(), missing), unexpected, f"{ADAPTER_CONFIG} and its base ask")


def _cannot_build(checkpoint: Checkpoint, error: BaseException, what: str) -> CheckpointError:
    """Explain why a part cannot be made: most often it needs a model that would have to be downloaded."""
    if lost := lost_model(error, checkpoint.files, checkpoint.config):
        return CheckpointError(lost)
    if comes_from_the_hub(error):
        return CheckpointError(missing_files(checkpoint.files, checkpoint.config))
    return CheckpointError(f"{what}: {_cause(error)}.")


def _load_weights(model: torch.nn.Module, tensors: Tensors) -> list[str]:
    """Copy the weights into the model; return the misfits."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    return _misfits(_unfilled(model.state_dict(), missing), unexpected, f"its {CONFIG} asks")


def _unfilled(state: Mapping[str, torch.Tensor], missing: Iterable[str]) -> list[str]:
    """List the missing names whose tensor did not get its weights under another name either."""
    without = set(missing)
    filled = {_place(tensor) for name, tensor in state.items() if name not in without}
    return [name for name in missing if name not in state or _place(state[name]) not in filled]


def _misfits(missing: Iterable[str], unexpected: Iterable[str], asking: str) -> list[str]:
    return [
        f"{problem} {asking} for: {_shortened(names)}"
        for names, problem in ((missing, "lacks weights that"), (unexpected, "holds weights that no part of"))
        if names
    ]


def _compiled_names(model: torch.nn.Module, tensors: Tensors) -> Tensors:
    """Rename the tensors to the model's names, which have a prefix in parts that are compiled and none in others."""
    names = {name.replace(_COMPILED, ""): name for name in model.state_dict()}
    return {names.get(name.replace(_COMPILED, ""), name): tensor for name, tensor in tensors.items()}


def _place(tensor: torch.Tensor) -> tuple[int, torch.Size]:
    return tensor.data_ptr(), tensor.shape


def _shortened(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "") + f" ({len(listed)} in all)"


@without_foreign_code
def _processors(checkpoint: Checkpoint, config: Any, device: torch.device, statistics: Tensors) -> tuple[Any, Any]:
    """Make the checkpoint's processors; before lerobot 0.4 of the statistics among its weights."""
    try:
        if checkpoint.files.preprocessor is not None:
            register_plugin_steps(checkpoint.files)
            return _saved_processors(checkpoint, config, device)
        processors: tuple[Any, Any] = make_pre_post_processors(config, dataset_stats=_by_feature(statistics, config))
    except CheckpointError:
        raise
    except Exception as error:
        check_registered(checkpoint.files)
        directory = checkpoint.files.directory
        raise _cannot_build(checkpoint, error, f"The processors of {directory} cannot be built") from error
    return processors


def _saved_processors(checkpoint: Checkpoint, config: Any, device: torch.device) -> tuple[Any, Any]:
    files = checkpoint.files
    before, after = (
        _changes(checkpoint, steps or (), str(device)) for steps in (files.preprocessor, files.postprocessor)
    )
    own_steps = {step.get("registry_name") for step in files.preprocessor or ()}
    # The policy renames and drops observations itself.
    always: dict[str, dict[str, Any]] = {
        "device_processor": {"device": str(device)},
        "rename_observations_processor": {"rename_map": {}},
    }
    before |= {name: changes for name, changes in always.items() if name in own_steps}
    processors: tuple[Any, Any] = make_pre_post_processors(
        config, str(files.directory), preprocessor_overrides=before, postprocessor_overrides=after
    )
    return processors


def _changes(checkpoint: Checkpoint, steps: Iterable[Mapping[str, Any]], device: str) -> dict[str, dict[str, Any]]:
    """Give the fields of each step, by its name, that must have other values than those that were saved.

    A step that was pinned to an accelerator gets the device of the policy. One that names a model which the user has
    overridden in the configuration gets the same: SmolVLA's tokenizer is that of its ``vlm_model_name``.
    """
    saved = checkpoint.files.config
    models = {
        saved[name]: value
        for name, value in checkpoint.overrides.items()
        if isinstance(value, str) and isinstance(saved.get(name), str) and "/" in saved[name]
    }
    changes: dict[str, dict[str, Any]] = {}
    for step in steps:
        fields = {name: value for name, value in (step.get("config") or {}).items() if isinstance(value, str)}
        changed = {name: models[value] for name, value in fields.items() if value in models}
        if fields.get("device", "cpu") != "cpu":
            changed["device"] = device
        if changed:
            changes.setdefault(str(step.get("registry_name")), {}).update(changed)
    return changes


def _by_feature(statistics: Tensors, config: Any) -> dict[str, Tensors]:
    """Sort the statistics that lerobot before 0.4 kept among the weights by feature, as those of a data set are."""
    found: dict[str, Tensors] = {key: {} for key in (*config.input_features, *config.output_features)}
    for statistic, name in embedded_statistics(statistics, found).items():
        key, _, kind = statistic.rpartition(".")
        found[key][kind] = statistics[name]
    return found


def _cause(error: BaseException) -> str:
    """Describe the first error of a chain in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if len(lines) > 1 and lines[0].endswith(":"):  # PyTorch and draccus begin with a heading
        del lines[0]
    return lines[0].rstrip(".")
