"""Checks that a checkpoint's files name no module of Python, and no files but those in their own directory.

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
"""The files that map tensors to files: of the checkpoint's weights, and of parts in folders of their own."""


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
    """Check the lists of files in the directory of a checkpoint or of a model that a checkpoint names."""
    for index in (file for pattern in _INDEX_FILES for file in sorted(folder.glob(pattern))):
        weights = _read_mapping(index).get("weight_map")
        for name in weights.values() if isinstance(weights, dict) else ():
            _check_held(index, name)
    statistics = _read_mapping(folder / CONFIG).get("norm_stats_filename")  # MolmoAct2's
    if statistics is not None:
        _check_held(folder / CONFIG, statistics)


def _check_held(named_in: Path, name: object) -> None:
    """Refuse a name in ``named_in`` that leads out of its directory. A link may: the Hub's cache consists of links."""
    if not isinstance(name, str) or not _is_inside(name):
        raise CheckpointError(
            f"{named_in} names {name!a} as a file that lies beside it; such a name is a text, neither absolute nor "
            "with '..' in it: download or copy the checkpoint again."
        )


def _check_adapter(file: Path) -> None:
    """Refuse a LoRA with a ``megatron_config``, since PEFT then imports the module that ``megatron_core`` names.

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
    path = PureWindowsPath(name)  # splits at both separators
    return bool(path.name) and not path.anchor and ".." not in path.parts and "\0" not in name


def _folders_in(fields: object) -> Iterator[Path]:
    """Yield every directory that a text in nested fields names and that exists."""
    rest = [fields]
    while rest:
        match rest.pop():
            case Mapping() as mapping:
                rest += mapping.values()
            case list() as sequence:
                rest += sequence
            case str(text) if text and os.path.isdir(path := os.path.expanduser(text)):  # noqa: PTH112 - any text
                yield Path(path)


def _read_mapping(file: Path) -> Mapping[str, Any]:
    """Read a JSON object; empty if the file cannot be read, because then no library reads a name in it either."""
    try:
        content = json.loads(file.read_bytes()) if file.is_file() else {}  # reading a pipe would wait for its writer
    except (OSError, ValueError):
        return {}
    except RecursionError:
        raise CheckpointError(
            f"{file} is nested deeper than any configuration; download or copy the checkpoint again."
        ) from None
    return content if isinstance(content, dict) else {}
