"""What a checkpoint's files may name besides models: steps that are known, files in their own directory, no modules.

Only names are looked at, without torch or lerobot; whether the files are whole is for :mod:`.files` to say.
"""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from proctor.errors import CheckpointError
from proctor.policies.lerobot.files import ADAPTER_CONFIG, CONFIG, POSTPROCESSOR, PREPROCESSOR
from proctor.policies.lerobot.steps import check_steps

_INDEX_FILES = ("*.index.json", "*/*.index.json")
"""Which tensors lie in which file: of the checkpoint's weights, and of parts in folders of their own."""


def check_names(directory: Path) -> None:
    """Refuse a checkpoint that names code, or a file that lies elsewhere.

    Raises:
        CheckpointError: names the file that does, what it names, and what to do.
    """
    fields: list[object] = [_read_mapping(directory / name) for name in (CONFIG, ADAPTER_CONFIG)]
    for file in (directory / PREPROCESSOR, directory / POSTPROCESSOR):
        steps = _read_mapping(file).get("steps")
        if isinstance(steps, list) and all(isinstance(step, dict) for step in steps):
            check_steps(file, steps)
            for step in steps:
                if "state_file" in step:
                    _check_held(file, step["state_file"])
            fields.append(steps)
    for folder in sorted({directory, *_folders_in(fields)}):
        _check_lists(folder)
        _check_adapter(folder / ADAPTER_CONFIG)


def _check_lists(folder: Path) -> None:
    """The lists of files in the directory of a checkpoint or of a model that one names."""
    for index in (file for pattern in _INDEX_FILES for file in sorted(folder.glob(pattern))):
        weights = _read_mapping(index).get("weight_map")
        for name in weights.values() if isinstance(weights, dict) else ():
            _check_held(index, name)
    statistics = _read_mapping(folder / CONFIG).get("norm_stats_filename")  # MolmoAct2's
    if statistics is not None:
        _check_held(folder / CONFIG, statistics)


def _check_held(named_in: Path, name: object) -> None:
    """A file that ``named_in`` says lies beside it. It may be a link, as every file in the Hub's cache is."""
    if not isinstance(name, str) or not _is_inside(name):
        raise CheckpointError(
            f"{named_in} names {name!a} as a file that lies beside it; such a name is a text, neither absolute nor "
            "with '..' in it: download or copy the checkpoint again."
        )


def _check_adapter(file: Path) -> None:
    """For a LoRA with a ``megatron_config`` PEFT imports the module that ``megatron_core`` names.

    ``auto_mapping`` names one too, which PEFT imports only if it is asked to make the base itself; it never is here.
    """
    adapter = _read_mapping(file)
    if adapter.get("megatron_config"):
        raise CheckpointError(
            f"{file} has a megatron_config, for which PEFT would import {adapter.get('megatron_core')!a}; no policy of "
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
            case list() as sequence:
                rest += sequence
            case str(text) if text and os.path.isdir(path := os.path.expanduser(text)):  # noqa: PTH111, PTH112 - any text
                yield Path(path)


def _read_mapping(file: Path) -> Mapping[str, Any]:
    """What a JSON file holds; nothing if it cannot be read, for then nobody else reads a name in it either."""
    try:
        content = json.loads(file.read_bytes()) if file.is_file() else {}  # a pipe would be waited for
    except (OSError, ValueError):
        return {}
    except RecursionError:
        raise CheckpointError(
            f"{file} is nested deeper than any configuration; download or copy the checkpoint again."
        ) from None
    return content if isinstance(content, dict) else {}
