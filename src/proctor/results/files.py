"""Writing a file so that a reader, or a crash, finds the old one or the new one and nothing between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from proctor.errors import ResourceError


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON through a temporary file beside ``path``; makes the directory.

    Raises:
        ResourceError: the disk is full or does not take the file. What was at ``path`` is untouched.
    """
    content = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ResourceError(f"{path} cannot be written: {error.strerror}.") from error


def sync_directory(directory: Path) -> None:
    """Make a file just created or renamed in ``directory`` survive a power cut: its name is the directory's data."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
