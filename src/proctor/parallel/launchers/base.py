"""A launcher starts shards somewhere, and carries messages between the driver and the shards.

To the driver a shard is a number, ``shard_id``, from :meth:`Launcher.submit` to its last event (one of
:data:`~proctor.parallel.messages.LAST_EVENTS`). After that event the same id may be submitted again.

A launcher moves bytes and does not look into them. At the shard's end of the connection runs
:func:`proctor.parallel.shard.serve` with a :class:`multiprocessing.connection.Connection`; the launcher holds the other
end. Each message (:mod:`proctor.parallel.messages`) is one ``send_bytes``. :mod:`proctor.parallel.launchers.local` and
:mod:`proctor.parallel.launchers.inline` show both ends. A shard that ends closes its connection; if the shard did not
send why it ended, the launcher reports that with :class:`~proctor.parallel.messages.ShardLost`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from proctor.parallel.messages import Event, Order, ShardRun


class Launcher(ABC):
    """Starts shards, passes orders to them and collects their events. One thread uses it.

    No method raises because of what happens to a shard after its start; that is an event. ``shares_machine`` is True if
    shards run on the driver's machine. If they do, the driver divides that machine among them.
    """

    shares_machine: ClassVar[bool] = True

    @abstractmethod
    def submit(self, run: ShardRun) -> None:
        """Start the shard ``run.shard_id``, which must not be running, and return without waiting for it.

        Raises:
            ResourceError: the shard cannot be started here.
        """

    @abstractmethod
    def send(self, shard_id: int, order: Order) -> None:
        """Send an order to a shard. If the shard is gone, nothing happens; :meth:`poll` reports the loss."""

    @abstractmethod
    def poll(self, timeout_s: float) -> list[tuple[int, Event]]:
        """Wait until there is an event, at most ``timeout_s`` seconds, and return all events with their shard ids.

        The events of one shard keep their order. The list is empty if there was none in time.
        """

    @abstractmethod
    def cancel(self, shard_id: int) -> None:
        """Kill a shard; :meth:`poll` returns no further event of it. If the shard is gone, nothing happens."""

    @abstractmethod
    def close(self) -> None:
        """Kill all shards; none of their processes is left when this returns. It is safe to call this twice."""
