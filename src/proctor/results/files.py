"""Writing a file so that a reader, or a crash, finds the old one or the new one and nothing between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from proctor.errors import ResourceError


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON: see :func:`replacing`."""
    content = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which becomes ``path`` once the block has ended well; makes the directory.

    Raises:
        ResourceError: the disk is full or does not take the file. What was at ``path`` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def sync_directory(directory: Path) -> None:
    """Make a file just created or renamed in ``directory`` survive a power cut: its name is the directory's data."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
