"""Finds the files of a checkpoint's weights: ``model.safetensors``, or several with an index of their tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proctor.errors import CheckpointError
from proctor.policies.lerobot.formats import read_json, read_safetensors_header

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""The index that Hugging Face's libraries write: ``{"weight_map": {<tensor>: <file>}}``."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def find_weights(directory: Path) -> tuple[Path, ...]:
    """Find the files of the weights in a directory: one, unless the weights are in shards.

    Raises:
        CheckpointError: there are none, or shards are missing, or they do not hold the tensors of the index.
    """
    if (directory / WEIGHTS).is_file():
        return (directory / WEIGHTS,)
    if (directory / INDEX).is_file():
        return _shards(directory)
    if shards := sorted(file.name for file in directory.glob("model-*-of-*.safetensors")):
        raise CheckpointError(
            f"{directory} holds shards of weights ({shards[0]}) and no {INDEX}; copy that file from where the "
            "checkpoint comes from."
        )
    refuse_pickle_for(directory / WEIGHTS)
    raise CheckpointError(f"{directory} holds no {WEIGHTS}; download or copy the checkpoint again.")


def read_weights_header(files: tuple[Path, ...]) -> dict[str, Any]:
    """Read the names, types and places of all tensors.

    Raises:
        CheckpointError: a file is not whole.
    """
    return {name: tensor for file in files for name, tensor in read_safetensors_header(file).items()}


def refuse_pickle_for(file: Path) -> None:
    """Refuse a directory with a pickle in place of a file of weights.

    Raises:
        CheckpointError: the file is missing, and there is a pickle; the message names it.
    """
    pickles = sorted(each.name for each in file.parent.iterdir() if each.suffix in _PICKLES)
    if pickles and not file.exists():
        raise CheckpointError(
            f"{file.parent} holds its weights as {pickles[0]}, a pickle, which can run any code when it is loaded; "
            f"only {file.name} is accepted: save it with safetensors."
        )


def _shards(directory: Path) -> tuple[Path, ...]:
    index = read_json(directory / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{directory / INDEX} has no weight_map from tensors to files; download it again.")
    names = sorted(set(places.values()))
    for name in names:
        if "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{directory / INDEX} names '{name}', which is not a safetensors file beside it; it must name shards "
                "of the same directory."
            )
        if not (directory / name).is_file():
            raise CheckpointError(f"{directory} lacks {name}, a shard that {INDEX} names; download or copy it again.")
        if read_safetensors_header(directory / name).keys() != {key for key, file in places.items() if file == name}:
            raise CheckpointError(
                f"{directory / name} does not hold the weights that {INDEX} places there; download or copy both again."
            )
    return tuple(directory / name for name in names)
