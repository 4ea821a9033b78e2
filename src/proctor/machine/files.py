"""Opens files that Proctor writes, without following a symbolic link that another user may have put in their place."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO


def open_own(path: str | Path, flags: int) -> int:
    """Open a file by ``os.open``, and make it if it does not exist, but do not follow a symbolic link.

    Raises:
        OSError: the file cannot be opened, or ``path`` is a symbolic link.
    """
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, f"{path} is a symbolic link, which is not followed; remove it") from None


def open_log(path: str | Path) -> BinaryIO:
    """Open a file to append to.

    Raises:
        OSError: see :func:`open_own`.
    """
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND), "ab")
