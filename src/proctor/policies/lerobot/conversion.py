"""Datasets of LeRobot's v2.1 format, which LeRobot no longer reads: its own converter makes a v3 dataset of a copy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proctor.config import DatasetConfig
from proctor.errors import ConfigError, MissingExtraError, ProctorError
from proctor.security.foreign_code import described

_OLD, _NEW = "v2.1", "v3"
_INFO = Path("meta", "info.json")


def require_readable_format(config: DatasetConfig, convert_into: Path | None) -> Path | None:
    """Find the directory from which LeRobot is to read a dataset; None leaves the choice to LeRobot (cache or Hub).

    If ``convert_into`` is given, a dataset of the v2.1 format is copied there and converted.

    Raises:
        ConfigError: the dataset has the v2.1 format and ``convert_into`` is None, or it has another old format, or it
            cannot be converted.
    """
    given = Path(os.path.expanduser(config.root)) if config.root else None
    if given is not None and given.exists() and not (given / _INFO).is_file():
        raise ConfigError(
            f"dataset.root is {given}, which holds no LeRobotDataset: there is no {_INFO} in it; give the directory "
            "that has meta, data and videos in it."
        )
    local = given or _cache() / config.repo_id
    found = _version(local / _INFO)
    if found is None or found.startswith(_NEW):
        return given
    if found != _OLD:
        raise ConfigError(f"The dataset {local} has the format {found}; LeRobot reads v3 and converts {_OLD}.")
    if convert_into is None:
        raise ConfigError(
            f"The dataset {local} has the format {_OLD}, which LeRobot does not read; add --dataset_convert=true, and "
            "LeRobot's converter makes a v3 dataset of a copy."
        )
    return converted(config.repo_id, local, convert_into)


def _cache() -> Path:
    try:
        from lerobot.utils.constants import HF_LEROBOT_HOME
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "lerobot") from None
    return Path(HF_LEROBOT_HOME)


def _version(info: Path) -> str | None:
    """Read the format's version of a dataset on disk; None if it is not there.

    Raises:
        ConfigError: the file is not a dataset's.
    """
    if not info.is_file():
        return None
    try:
        return str(json.loads(info.read_bytes())["codebase_version"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{info} is not the description of a LeRobotDataset; copy the dataset again.") from None


def converted(repo_id: str, original: Path | None, target: Path) -> Path:
    """Convert a copy of the v2.1 dataset ``original``, unless that was done before.

    If ``original`` is None, LeRobot's converter downloads the dataset from the Hub. ``target`` exists only once it is
    whole.

    Raises:
        ConfigError: LeRobot cannot convert it.
    """
    if _version(target / _INFO) is not None:
        return target
    workplace = target.with_name(f".{target.name}.part")
    shutil.rmtree(workplace, ignore_errors=True)  # of a conversion that was killed
    copy = workplace / repo_id
    copy.parent.mkdir(parents=True)
    if original is not None:
        shutil.copytree(original, copy)
    with refusing_failures(f"LeRobot's converter cannot convert a copy of {original or repo_id}"):
        try:
            from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

            root = copy
        except ModuleNotFoundError:  # LeRobot 0.4, whose converter appends repo_id to the root
            from lerobot.datasets.v30.convert_dataset_v21_to_v30 import convert_dataset

            root = workplace
        convert_dataset(repo_id, root=root, push_to_hub=False)
    copy.replace(target)
    shutil.rmtree(workplace)
    return target


@contextmanager
def refusing_failures(sentence: str) -> Iterator[None]:
    """Turn whatever LeRobot raises in a block into a ConfigError: ``sentence``, a colon and the first line of it.

    Raises:
        ConfigError: the block raised an error that is not Proctor's own.
    """
    try:
        yield
    except ProctorError:
        raise
    except Exception as error:
        reason = next(iter(described(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"{sentence}: {reason.rstrip('.: ')}.") from error
