"""A lock that makes the creations of one environment wait for one another.

It is taken by ``flock``, and the programs that work on the environment inherit it: if Proctor is killed while pip goes
on, the next creation waits for pip's end. (``results.lock`` is the opposite: its lock ends with one process.)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self


class EnvironmentLock:
    """Locks ``path`` exclusively, as a context manager; its directory must exist. The file is removed at the end.

    Args:
        path: the lock's file, which holds the number of the holder's process.
        on_wait: is given a sentence if another process holds the lock.
    """

    def __init__(self, path: Path, on_wait: Callable[[str], None]) -> None:
        self._path = path
        self._on_wait = on_wait
        self.descriptor = -1
        """The open file, for programs that inherit the lock."""

    def __enter__(self) -> Self:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._wait_for(descriptor)
                if self._is_current(descriptor):
                    break
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the last holder has removed this file
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self.descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)  # while it is still locked, so that no other process's new file is removed
        os.close(self.descriptor)
        self.descriptor = -1

    def _wait_for(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            self._on_wait(f"Waiting for process {holder} or its installer, which work on the same environment.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _is_current(self, descriptor: int) -> bool:
        """Compare the file that was locked with the file that has its name now."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False
