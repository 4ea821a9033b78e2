"""Shards as threads of this process, for debugging and for tests that look inside a shard."""

from __future__ import annotations

import threading
import traceback
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from proctor.child.wire import Wire
from proctor.parallel.launchers.connected import ConnectedLauncher
from proctor.parallel.messages import Event, ShardLost, ShardRun, decode_reports
from proctor.parallel.shard import serve


class InlineLauncher(ConnectedLauncher):
    """Runs each shard's :func:`~proctor.parallel.shard.serve` on a thread.

    The shards use the environment, device and standard output of this process; ``environment``, ``device`` and ``log``
    of a :class:`~proctor.parallel.messages.ShardRun` have no effect. Policies that share state of a process are not
    kept apart.
    """

    def start(self, run: ShardRun) -> _ShardThread:
        return _ShardThread(run)


class _ShardThread:
    """One shard's thread, and the launcher's end of its connection."""

    def __init__(self, run: ShardRun) -> None:
        ours, theirs = Pipe()
        self.wire = Wire(ours)
        self._reason = "closed its connection"
        self._thread = threading.Thread(target=self._serve, args=(run, theirs), name=f"shard-{run.shard_id}")
        self._thread.start()

    def receive(self) -> list[Event]:
        try:
            return [report for message in self.wire.receive() for report in decode_reports(message)]
        except (EOFError, OSError):
            self._thread.join()
            return [ShardLost(self._reason)]

    def kill(self) -> None:
        """Do nothing: a thread cannot be killed. The shard ends by itself once its connection is closed."""

    def close(self) -> None:
        self.wire.close()
        self._thread.join()

    def _serve(self, run: ShardRun, connection: Connection) -> None:
        with connection:
            try:
                serve(run, connection)
            except Exception as error:  # noqa: BLE001 - such an exception would have ended a shard's process
                traceback.print_exc()
                self._reason = f"raised {type(error).__name__}: {error}"
