"""How the processes of workers are made, waited for and ended: forked from a nursery where that is safe, else started
one by one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Protocol

import msgspec

from proctor.child import python_command
from proctor.engine.worker.messages import LONGEST_NEWS, Forked, Setup, decode_news, encode

_FIRST_WORDS_S = 2.0
"""How long one waits for the process id of a worker that is to be ended. One that has none yet ends by itself, as its
connection is closed by then."""


class WorkerProcess(Protocol):
    """A worker's process, which leads its own process group."""

    @property
    def pid(self) -> int | None:
        """Its id; None where it could not be started."""

    def wait(self, timeout: float) -> int | None:
        """Its exit status, minus the signal that ended it; None if it has not ended in so many seconds."""

    def signal(self, number: int) -> None:
        """Send a signal to its whole group. Nothing happens where it is gone."""


class Starter(Protocol):
    """Makes the processes of workers."""

    def start(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        """Start one. It has copies of the descriptors when this returns."""

    def close(self) -> None:
        """Make no more."""


def make_starter(setup: Setup, log: Path | None) -> Starter:
    """The quicker of the two where it is safe."""
    return ForkStarter(setup, log) if sys.platform == "linux" else SpawnStarter()


# --------------------------------------------------------------------------------------------------------- one by one


class SpawnStarter:
    """Every worker is an interpreter of its own that imports everything."""

    def start(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        arguments = [str(connection_fd), str(arrays_fd), str(os.getpid())]
        return _SpawnedProcess(
            _interpreter("proctor.engine.worker.process", arguments, (connection_fd, arrays_fd), log)
        )

    def close(self) -> None:
        pass


class _SpawnedProcess:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def wait(self, timeout: float) -> int | None:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: int) -> None:
        _signal_group(self._process.pid, number)


# ------------------------------------------------------------------------------------------------------------- forked


class ForkStarter:
    """Workers come from a nursery. Should it die, its workers die with it, and there is a new one for the next."""

    def __init__(self, setup: Setup, log: Path | None) -> None:
        self._setup, self._log = setup, log
        self._nursery = ForkServer(setup, log)

    def start(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        try:
            return self._nursery.fork(connection_fd, arrays_fd, log)
        except OSError:
            self.close()
            self._nursery = ForkServer(self._setup, self._log)
            return self._nursery.fork(connection_fd, arrays_fd, log)

    def close(self) -> None:
        self._nursery.close()


class ForkServer:
    """A process of :mod:`proctor.engine.worker.fork_server`, from outside."""

    def __init__(self, setup: Setup, log: Path | None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = [str(theirs.fileno()), str(os.getpid())]
            self._process = _interpreter("proctor.engine.worker.fork_server", arguments, (theirs.fileno(),), log)
        self._unborn: deque[_ForkedProcess] = deque()
        self._by_pid: dict[int, _ForkedProcess] = {}
        self._control.send(encode(msgspec.structs.replace(setup, known={})))  # it builds nothing, and news are short

    def fork(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        """Ask for a worker.

        Raises:
            OSError: the nursery is gone.
        """
        with (log or Path(os.devnull)).open("ab") as output:
            socket.send_fds(self._control, [b"fork"], [connection_fd, arrays_fd, output.fileno()])
        self._unborn.append(process := _ForkedProcess(self))
        return process

    def close(self) -> None:
        """End it. Workers that are still there die with it."""
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        self._process.wait()

    def hear(self, timeout: float) -> bool:
        """Take in the next piece of news; false if there is none in time."""
        try:
            self._control.settimeout(max(timeout, 1e-6))
            message = self._control.recv(LONGEST_NEWS)
        except OSError:  # nothing in time, or the nursery is gone
            return False
        if not message:
            return False
        news = decode_news(message)
        if isinstance(news, Forked):
            self._by_pid[news.pid] = process = self._unborn.popleft()
            process.born_as = news.pid
        else:
            self._by_pid.pop(news.pid).status = news.status
        return True


class _ForkedProcess:
    def __init__(self, nursery: ForkServer) -> None:
        self._nursery = nursery
        self.born_as: int | None = None
        self.status: int | None = None

    @property
    def pid(self) -> int | None:
        give_up = monotonic() + _FIRST_WORDS_S
        while self.born_as is None and self._nursery.hear(give_up - monotonic()):
            pass
        return self.born_as

    def wait(self, timeout: float) -> int | None:
        give_up = monotonic() + timeout
        while self.status is None and self._nursery.hear(give_up - monotonic()):
            pass
        return self.status

    def signal(self, number: int) -> None:
        if self.pid is not None:  # also where it has ended: what it has started may be there
            _signal_group(self.pid, number)


def _interpreter(
    module: str, arguments: list[str], descriptors: tuple[int, ...], log: Path | None
) -> subprocess.Popen[bytes]:
    """A clean interpreter that runs ``module`` in a process group of its own, and prints into the log."""
    with (log or Path(os.devnull)).open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            python_command(module, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,
            env=_worker_environment(),
        )


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _worker_environment() -> dict[str, str]:
    """One simulator is one thread of work: several would only take turns on the same cores.

    llvmpipe (software GL) draws the same pixels with any number of threads; with none of its own a look costs 5 % less.
    """
    return {"LP_NUM_THREADS": "0", **os.environ, "OMP_NUM_THREADS": "1"}
