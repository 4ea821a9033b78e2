"""Finds a checkpoint: a directory, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from proctor.errors import CheckpointError, ConfigError, MissingExtraError
from proctor.security.hub_files import snapshot_of

_HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^@\s]+))?")


def locate(path: str, revision: str | None = None) -> Path:
    """Find the directory of the checkpoint's files; it is downloaded if ``path`` names a repository of the Hub.

    ``path`` is a directory as LeRobot writes it (``…/pretrained_model``), the directory of a training step that
    contains one (``…/checkpoints/005000``), or ``user/repo``, ``user/repo@revision``. A directory that exists wins; of
    a link to it (``checkpoints/last``) what it leads to now, so that all files are of one checkpoint.

    Raises:
        CheckpointError: there is no such directory or repository, or it cannot be downloaded.
        ConfigError: ``revision`` is given with a directory, or is not the one in ``path``.
    """
    directory = Path(os.path.expanduser(path))
    if os.path.isdir(directory):  # noqa: PTH112 - pathlib raises if the name is too long
        if revision is not None:
            raise ConfigError(f"policy.revision is for checkpoints from the Hub, but {path} is a local directory.")
        directory = directory.resolve()
        inner = directory / "pretrained_model"
        return inner if inner.is_dir() else directory
    if os.path.isfile(directory):  # noqa: PTH113 - as above
        raise CheckpointError(f"{path} is a file; give the directory that contains it as policy.path.")
    hub_id = _HUB_ID.fullmatch(path)
    if hub_id is None:
        raise CheckpointError(f"There is no checkpoint at {path}: the directory does not exist.")
    if revision is not None and hub_id["revision"] not in (None, revision):
        raise ConfigError(f"policy.path asks for revision {hub_id['revision']}, policy.revision for {revision}.")
    return _download(hub_id["repository"], revision or hub_id["revision"])


def pinned(path: str, directory: Path) -> dict[str, str | None]:
    """Give the fields of ``--policy.*`` that name exactly what ``path`` names now, even if a link or a branch moves on.

    For a directory that is its absolute path, without links (``checkpoints/last``); for a repository, the commit.
    """
    if os.path.isdir(os.path.expanduser(path)):  # noqa: PTH112 - any text
        return {"path": str(directory)}
    return {"path": f"{path.partition('@')[0]}@{directory.name}", "revision": None}


def _download(repository: str, revision: str | None) -> Path:
    try:
        return snapshot_of(
            repository,
            revision,
            allow=["*.json", "*.safetensors"],
            ignore=["*/*"],  # checkpoints of earlier steps, videos
        )
    except MissingExtraError:
        raise
    except ConfigError as error:
        raise CheckpointError(f"Cannot get the checkpoint {repository}: {error}.") from None
