"""The launcher and the jobs exchange messages on a way that this module describes.

A hub is the driver's end. For each start of a shard it makes an address, which travels with the job; the job's end is
the channel that :meth:`Address.connect` opens. Both move bytes and do not look into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

OPENED, CLOSED = "opened", "closed"
"""The two things that happen to a channel besides messages: a job has opened it, and it is closed."""

Happening = tuple[int, bytes | str]
"""A shard's id, and a message or :data:`OPENED` or :data:`CLOSED`."""

LARGEST_MESSAGE = 1 << 30
"""Bytes. A message holds one episode's result and arrays; a longer one is not from a shard."""


class Channel(Protocol):
    """The job's end of the way to the driver. One thread sends, another one receives."""

    def send(self, message: bytes) -> None:
        """Send a message.

        Raises:
            OSError: the driver is gone.
        """

    def messages(self) -> Iterator[bytes]:
        """Yield each message of the driver, and end once the driver is gone or wants the shard to end at once."""

    def close(self) -> None:
        """Close the channel. It is safe to call this twice."""


class Address(Protocol):
    """The place at which a job finds its driver. It travels with the job."""

    status_s: ClassVar[float]
    """The least number of seconds between two status messages, of which only the latest matters."""

    def connect(self) -> Channel:
        """Open the channel.

        Raises:
            OSError: the driver cannot be reached.
        """


class Hub(Protocol):
    """The driver's end of the channels of all shards."""

    def expect(self, shard_id: int) -> Address:
        """Make the address for the next start of a shard. A channel with an earlier address is closed."""

    def poll(self, timeout_s: float) -> list[Happening]:
        """Wait until something happens, at most ``timeout_s`` seconds, and return all that did, in order."""

    def send(self, shard_id: int, message: bytes) -> None:
        """Send a message to a shard. Nothing happens if its channel is not open."""

    def drop(self, shard_id: int) -> None:
        """Close the channel of a shard, which then ends; nothing further happens on it, and its address is void."""

    def close(self) -> None:
        """Close everything. It is safe to call this twice."""

    def __str__(self) -> str:
        """Say in a few words where nodes must be able to reach the driver."""
