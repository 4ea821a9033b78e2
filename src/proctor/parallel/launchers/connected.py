"""What launchers have in common whose shards are at the other end of connections that this process holds."""

from __future__ import annotations

import selectors
from abc import abstractmethod
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Protocol

from proctor.parallel.launchers.base import Event, Launcher, Order, ShardEnded, ShardFailed, ShardLost, ShardRun, encode


class ConnectedShard(Protocol):
    """One shard, and our end of its connection."""

    connection: Connection

    def receive(self) -> Event:
        """What it says, or that it is lost; called once there is something."""

    def kill(self) -> None:
        """End it at once, as far as that can be done."""

    def bury(self) -> None:
        """Close the connection, and return when nothing is left of it."""


class ConnectedLauncher(Launcher):
    """Speaks with shards that a subclass starts."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._shards: dict[int, ConnectedShard] = {}

    @abstractmethod
    def start(self, run: ShardRun) -> ConnectedShard:
        """Start a shard.

        Raises:
            ResourceError: there is no place for it.
        """

    def submit(self, run: ShardRun) -> None:
        shard = self._shards[run.number] = self.start(run)
        self._selector.register(shard.connection, selectors.EVENT_READ, run.number)

    def send(self, shard: int, order: Order) -> None:
        if shard in self._shards:
            with suppress(OSError):  # it is gone; poll will say why
                self._shards[shard].connection.send_bytes(encode(order))

    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        events: list[tuple[int, Event]] = []
        for key, _ in self._selector.select(timeout_s):
            event = self._shards[key.data].receive()
            events.append((key.data, event))
            if isinstance(event, ShardEnded | ShardFailed | ShardLost):
                self._forget(key.data)
        return events

    def cancel(self, shard: int) -> None:
        if shard in self._shards:
            self._shards[shard].kill()
            self._forget(shard)

    def close(self) -> None:
        for shard in self._shards.values():
            shard.kill()
        for number in list(self._shards):
            self._forget(number)

    def _forget(self, number: int) -> None:
        shard = self._shards.pop(number)
        self._selector.unregister(shard.connection)
        shard.bury()
