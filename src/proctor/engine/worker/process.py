"""A worker process: reads requests, lets its :class:`~proctor.engine.worker.simulation.Simulation` answer them, until
told to close or the engine is gone. Started as ``python -m proctor.engine.worker.process CONNECTION_FD ARRAYS_FD
PARENT_PID``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from proctor.engine.worker.arrays import SharedArrays
from proctor.engine.worker.messages import Close, decode_request, encode
from proctor.engine.worker.simulation import Simulation

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve one engine."""
    connection_fd, arrays_fd, parent = (int(argument) for argument in sys.argv[1:])
    die_with(parent)
    serve(Connection(connection_fd), SharedArrays(arrays_fd))


def serve(connection: Connection, arrays: SharedArrays) -> None:
    """Answer what the engine asks for, until it has no more questions."""
    _give_way()
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the engine's; what the simulator starts is not affected
    simulation = Simulation(arrays)
    with suppress(EOFError, ConnectionError):  # the engine is gone
        while not isinstance(request := decode_request(connection.recv_bytes()), Close):
            arrays.acknowledge()
            connection.send_bytes(encode(simulation.handle(request)))
    simulation.close()


def _give_way() -> None:
    """Have a worker that is woken wait for a core, rather than take it from the engine in the midst of its turn."""
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(PermissionError):  # a sandbox's word; it is quicker so, and as right without
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies, however it dies and whatever hangs here."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)


if __name__ == "__main__":
    main()
