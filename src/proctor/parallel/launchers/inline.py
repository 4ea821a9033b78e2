"""Shards as threads of this process: for debugging, and for tests that look inside."""

from __future__ import annotations

import threading
import traceback
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from proctor.parallel.launchers.base import Event, ShardLost, ShardRun, decode_report
from proctor.parallel.launchers.connected import ConnectedLauncher
from proctor.parallel.shard import serve


class InlineLauncher(ConnectedLauncher):
    """Runs each shard's :func:`~proctor.parallel.shard.serve` on a thread. Environment, device and log of a run are
    this process's own; what several policies side by side may disturb in one process, they do.
    """

    def start(self, run: ShardRun) -> _Thread:
        return _Thread(run)


class _Thread:
    """One shard's thread, and our end of its connection."""

    def __init__(self, run: ShardRun) -> None:
        self.connection, theirs = Pipe()
        self._reason = "closed its connection"
        self._thread = threading.Thread(target=self._serve, args=(run, theirs), name=f"shard-{run.number}")
        self._thread.start()

    def receive(self) -> Event:
        try:
            event: Event = decode_report(self.connection.recv_bytes())
        except (EOFError, OSError):
            self._thread.join()
            return ShardLost(self._reason)
        return event

    def kill(self) -> None:
        """A thread cannot be ended from outside: it ends itself when its driver is gone."""

    def bury(self) -> None:
        self.connection.close()
        self._thread.join()

    def _serve(self, run: ShardRun, connection: Connection) -> None:
        with connection:
            try:
                serve(run, connection)
            except Exception as error:  # noqa: BLE001 - a process would have died of it
                traceback.print_exc()
                self._reason = f"raised {type(error).__name__}: {error}"
