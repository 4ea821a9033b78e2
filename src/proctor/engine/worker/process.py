"""A worker process: executes requests with its :class:`~proctor.engine.worker.simulation.Simulation` and sends replies,
until it receives a request to close, or the engine is gone.

It is started as ``python -m proctor.engine.worker.process CONNECTION_FD ARRAYS_FD PARENT_PID``, or forked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

from proctor.engine.worker.arrays import SharedArrays
from proctor.engine.worker.messages import Close, Drop, LogTo, Ready, Request, Start, decode_request, encode
from proctor.engine.worker.simulation import Simulation
from proctor.machine.files import open_log

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Execute the requests of one engine."""
    connection_fd, arrays_fd, parent = (int(argument) for argument in sys.argv[1:])
    die_with(parent)
    serve(Connection(connection_fd), SharedArrays(arrays_fd))


def serve(connection: Connection, arrays: SharedArrays) -> None:
    """Execute requests until there are no more."""
    _give_way()
    ignore_ctrl_c()
    simulation = Simulation(arrays)
    with suppress(EOFError, ConnectionError):  # the engine is gone
        for request in _requests(connection, simulation):
            arrays.acknowledge()
            reply = _print_into(request) if isinstance(request, LogTo) else simulation.handle(request)
            connection.send_bytes(encode(reply))
    simulation.close()


def _requests(connection: Connection, simulation: Simulation) -> Iterator[Request | LogTo]:
    """Yield what is to be executed, until there is no more. An episode that was sent ahead waits for the end of the
    one under way.
    """
    ahead: deque[Start] = deque()
    while True:
        if ahead and simulation.episode is None:
            yield ahead.popleft()
            continue
        match decode_request(connection.recv_bytes()):
            case Close():
                return
            case Drop():
                ahead.clear()
                simulation.drop()
            case Start(ahead=True) as start:
                ahead.append(start)
            case request:
                yield request


def _print_into(request: LogTo) -> Ready:
    """Have this process, and those that it starts, print into another log, if that file can be opened."""
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError), open_log(request.path) as output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    return Ready()


def ignore_ctrl_c() -> None:
    """Ignore SIGINT, which the main process handles; processes that this one starts are not affected.

    A KeyboardInterrupt is therefore what a simulator raises, and an error of its episode.
    """
    signal.signal(signal.SIGINT, lambda *_: None)


def _give_way() -> None:
    """Have this process wait for a free core when it is woken, so that it does not interrupt a turn of the engine."""
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(PermissionError):  # a sandbox may forbid it; without it only the speed differs
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, even if this process hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the call above
        os._exit(1)


if __name__ == "__main__":
    main()
