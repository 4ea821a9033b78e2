"""A process that has imported the simulator and forks workers: what it imported, they share.

Started as ``python -m proctor.engine.worker.fork_server CONTROL_FD PARENT_PID``. It is told on ``CONTROL_FD`` what to
import (:class:`~proctor.engine.worker.messages.Setup`), then, once per worker, to fork, with three descriptors: the
worker's connection, its arrays, its log. It answers with the worker's process id, and says later how the worker ended.

It stays a single thread that has never touched GL: a context does not survive a fork. Where there is no safe ``fork``
(macOS), every worker is a process started for itself (:mod:`proctor.engine.worker.process`).
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
from proctor.child import extend_import_path
from proctor.config import structure
from proctor.engine.worker.arrays import SharedArrays
from proctor.engine.worker.messages import LONGEST_NEWS, Exited, Forked, Setup, decode_request, encode
from proctor.engine.worker.process import die_with, serve
from proctor.plugins import load_object

_N_DESCRIPTORS = 3


def main() -> None:
    """Serve one engine, until it is gone."""
    control_fd, parent = (int(argument) for argument in sys.argv[1:])
    die_with(parent)
    control = socket.socket(fileno=control_fd)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _preload(control.recv(LONGEST_NEWS))
    gc.collect()
    gc.freeze()  # what is never collected is never written to, and stays shared
    me = os.getpid()
    while True:
        readable, _, _ = select.select([control.fileno(), wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _bury(control)
        if control.fileno() in readable:
            message, descriptors, _, _ = socket.recv_fds(control, LONGEST_NEWS, _N_DESCRIPTORS)
            if not message:
                return
            pid = os.fork()
            if not pid:
                _grow_up(control, (wake, waker), parent=me)
                _work(*descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            _tell(control, Forked(pid))


def _preload(message: bytes) -> None:
    """Import what the benchmark wants imported. Whatever is wrong with it, the workers will say."""
    try:
        setup = decode_request(message)
        assert isinstance(setup, Setup)
        extend_import_path(setup.import_path)
        benchmark_class: type[Benchmark] = load_object(setup.benchmark)
        benchmark_class(structure(benchmark_class.config_class, setup.env, "env")).preload()
    except BaseException:  # noqa: BLE001 - a worker runs into it too, and there it becomes a message
        traceback.print_exc()


def _bury(control: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            _tell(control, Exited(pid, os.waitstatus_to_exitcode(status)))


def _tell(control: socket.socket, news: Forked | Exited) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the engine is gone, and this process next
        control.send(encode(news))


def _grow_up(control: socket.socket, wakeup: tuple[int, int], parent: int) -> None:
    """Become a process of its own: its own group, its own signals, its own random numbers."""
    os.setsid()
    die_with(parent)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control.close()
    for descriptor in wakeup:
        os.close(descriptor)
    random.seed()
    np.random.seed()  # noqa: NPY002 - what a simulator without a seed draws from must not be the same in all workers


def _work(connection_fd: int, arrays_fd: int, log_fd: int) -> None:
    status = 1
    try:
        for output in (1, 2):
            os.dup2(log_fd, output)
        os.close(log_fd)
        serve(Connection(connection_fd), SharedArrays(arrays_fd))
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
