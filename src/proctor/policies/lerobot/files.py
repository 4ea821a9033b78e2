"""Reads and checks the files in a checkpoint's directory without importing torch or lerobot."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot.formats import read_json, read_safetensors_header
from proctor.policies.lerobot.location import locate
from proctor.policies.lerobot.weights import INDEX, find_weights, read_weights_header, refuse_pickle_for

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
EMBEDDED_NORMALISATION = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
"""The prefixes of the statistics that lerobot before 0.4 kept among the weights."""
PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"


@dataclass(frozen=True)
class CheckpointFiles:
    """All files that a checkpoint needs; the size of each agrees with its header.

    Attributes:
        directory: the directory of the configuration and the processors.
        weights: the files of the policy's weights, one or its shards; those of an adapter's base lie in another
            directory than its configuration.
        is_adapter: whether the directory holds a PEFT adapter of those weights.
        preprocessor, postprocessor: the steps as their files list them, or None if the normalisation has to be made
            of what lies among the weights.
        all_files: all files that a result depends on.
    """

    directory: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    is_adapter: bool
    preprocessor: Sequence[Mapping[str, Any]] | None
    postprocessor: Sequence[Mapping[str, Any]] | None
    all_files: tuple[Path, ...]

    @property
    def weights_file(self) -> Path:
        """The file to name in a message about the weights: theirs, or the index of their shards."""
        return self.weights[0] if len(self.weights) == 1 else self.weights[0].with_name(INDEX)

    def digest(self) -> str:
        """SHA-256 over names and contents of all files."""
        total = hashlib.sha256()
        for file in self.all_files:
            with file.open("rb") as stream:
                total.update(file.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()


def read_files(directory: Path, *, policy_type: str | None = None, base_path: str | None = None) -> CheckpointFiles:
    """Read a checkpoint's directory.

    ``policy_type`` is the type of a policy whose configuration names none, ``base_path`` the place of an adapter's
    base, in place of the one that the adapter names.

    Raises:
        CheckpointError: a file is missing or broken; the message names it and says what to do.
        ConfigError: a base is given for a checkpoint that is not an adapter.
    """
    config = _read_config(directory, policy_type)
    files = [directory / CONFIG]
    is_adapter = _is_adapter(directory)
    if is_adapter:
        refuse_pickle_for(directory / ADAPTER_WEIGHTS)
        read_safetensors_header(directory / ADAPTER_WEIGHTS)
        files += [directory / ADAPTER_CONFIG, directory / ADAPTER_WEIGHTS]
    elif base_path is not None:
        raise ConfigError(
            f"policy.base_path is the base of a PEFT adapter, but {directory} holds no {ADAPTER_CONFIG}; leave it out."
        )
    weights = find_weights(_base_of_adapter(directory, base_path) if is_adapter else directory)
    tensors = read_weights_header(weights)
    files += weights if len(weights) == 1 else (weights[0].with_name(INDEX), *weights)
    if not (directory / PREPROCESSOR).is_file() and any(name.startswith(EMBEDDED_NORMALISATION) for name in tensors):
        return CheckpointFiles(directory, config, weights, is_adapter, None, None, tuple(files))
    preprocessor, postprocessor = (_read_steps(directory / name) for name in (PREPROCESSOR, POSTPROCESSOR))
    states = [directory / step["state_file"] for step in (*preprocessor, *postprocessor) if step.get("state_file")]
    for state in states:
        read_safetensors_header(state)
    files += [directory / PREPROCESSOR, directory / POSTPROCESSOR, *states]
    return CheckpointFiles(directory, config, weights, is_adapter, preprocessor, postprocessor, tuple(files))


def _read_config(directory: Path, policy_type: str | None) -> dict[str, Any]:
    file = directory / CONFIG
    if not file.is_file():
        raise CheckpointError(
            f"{directory} holds no {CONFIG}; policy.path is the directory LeRobot's training writes as "
            "checkpoints/<step>/pretrained_model."
        )
    config = read_json(file)
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} is not the configuration of a policy, which is a JSON object.")
    for side in ("input_features", "output_features"):
        if not config.get(side):
            raise CheckpointError(f"{file} has no {side}; {_origin(config)}.")
    if not isinstance(config.get("type"), str):
        if policy_type is None:
            raise CheckpointError(
                f"{file} names no policy type, so it is an older LeRobot's or another library's; if you know the type, "
                "give it: --policy.type=act (or diffusion, …)."
            )
        config["type"] = policy_type
    return config


def _origin(config: Mapping[str, Any]) -> str:
    """Describe where a configuration without features comes from, and what to do."""
    if "input_shapes" in config:
        return (
            "it was written by LeRobot of 2024 (input_shapes), which no later LeRobot reads; save the policy again "
            "with a later one"
        )
    if "model_type" in config or "architectures" in config:
        return (
            f"it is a model of the transformers library ('{config.get('model_type')}'), not a LeRobot policy; "
            "policy.path is the directory LeRobot's training writes as checkpoints/<step>/pretrained_model"
        )
    return "without them it is not known what the policy was trained on, so save it again with LeRobot"


def _is_adapter(directory: Path) -> bool:
    """Say whether a directory holds a PEFT adapter: an adapter's configuration, whatever ``use_peft`` is."""
    if (directory / ADAPTER_CONFIG).is_file():
        return True
    if (directory / ADAPTER_WEIGHTS).is_file():
        raise CheckpointError(
            f"{directory} holds {ADAPTER_WEIGHTS} and no {ADAPTER_CONFIG}, without which an adapter cannot be loaded; "
            "copy that file from where the checkpoint comes from."
        )
    return False


def _base_of_adapter(directory: Path, base_path: str | None) -> Path:
    """Locate the checkpoint that an adapter was trained on; the user's ``base_path`` wins over its configuration."""
    if base_path is not None:
        return locate(base_path)
    file = directory / ADAPTER_CONFIG
    config = read_json(file)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    another = "give the checkpoint it was trained on: --policy.base_path=<directory or Hub id>"
    if not isinstance(base, str) or not base:
        raise CheckpointError(f"{file} has no base_model_name_or_path; {another}.")
    try:
        return locate(base, None if os.path.isdir(base) else config.get("revision"))  # noqa: PTH112
    except ConfigError as error:
        reason = str(error).rstrip(".")
        raise CheckpointError(f"{file} names {base} as base_model_name_or_path ({reason}); {another}.") from None


def _read_steps(file: Path) -> list[dict[str, Any]]:
    """Read the steps of a processor pipeline."""
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; without it inputs would not be normalised as in training.")
    pipeline = read_json(file)
    steps = pipeline.get("steps") if isinstance(pipeline, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise CheckpointError(f"{file} lists no processor steps; it is not LeRobot's.")
    return steps
