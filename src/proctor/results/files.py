"""Writes files so that a reader finds the old file or the new one, also after a crash, and never a part of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from proctor.errors import ConfigError, ResourceError
from proctor.machine.files import open_own

_ARRAY_PART = 1 << 17
"""The number of bytes, before they are laid out, of the elements of an array that are written together."""


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically: see :func:`replacing`.

    If ``value`` is a mapping, an iterator among its values is written as an array, an element at a time.

    Raises:
        ResourceError: see :func:`replacing`.
    """
    with replacing(path) as file:
        file.writelines(_object(value) if isinstance(value, Mapping) else _value(value))
        file.write(b"\n")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which becomes ``path`` if the block ends without an error; makes the directory.

    Raises:
        ResourceError: the disk is full or does not take the file. What was at ``path`` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a process of the same number may have left it
        with os.fdopen(open_own(temporary, os.O_WRONLY | os.O_EXCL), "wb") as file:
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


def unreadable(path: Path, error: OSError) -> ConfigError:
    """Return the error of a file that is there but cannot be read."""
    return ConfigError(f"{path} cannot be read: {error.strerror or error}.")


def remove_leftovers(*paths: Path) -> None:
    """Remove the temporary files beside ``paths`` of processes that were killed in :func:`replacing`.

    The caller must be the only process that may write these files. A file that cannot be removed stays.
    """
    for path in paths:
        for leftover in path.parent.glob(f".{escape(path.name)}.*.tmp"):
            with suppress(OSError):
                leftover.unlink()


def sync_directory(directory: Path) -> None:
    """Make a file that was created or renamed in ``directory`` survive a power cut: names are data of the directory."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _object(values: Mapping[str, Any]) -> Iterator[bytes]:
    """Lay out a JSON object as :func:`msgspec.json.format` does, a part at a time."""
    separator = b"{"
    for name, value in values.items():
        yield separator + b"\n  " + msgspec.json.encode(name) + b": "
        yield from (part.replace(b"\n", b"\n  ") for part in _value(value))
        separator = b","
    yield b"\n}" if values else b"{}"


def _value(value: Any) -> Iterator[bytes]:
    if isinstance(value, Iterator):
        return _array(value)
    return iter([msgspec.json.format(msgspec.json.encode(value), indent=2)])


def _array(elements: Iterator[Any]) -> Iterator[bytes]:
    """Lay out a JSON array of elements, of which some hundred are in memory at a time."""
    separator, encoded, size = b"[", [], 0
    for element in elements:
        encoded.append(msgspec.json.encode(element))
        size += len(encoded[-1])
        if size >= _ARRAY_PART:
            yield separator + _inside(encoded)
            separator, encoded, size = b",", [], 0
    if encoded:
        yield separator + _inside(encoded)
        separator = b","
    yield b"\n]" if separator == b"," else b"[]"


def _inside(encoded: Sequence[bytes]) -> bytes:
    """Lay out elements of an array, without its brackets."""
    return msgspec.json.format(b"[" + b",".join(encoded) + b"]", indent=2)[len(b"[") : -len(b"\n]")]
