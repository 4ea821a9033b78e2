"""What a checkpoint's files name besides models: files, each in the directory of the file that names it; no modules."""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from proctor.errors import CheckpointError

_INDEX_FILES = ("*.index.json", "*/*.index.json")
"""Which tensors lie in which file: of the checkpoint's weights, and of parts in folders of their own."""


def held_file(named_in: Path, name: object) -> Path:
    """The path of a file that ``named_in``, a file of a checkpoint, says lies beside it.

    The file itself may be a link, as every file in the Hub's cache is: what is checked is the name.

    Raises:
        CheckpointError: the name is no text, is absolute, or leads out of the directory.
    """
    if isinstance(name, str) and _is_inside(name):
        return named_in.parent / name
    raise CheckpointError(
        f"{named_in} names {name!a} as a file that lies beside it; such a name is a text, neither absolute nor with "
        "'..' in it: download or copy the checkpoint again."
    )


def check_held_files(directory: Path, *fields: object) -> None:
    """Refuse a checkpoint if a list of files, its own or of a model on disk that its ``fields`` name, leads elsewhere.

    Raises:
        CheckpointError: names the list and the file.
    """
    for folder in sorted({directory, *_folders_in(fields)}):
        for index in (file for pattern in _INDEX_FILES for file in sorted(folder.glob(pattern))):
            weights = _read_mapping(index).get("weight_map")
            for name in weights.values() if isinstance(weights, dict) else ():
                held_file(index, name)
        config = folder / "config.json"
        if (statistics := _read_mapping(config).get("norm_stats_filename")) is not None:  # MolmoAct2's
            held_file(config, statistics)


def check_adapter(file: Path) -> None:
    """Refuse an adapter for whose sake PEFT would import a module by name: ``megatron_core`` of a LoRA.

    ``auto_mapping`` names one too, which PEFT imports only if it is asked to make the base itself; it never is here.

    Raises:
        CheckpointError: names the module.
    """
    adapter = _read_mapping(file)
    if adapter.get("megatron_config"):
        raise CheckpointError(
            f"{file} has a megatron_config, for which PEFT would import {adapter.get('megatron_core')!r}; no policy of "
            "LeRobot is made of Megatron's layers: save the adapter without it."
        )


def _is_inside(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    path = PureWindowsPath(name)  # knows both separators
    return bool(path.name) and not path.anchor and ".." not in path.parts and "\0" not in name


def _folders_in(fields: object) -> Iterator[Path]:
    """Every directory that exists under a text in nested fields."""
    rest = [fields]
    while rest:
        match rest.pop():
            case Mapping() as mapping:
                rest += mapping.values()
            case list() | tuple() as sequence:
                rest += sequence
            case str(text) if text and os.path.isdir(os.path.expanduser(text)):  # noqa: PTH111, PTH112 - any text will do
                yield Path(text).expanduser()


def _read_mapping(file: Path) -> Mapping[str, Any]:
    """What a JSON file holds; nothing if it cannot be read, for then nobody else reads a file's name in it either."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
