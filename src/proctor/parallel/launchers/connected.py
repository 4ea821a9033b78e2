"""The part that launchers share if this process holds a connection to each of their shards."""

from __future__ import annotations

import selectors
from abc import abstractmethod
from contextlib import suppress
from typing import Protocol

from proctor.child.wire import Wire
from proctor.parallel.launchers.base import Launcher
from proctor.parallel.messages import LAST_EVENTS, Event, Order, ShardRun, encode


class ConnectedShard(Protocol):
    """One started shard, and the launcher's end of its connection."""

    wire: Wire

    def receive(self) -> list[Event]:
        """Return the reports that have come whole, or :class:`~proctor.parallel.messages.ShardLost` if it is gone.

        It is called only if the connection is readable.
        """

    def kill(self) -> None:
        """End the shard at once, as far as that is possible."""

    def close(self) -> None:
        """Close the connection, and return when nothing is left of the shard."""


class ConnectedLauncher(Launcher):
    """Exchanges messages with shards that a subclass starts."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._shards: dict[int, ConnectedShard] = {}

    @abstractmethod
    def start(self, run: ShardRun) -> ConnectedShard:
        """Start a shard.

        Raises:
            ResourceError: the shard cannot be started here.
        """

    def submit(self, run: ShardRun) -> None:
        shard = self._shards[run.shard_id] = self.start(run)
        self._selector.register(shard.wire, selectors.EVENT_READ, run.shard_id)

    def send(self, shard_id: int, order: Order) -> None:
        if shard_id in self._shards:
            with suppress(OSError):  # the shard is gone; poll will report it
                self._shards[shard_id].wire.send(encode(order))

    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        events: list[tuple[int, Event]] = []
        for key, _ in self._selector.select(timeout_s):
            for event in self._shards[key.data].receive():
                events.append((key.data, event))
                if isinstance(event, LAST_EVENTS):
                    self._remove(key.data)
                    break
        return events

    def cancel(self, shard_id: int) -> None:
        if shard_id in self._shards:
            self._shards[shard_id].kill()
            self._remove(shard_id)

    def close(self) -> None:
        for shard in self._shards.values():  # all are killed before any is waited for
            shard.kill()
        for shard_id in list(self._shards):
            self._remove(shard_id)

    def _remove(self, shard_id: int) -> None:
        shard = self._shards.pop(shard_id)
        self._selector.unregister(shard.wire)
        shard.close()
