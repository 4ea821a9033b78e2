"""A process that has imported the simulator and forks workers, which share what it has imported.

It is started as ``python -m proctor.engine.worker.fork_server CONTROL_FD PARENT_PID``. On ``CONTROL_FD`` it receives
what to import (:class:`~proctor.engine.worker.messages.Setup`), and then a message for each worker to fork, with three
descriptors: the worker's connection, its arrays and its log. It replies with the worker's process id, and sends another
message when the worker has ended.

The fork server stays a single thread that never uses GL, as a GL context does not survive a fork. If a platform has no
safe ``fork`` (macOS), every worker is started by itself (:mod:`proctor.engine.worker.process`).
"""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

import numpy as np

from proctor.benchmarks.base import Benchmark
from proctor.config import structure
from proctor.engine.worker.arrays import SharedArrays
from proctor.engine.worker.messages import MAX_FORK_MESSAGE, Exited, Forked, Setup, decode_request, encode
from proctor.engine.worker.process import die_with, serve
from proctor.plugins import load_object

_N_DESCRIPTORS = 3


def main() -> None:
    """Fork workers for one engine, until it is gone."""
    control_fd, parent = (int(argument) for argument in sys.argv[1:])
    die_with(parent)
    control = socket.socket(fileno=control_fd)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _preload(control.recv(MAX_FORK_MESSAGE))
    gc.collect()
    gc.freeze()  # memory that is never collected is never written to, and stays shared
    me = os.getpid()
    while True:
        readable, _, _ = select.select([control.fileno(), wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _reap(control)
        if control.fileno() in readable:
            message, descriptors, _, _ = socket.recv_fds(control, MAX_FORK_MESSAGE, _N_DESCRIPTORS)
            if not message:
                return
            pid = os.fork()
            if not pid:
                _become_worker(control, (wake, waker), parent=me)
                _work(*descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            _send(control, Forked(pid))


def _preload(message: bytes) -> None:
    """Import what the benchmark wants imported. If that fails, the workers will report why."""
    try:
        setup = decode_request(message)
        assert isinstance(setup, Setup)
        setup.companions.join()
        benchmark_class: type[Benchmark] = load_object(setup.benchmark)
        benchmark_class(structure(benchmark_class.config_class, setup.env, "env")).preload()
    except BaseException:  # noqa: BLE001 - a worker fails at it too, and sends it as a message
        traceback.print_exc()


def _reap(control: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            _send(control, Exited(pid, os.waitstatus_to_exitcode(status)))


def _send(control: socket.socket, message: Forked | Exited) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the engine is gone, and this process ends next
        control.send(encode(message))


def _become_worker(control: socket.socket, wakeup: tuple[int, int], parent: int) -> None:
    """Give a forked process its own process group, signals and random numbers."""
    os.setsid()
    die_with(parent)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control.close()
    for descriptor in wakeup:
        os.close(descriptor)
    random.seed()
    np.random.seed()  # noqa: NPY002 - numbers that a simulator draws without a seed must differ between workers


def _work(connection_fd: int, arrays_fd: int, log_fd: int) -> None:
    status = 1
    try:
        for output in (1, 2):
            os.dup2(log_fd, output)
        os.close(log_fd)
        serve(Connection(connection_fd), SharedArrays(arrays_fd))
        status = 0
    except BaseException:  # noqa: BLE001 - nothing is above this frame
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
