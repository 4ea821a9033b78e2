"""A lock that has one holder, ends with the holder's process, and names the holder.

The lock is taken by ``lockf`` and not by ``flock``, so that a worker forked from the holder does not inherit the lock
and keep it when the holder is killed. But ``lockf`` locks are per process: the same process may take one twice, and
closing *any* descriptor of the file releases it. Therefore ``_HELD`` remembers the locks of this process, and the lock
file serves no other purpose.
"""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Self

from proctor.errors import RunLockedError
from proctor.machine.files import open_own, open_to_read

_HELD: set[Path] = set()


class FileLock:
    """Locks ``path`` exclusively between ``acquire`` and ``release``, also as a context manager.

    The file holds one line for people, ``<pid> <host> <since>``. The file is removed when the lock is released; after
    a SIGKILL the file stays, but the lock is free.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises:
            RunLockedError: the lock is held; names the holder.
            OSError: the file cannot be made, or its file system has no locks.
        """
        if self.path in _HELD:
            raise RunLockedError(f"{self.path.parent} is already being written to by this very process.")
        while True:
            fd = open_own(self.path, os.O_RDWR)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                holder = os.pread(fd, 200, 0).decode(errors="replace")
                os.close(fd)
                raise RunLockedError(_refusal(self.path.parent, holder)) from None
            except OSError:
                os.close(fd)
                raise
            if self._is_current(fd):
                break
            os.close(fd)  # the previous holder removed the file between our open and our lock; take the new file
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {socket.gethostname()} {since}\n".encode(), 0)
        _HELD.add(self.path)
        self._fd = fd

    def release(self) -> None:
        """Release the lock and remove its file. Does nothing if the lock is not held."""
        if self._fd is None:
            return
        self.path.unlink(missing_ok=True)  # while it is still locked, so that no other process's new file is removed
        os.close(self._fd)
        self._fd = None
        _HELD.discard(self.path)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_current(self, fd: int) -> bool:
        """Compare the file that was locked with the file that has its name now."""
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False


def holder_of(path: Path) -> str | None:
    """Describe the process that holds the lock at ``path``; None if the lock is free. Does not disturb the holder."""
    if path.absolute() in _HELD:
        return "this process"
    try:
        file = open_to_read(path)
    except OSError:
        return None
    with file:
        try:
            os.lockf(file.fileno(), os.F_TEST, 0)
        except (BlockingIOError, PermissionError):
            return _who(os.pread(file.fileno(), 200, 0).decode(errors="replace"))
    return None


def _refusal(directory: Path, holder: str) -> str:
    return f"{directory} is being written to by {_who(holder)}: wait for it, stop it, or choose another --output_dir."


def _who(holder: str) -> str:
    match holder.split():
        case [pid, host, since]:
            return f"process {pid} on {host}, since {since}"
        case _:
            return "another process"
