"""Shards as threads of this process: for debugging, and for tests that look inside."""

from __future__ import annotations

import selectors
import threading
import traceback
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from proctor.launchers.base import Ended, Event, Failed, Launcher, Lost, Order, ShardRun, decode_report, encode
from proctor.parallel.shard import serve


class InlineLauncher(Launcher):
    """Runs each shard's :func:`~proctor.parallel.shard.serve` on a thread. Environment, device and log of a run are
    this process's own; what several policies side by side may disturb in one process, they do.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._shards: dict[int, _Thread] = {}

    def submit(self, run: ShardRun) -> None:
        shard = self._shards[run.number] = _Thread(run)
        self._selector.register(shard.connection, selectors.EVENT_READ, run.number)

    def send(self, shard: int, order: Order) -> None:
        if shard in self._shards:
            with suppress(OSError):  # poll will say that it is gone
                self._shards[shard].connection.send_bytes(encode(order))

    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        events: list[tuple[int, Event]] = []
        for key, _ in self._selector.select(timeout_s):
            event = self._shards[key.data].receive()
            events.append((key.data, event))
            if isinstance(event, Ended | Failed | Lost):
                self.cancel(key.data)
        return events

    def cancel(self, shard: int) -> None:
        if shard in self._shards:
            thread = self._shards.pop(shard)
            self._selector.unregister(thread.connection)
            thread.end()

    def close(self) -> None:
        for shard in list(self._shards):
            self.cancel(shard)


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
            return Lost(self._reason)
        return event

    def end(self) -> None:
        """A thread cannot be ended from outside: it ends itself when its driver is gone."""
        self.connection.close()
        self._thread.join()

    def _serve(self, run: ShardRun, connection: Connection) -> None:
        with connection:
            try:
                serve(run, connection)
            except Exception as error:  # noqa: BLE001 - a process would have died of it
                traceback.print_exc()
                self._reason = f"raised {type(error).__name__}: {error}"
