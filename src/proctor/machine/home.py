"""What libraries expect of a user: a name, a home, and a place for caches that can be written to.

A container that runs under a bare number has none of them, and torch, numba, matplotlib and others fail there. A
temporary directory then takes their place for this process and those it starts, and is removed at the end.
"""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

_CACHES = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
"""Caches that hold what was downloaded: where there is one that can be read, it is still read."""


@cache
def prepare_surroundings() -> None:
    """Set the environment variables that stand for what is missing. What the user has set stays as it is."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - pathlib raises where nobody knows of a home
    if _has_a_name() and home.is_absolute() and _can_be_written(_cache(home)):
        return
    folder = Path(tempfile.mkdtemp(prefix="proctor-"))
    atexit.register(_remove, folder, os.getpid())
    wanted = {} if _has_a_name() else {"TORCHINDUCTOR_CACHE_DIR": folder / "torchinductor"}
    if not home.is_absolute():
        wanted["HOME"] = folder
    elif not _can_be_written(_cache(home)):
        caches = {name: _cache(home) / folder_name for name, folder_name in _CACHES.items()}
        wanted |= {name: path for name, path in caches.items() if path.is_dir()}
        wanted |= {"XDG_CACHE_HOME": folder / "cache", "XDG_CONFIG_HOME": folder / "config"}
        wanted |= {"TRITON_CACHE_DIR": folder / "triton"}
    for name, path in wanted.items():
        os.environ.setdefault(name, str(path))


def _has_a_name() -> bool:
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):  # up to Python 3.12 a KeyError
        return False
    return True


def _cache(home: Path) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def _can_be_written(directory: Path) -> bool:
    """Whether files can be made in a directory, which is made with its parents where it is missing."""
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
