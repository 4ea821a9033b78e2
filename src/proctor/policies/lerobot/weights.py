"""Which files hold a checkpoint's weights: ``model.safetensors``, or several with an index of what lies where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proctor.errors import CheckpointError
from proctor.policies.lerobot.formats import read_json, read_safetensors_header

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""As Hugging Face's libraries write it: ``{"weight_map": {<tensor>: <file>}}``."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def find_weights(directory: Path) -> tuple[Path, ...]:
    """The files of the weights that lie in a directory; one, unless they are in shards.

    Raises:
        CheckpointError: there are none, or shards are missing, or they do not hold what the index says.
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
    """The names, types and places of all tensors.

    Raises:
        CheckpointError: a file that is not whole.
    """
    return {name: tensor for file in files for name, tensor in read_safetensors_header(file).items()}


def refuse_pickle_for(file: Path) -> None:
    """Name the pickle that lies where a file of weights is missing.

    Raises:
        CheckpointError: there is one, and the file is not there.
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
