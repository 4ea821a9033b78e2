"""Opens files that somebody else may have put there: it follows no link to write, and waits for no pipe or device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_own(path: str | Path, flags: int) -> int:
    """Open a file by ``os.open``, and make it if it does not exist, but do not follow a symbolic link.

    Raises:
        OSError: the file cannot be opened, or ``path`` is a symbolic link or a pipe.
    """
    try:
        return _open(path, flags | os.O_CREAT | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, f"{path} is a symbolic link, which is not followed; remove it") from None


def open_to_read(path: str | Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or a device, which may never end, is refused.

    Raises:
        OSError: the file cannot be opened, or ``path`` is not a regular file.
    """
    file = os.fdopen(_open(path, os.O_RDONLY), "rb")  # which refuses a directory
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _no_file(path)
    return file


def read_file(path: str | Path) -> bytes:
    """Read a file.

    Raises:
        OSError: see :func:`open_to_read`.
    """
    with open_to_read(path) as file:
        return file.read()


def open_log(path: str | Path) -> BinaryIO:
    """Open a file to append to.

    Raises:
        OSError: see :func:`open_own`.
    """
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND), "ab")


def _open(path: str | Path, flags: int) -> int:
    """Open a file, but no pipe, because that would wait for its other end."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a pipe that nobody reads, a socket
            raise
        raise _no_file(path) from None
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    os.set_blocking(descriptor, True)
    return descriptor


def _no_file(path: str | Path) -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file", str(path))
