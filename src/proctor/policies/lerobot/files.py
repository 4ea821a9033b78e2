"""What lies in a checkpoint's directory, read and checked without importing torch or lerobot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proctor.errors import CheckpointError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class CheckpointFiles:
    """A directory that holds everything a checkpoint needs, each file whole as far as its header tells.

    ``preprocessor`` and ``postprocessor`` are the steps as their files list them, ``names`` all files that a result
    depends on.
    """

    directory: Path
    config: Mapping[str, Any]
    preprocessor: Sequence[Mapping[str, Any]]
    postprocessor: Sequence[Mapping[str, Any]]
    names: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 over names and contents of all files."""
        total = hashlib.sha256()
        for name in self.names:
            with (self.directory / name).open("rb") as stream:
                total.update(name.encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()


def read_files(directory: Path) -> CheckpointFiles:
    """Read a checkpoint's directory.

    Raises:
        CheckpointError: which file is missing or broken, and what to do.
    """
    config = _read_config(directory)
    tensors = _read_weights_header(directory)
    if not (directory / PREPROCESSOR).is_file() and any(name.startswith("normalize_inputs.") for name in tensors):
        raise CheckpointError(
            f"{directory} is a checkpoint of lerobot before 0.4: its normalisation is inside {WEIGHTS} and "
            f"{PREPROCESSOR} is missing; convert it with: python -m lerobot.processor.migrate_policy_normalization "
            f"--pretrained-path {directory}"
        )
    preprocessor, postprocessor = (_read_steps(directory / name) for name in (PREPROCESSOR, POSTPROCESSOR))
    states = [step["state_file"] for step in (*preprocessor, *postprocessor) if step.get("state_file")]
    for state in states:
        read_safetensors_header(directory / state)
    names = (CONFIG, WEIGHTS, PREPROCESSOR, POSTPROCESSOR, *states)
    return CheckpointFiles(directory, config, preprocessor, postprocessor, names)


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
    if config.get("use_peft"):
        raise CheckpointError(f"{directory} is a PEFT adapter; merge it into its base model and evaluate the result.")
    for side in ("input_features", "output_features"):
        if not config.get(side):
            raise CheckpointError(
                f"{directory / CONFIG} has no {side}; without them nobody knows what it was trained on."
            )
    return config


def _read_weights_header(directory: Path) -> dict[str, Any]:
    if (directory / WEIGHTS).is_file():
        return read_safetensors_header(directory / WEIGHTS)
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
