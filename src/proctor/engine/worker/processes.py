"""Starts the processes of workers, waits for them and ends them.

They are forked by a fork server if that is safe on this platform, else they are started one by one.
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

from proctor.child.processes import signal_group, start_interpreter
from proctor.engine.worker.messages import MAX_FORK_MESSAGE, Forked, Setup, decode_fork_reply, encode
from proctor.machine.files import open_log

_FORK_PATIENCE_S = 2.0
"""The time to wait, in seconds, for the process id of a worker that is to be ended. A worker that has none then ends
by itself, as its connection is closed."""


class WorkerProcess(Protocol):
    """A worker's process, which leads a process group of its own."""

    @property
    def pid(self) -> int | None:
        """The process id; None if the process could not be started."""

    def wait(self, timeout: float) -> int | None:
        """Wait up to ``timeout`` seconds for the process to end.

        Returns its exit status, or minus the number of the signal that ended it; None if it has not ended.
        """

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group, if there is a process in it."""


class Starter(Protocol):
    """Makes the processes of workers."""

    def start(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        """Start a process, which inherits the descriptors and prints into ``log``."""

    def close(self) -> None:
        """Start no more processes."""


def make_starter(setup: Setup, log: Path | None, interpreter: str | None = None) -> Starter:
    """The quickest way to start workers that is safe on this platform.

    They run under ``interpreter``, the path of another Python, or under this process's if it is None.
    """
    return ForkStarter(setup, log, interpreter) if sys.platform == "linux" else SpawnStarter(interpreter)


# --------------------------------------------------------------------------------------------------------- one by one


class SpawnStarter:
    """Starts every worker as an interpreter that imports everything itself."""

    def __init__(self, interpreter: str | None = None) -> None:
        self._interpreter = interpreter

    def start(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        arguments = [str(connection_fd), str(arrays_fd), str(os.getpid())]
        descriptors = (connection_fd, arrays_fd)
        return _SpawnedProcess(_start("proctor.engine.worker.process", arguments, descriptors, log, self._interpreter))

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
        signal_group(self._process.pid, number)


# ------------------------------------------------------------------------------------------------------------- forked


class ForkStarter:
    """Has a fork server fork the workers. If it dies, its workers die too, and the next worker has a new one."""

    def __init__(self, setup: Setup, log: Path | None, interpreter: str | None = None) -> None:
        self._arguments = (setup, log, interpreter)
        self._server = ForkServer(*self._arguments)

    def start(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        try:
            return self._server.fork(connection_fd, arrays_fd, log)
        except OSError:
            self.close()
            self._server = ForkServer(*self._arguments)
            return self._server.fork(connection_fd, arrays_fd, log)

    def close(self) -> None:
        self._server.close()


class ForkServer:
    """The engine's side of a process that runs :mod:`proctor.engine.worker.fork_server`."""

    def __init__(self, setup: Setup, log: Path | None, interpreter: str | None = None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                arguments = [str(theirs.fileno()), str(os.getpid())]
                descriptors = (theirs.fileno(),)
                self._process = _start("proctor.engine.worker.fork_server", arguments, descriptors, log, interpreter)
        except OSError:
            self._control.close()
            raise
        self._starting: deque[_ForkedProcess] = deque()
        self._by_pid: dict[int, _ForkedProcess] = {}
        self._control.send(encode(msgspec.structs.replace(setup, known={})))  # the fork server builds no simulator

    def fork(self, connection_fd: int, arrays_fd: int, log: Path | None) -> WorkerProcess:
        """Have a worker forked.

        Raises:
            OSError: the fork server is gone.
        """
        with open_log(log or os.devnull) as output:
            socket.send_fds(self._control, [b"fork"], [connection_fd, arrays_fd, output.fileno()])
        self._starting.append(process := _ForkedProcess(self))
        return process

    def close(self) -> None:
        """End the fork server, and with it the workers that are still there."""
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        self._process.wait()

    def receive(self, timeout: float) -> bool:
        """Process the next message from the fork server; return False if there is none within ``timeout`` seconds."""
        try:
            self._control.settimeout(max(timeout, 1e-6))
            message = self._control.recv(MAX_FORK_MESSAGE)
        except OSError:  # no message in time, or the fork server is gone
            return False
        if not message:
            return False
        reply = decode_fork_reply(message)
        if isinstance(reply, Forked):
            self._by_pid[reply.pid] = process = self._starting.popleft()
            process.forked_as = reply.pid
        else:
            self._by_pid.pop(reply.pid).status = reply.status
        return True


class _ForkedProcess:
    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self.forked_as: int | None = None
        self.status: int | None = None

    @property
    def pid(self) -> int | None:
        give_up = monotonic() + _FORK_PATIENCE_S
        while self.forked_as is None and self._server.receive(give_up - monotonic()):
            pass
        return self.forked_as

    def wait(self, timeout: float) -> int | None:
        give_up = monotonic() + timeout
        while self.status is None and self._server.receive(give_up - monotonic()):
            pass
        return self.status

    def signal(self, number: int) -> None:
        if self.pid is not None:  # even if it has ended: processes that it has started may be there
            signal_group(self.pid, number)


def _start(
    module: str, arguments: list[str], descriptors: tuple[int, ...], log: Path | None, interpreter: str | None
) -> subprocess.Popen[bytes]:
    """Start a clean interpreter that runs ``module`` in a process group of its own, and prints into the log."""
    with open_log(log or os.devnull) as output:
        return start_interpreter(
            module,
            *arguments,
            output=output,
            descriptors=descriptors,
            environment=_worker_environment(),
            interpreter=interpreter,
        )


def _worker_environment() -> dict[str, str]:
    """The environment of a worker, with one thread for each simulator, as more would only share the same cores.

    llvmpipe (software GL) draws the same pixels with any number of threads; without threads drawing takes 5 % less.
    """
    return {"LP_NUM_THREADS": "0", **os.environ, "OMP_NUM_THREADS": "1"}
