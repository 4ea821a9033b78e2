"""What lies in a checkpoint's directory, read and checked without importing torch or lerobot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proctor.errors import CheckpointError
from proctor.policies.lerobot.location import locate

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
EMBEDDED_NORMALISATION = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
"""What lerobot before 0.4 called the statistics that it kept among the weights."""
PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class CheckpointFiles:
    """Everything a checkpoint needs, each file whole as far as its header tells.

    Attributes:
        directory: where the configuration and the processors are.
        weights: the file of the policy's weights; an adapter's lie in another directory than its configuration.
        is_adapter: whether the directory holds a PEFT adapter of those weights.
        preprocessor, postprocessor: the steps as their files list them, or None if the normalisation has to be made
            of what lies among the weights.
        all_files: all files that a result depends on.
    """

    directory: Path
    config: Mapping[str, Any]
    weights: Path
    is_adapter: bool
    preprocessor: Sequence[Mapping[str, Any]] | None
    postprocessor: Sequence[Mapping[str, Any]] | None
    all_files: tuple[Path, ...]

    def digest(self) -> str:
        """SHA-256 over names and contents of all files."""
        total = hashlib.sha256()
        for file in self.all_files:
            with file.open("rb") as stream:
                total.update(file.name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()


def read_files(directory: Path) -> CheckpointFiles:
    """Read a checkpoint's directory.

    Raises:
        CheckpointError: which file is missing or broken, and what to do.
    """
    config = _read_config(directory)
    files = [directory / CONFIG]
    is_adapter = bool(config.get("use_peft")) or (directory / ADAPTER_CONFIG).is_file()
    if is_adapter:
        read_safetensors_header(directory / ADAPTER_WEIGHTS)
        files += [directory / ADAPTER_CONFIG, directory / ADAPTER_WEIGHTS]
    weights = (_base_of_adapter(directory) if is_adapter else directory) / WEIGHTS
    tensors = _read_weights_header(weights)
    files.append(weights)
    if not (directory / PREPROCESSOR).is_file() and any(name.startswith(EMBEDDED_NORMALISATION) for name in tensors):
        return CheckpointFiles(directory, config, weights, is_adapter, None, None, tuple(files))
    preprocessor, postprocessor = (_read_steps(directory / name) for name in (PREPROCESSOR, POSTPROCESSOR))
    states = [directory / step["state_file"] for step in (*preprocessor, *postprocessor) if step.get("state_file")]
    for state in states:
        read_safetensors_header(state)
    files += [directory / PREPROCESSOR, directory / POSTPROCESSOR, *states]
    return CheckpointFiles(directory, config, weights, is_adapter, preprocessor, postprocessor, tuple(files))


def read_safetensors_header(file: Path) -> dict[str, Any]:
    """The tensors' names, types and places, after checking them against the size of the file.

    Format: eight bytes, little-endian, the length of the JSON that follows; then the tensors, at the offsets it names.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            prefix = stream.read(8)
            header_size = int.from_bytes(prefix, "little")
            text = stream.read(header_size) if header_size <= size else b""
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from None
    if prefix == b"version ":
        raise CheckpointError(f"{file} is a Git LFS pointer, not the weights; fetch them with: git lfs pull")
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        end = 8 + header_size + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{file} is not a whole safetensors file; download or copy it again.") from None
    if end != size:
        raise CheckpointError(f"{file} has {size} bytes where its header announces {end}; download or copy it again.")
    return header


def _read_config(directory: Path) -> dict[str, Any]:
    if not (directory / CONFIG).is_file():
        raise CheckpointError(
            f"{directory} holds no {CONFIG}; policy.path is the directory LeRobot's training writes as "
            "checkpoints/<step>/pretrained_model."
        )
    config = _read_json(directory / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("type"), str):
        raise CheckpointError(f"{directory / CONFIG} does not name a policy type; it is not LeRobot's.")
    for side in ("input_features", "output_features"):
        if not config.get(side):
            raise CheckpointError(
                f"{directory / CONFIG} has no {side}; without them nobody knows what it was trained on."
            )
    return config


def _base_of_adapter(directory: Path) -> Path:
    """The checkpoint that an adapter was trained on, as its configuration names it."""
    if not (directory / ADAPTER_CONFIG).is_file():
        raise CheckpointError(
            f"{directory} says use_peft and holds no {ADAPTER_CONFIG}; give the directory of the adapter."
        )
    base = _read_json(directory / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not base:
        raise CheckpointError(f"{directory / ADAPTER_CONFIG} has no base_model_name_or_path: nobody knows its base.")
    return locate(base)


def _read_weights_header(weights: Path) -> dict[str, Any]:
    if weights.is_file():
        return read_safetensors_header(weights)
    directory = weights.parent
    if pickles := sorted(file.name for file in directory.iterdir() if file.suffix in _PICKLES):
        raise CheckpointError(
            f"{directory} holds its weights as {pickles[0]}, a pickle, which can run any code when it is loaded; "
            f"only {WEIGHTS} is accepted: save it with safetensors."
        )
    raise CheckpointError(f"{directory} holds no {WEIGHTS}; download or copy the checkpoint again.")


def _read_steps(file: Path) -> list[dict[str, Any]]:
    """The steps of a processor pipeline."""
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; without it inputs would not be normalised as in training.")
    pipeline = _read_json(file)
    steps = pipeline.get("steps") if isinstance(pipeline, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise CheckpointError(f"{file} lists no processor steps; it is not LeRobot's.")
    return steps


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON ({error}); download or copy it again.") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from None
