"""The surroundings that libraries expect of a user: a name, a home, and a writable place for caches.

A container that runs under a bare user number has none of them, and torch, numba, matplotlib and others fail there. A
temporary directory then replaces them for this process and its children, and is removed at the end.
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
"""Caches of downloaded files: an existing cache that can be read is still used."""


@cache
def prepare_surroundings() -> Path | None:
    """Set environment variables for whatever is missing. Variables that the user has set are not changed.

    Returns the temporary directory, or None if nothing was missing.
    """
    home = Path(os.path.expanduser("~"))
    if _has_a_name() and home.is_absolute() and _can_be_written(_cache(home)):
        return None
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
    return folder


def lasting_cache() -> Path | None:
    """Return the user's cache directory; None if there is only one that lasts as long as this process."""
    temporary = prepare_surroundings()
    cache_folder = _cache(Path(os.path.expanduser("~"))).absolute()
    return None if temporary and cache_folder.is_relative_to(temporary) else cache_folder


def lasting_state() -> Path | None:
    """Return Proctor's folder in the user's directory of states; None if it would last only as long as this process."""
    temporary = prepare_surroundings()
    home = Path(os.path.expanduser("~"))
    folder = Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state").absolute() / "proctor"
    is_temporary = temporary is not None and folder.is_relative_to(temporary)
    return None if is_temporary or not _can_be_written(folder) else folder


def _has_a_name() -> bool:
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):  # up to Python 3.12 a KeyError
        return False
    return True


def _cache(home: Path) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def _can_be_written(directory: Path) -> bool:
    """Return True if files can be made in a directory, which is created with its parents if it does not exist."""
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
