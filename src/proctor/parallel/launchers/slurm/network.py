"""Messages over TCP: the driver listens, and a job connects with a token that it was given.

Anybody on a network can connect to a port that listens there. So a connection counts only after its first message, a
:class:`Greeting`, has proved that the other side has the token: a random number for each start of a shard, which
travels with the job in a file that only the user can read. The token itself is never sent. Until then a connection may
send :data:`_LARGEST_GREETING` bytes within :data:`_GREETING_TIMEOUT_S`, and only :data:`_MOST_UNKNOWN` connections are
open at a time. Nothing is unpickled on either side: messages are those of :mod:`proctor.parallel.messages`.
"""

from __future__ import annotations

import hmac
import queue
import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from multiprocessing.connection import Connection
from time import monotonic, sleep
from typing import ClassVar

import msgspec

from proctor.errors import ConfigError
from proctor.parallel.launchers.slurm.hub import CLOSED, LARGEST_MESSAGE, OPENED, Happening

_CONNECT_TIMEOUT_S = 60.0
"""Seconds within which a job must reach the driver."""
_GREETING_TIMEOUT_S = 10.0
_LARGEST_GREETING = 1024
_MOST_UNKNOWN = 64
_SEND_TIMEOUT_S = 30.0
"""Seconds after which a side that takes no bytes is given up."""
_KEEPALIVE_S = 30
"""Seconds of silence after which the kernel asks whether the other side is still there."""
_ANY_OTHER_MACHINE = ("192.0.2.1", 9)
"""An address that is reserved for documentation. Nothing is sent to it."""


class Greeting(msgspec.Struct, frozen=True):
    """The first message of a job: which shard it is, and the HMAC-SHA256 of the driver's challenge with its token."""

    shard_id: int
    proof: bytes


_decode_greeting = msgspec.msgpack.Decoder(Greeting).decode


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """The driver listens here, and ``token`` proves that a job is the one that the driver has submitted for a shard."""

    host: str
    port: int
    shard_id: int
    token: bytes = field(repr=False)

    status_s: ClassVar[float] = 0.0

    def connect(self) -> NetworkChannel:
        """Connect with the driver, whose machine may take a while to accept.

        Raises:
            OSError: the driver cannot be reached, or refuses the job.
        """
        until = monotonic() + _CONNECT_TIMEOUT_S
        while True:
            try:
                connected = socket.create_connection((self.host, self.port), _CONNECT_TIMEOUT_S)
                break
            except OSError:
                if monotonic() > until:
                    raise
                sleep(1)
        connection = _connection(connected)
        try:
            challenge = connection.recv_bytes(_LARGEST_GREETING)
            greeting = Greeting(self.shard_id, _proof(self.token, challenge))
            connection.send_bytes(msgspec.msgpack.encode(greeting))
        except EOFError:
            raise ConnectionError("the driver closed the connection") from None
        _limit(connection, receive_s=0)
        return NetworkChannel(connection)


class NetworkChannel:
    """A job's connection with the driver."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: bytes) -> None:
        self._connection.send_bytes(message)

    def messages(self) -> Iterator[bytes]:
        with suppress(EOFError, OSError):
            while True:
                yield self._connection.recv_bytes(LARGEST_MESSAGE)

    def close(self) -> None:
        self._connection.close()


class NetworkHub:
    """Listens for jobs on ``host``, or on this machine's address in its network if that is None.

    Raises:
        ConfigError: this machine does not have that address.
    """

    def __init__(self, host: str | None) -> None:
        self._host = host or own_address()
        try:
            self._listener = socket.create_server((self._host, 0), backlog=128)
        except OSError as error:
            raise ConfigError(
                f"Proctor cannot listen on {self._host} ({error.strerror or error}); give --slurm-address=ADDRESS with "
                "an address of this machine that the nodes can reach, or --slurm-connection=files."
            ) from None
        self._port: int = self._listener.getsockname()[1]
        self._tokens: dict[int, bytes] = {}
        self._connections: dict[int, Connection] = {}
        self._arrived: queue.SimpleQueue[tuple[int, Connection, bytes | str]] = queue.SimpleQueue()
        self._unknown = threading.BoundedSemaphore(_MOST_UNKNOWN)
        threading.Thread(target=self._accept, name="slurm-listener", daemon=True).start()

    def __str__(self) -> str:
        return f"{self._host}, port {self._port}"

    def expect(self, shard_id: int) -> NetworkAddress:
        self.drop(shard_id)
        token = self._tokens[shard_id] = secrets.token_bytes(32)
        return NetworkAddress(self._host, self._port, shard_id, token)

    def poll(self, timeout_s: float) -> list[Happening]:
        happenings: list[Happening] = []
        with suppress(queue.Empty):
            while True:
                happenings += self._taken(*self._arrived.get(timeout=timeout_s if timeout_s > 0 else 0.001))
                timeout_s = 0
        return happenings

    def send(self, shard_id: int, message: bytes) -> None:
        if (connection := self._connections.get(shard_id)) is not None:
            with suppress(OSError):  # the job is gone, which its thread reports
                connection.send_bytes(message)

    def drop(self, shard_id: int) -> None:
        self._tokens.pop(shard_id, None)
        if (connection := self._connections.pop(shard_id, None)) is not None:
            _shut(connection)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends the thread's accept
        self._listener.close()
        for shard_id in list(self._connections):
            self.drop(shard_id)

    def _taken(self, shard_id: int, connection: Connection, what: bytes | str) -> list[Happening]:
        """Return what has arrived on a connection as the launcher is told it."""
        if what == OPENED:
            if shard_id not in self._tokens:  # the shard was dropped while its job was connecting
                _shut(connection)
                return []
            if (before := self._connections.get(shard_id)) is not None:
                _shut(before)
            self._connections[shard_id] = connection
            return [(shard_id, what)]
        is_current = self._connections.get(shard_id) is connection
        if what == CLOSED:
            connection.close()
            if is_current:
                del self._connections[shard_id]
        return [(shard_id, what)] if is_current else []  # else it is left of a connection that was dropped or replaced

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return  # closed
            if not self._unknown.acquire(blocking=False):
                accepted.close()
                continue
            threading.Thread(target=self._serve, args=(accepted,), name="slurm-connection", daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        """Let a connection prove itself, and pass on what it sends. The thread that polls closes it."""
        connection = _connection(accepted)
        try:
            shard_id = self._greet(connection)
        finally:
            self._unknown.release()
        if shard_id is None:
            connection.close()
            return
        self._arrived.put((shard_id, connection, OPENED))
        with suppress(EOFError, OSError):
            while True:
                self._arrived.put((shard_id, connection, connection.recv_bytes(LARGEST_MESSAGE)))
        self._arrived.put((shard_id, connection, CLOSED))

    def _greet(self, connection: Connection) -> int | None:
        """Return the shard that the other side has proved to be; None if it has proved nothing."""
        challenge = secrets.token_bytes(32)
        try:
            connection.send_bytes(challenge)
            greeting = _decode_greeting(connection.recv_bytes(_LARGEST_GREETING))
        except (EOFError, OSError, msgspec.MsgspecError):
            return None
        # An unknown shard is compared, too, so that the time taken says nothing about which shards there are.
        token = self._tokens.get(greeting.shard_id) or secrets.token_bytes(32)
        if not hmac.compare_digest(greeting.proof, _proof(token, challenge)):
            return None
        _limit(connection, receive_s=0)
        return greeting.shard_id


def own_address() -> str:
    """Return the address of this machine that other machines most likely reach: that of its name, or, if that is a
    loopback address, the one from which it would send to another network, or else the loopback address.
    """
    try:
        found = socket.gethostbyname(socket.gethostname())
    except OSError:
        found = "127.0.0.1"
    if ip_address(found).is_loopback:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect(_ANY_OTHER_MACHINE)
            found = probe.getsockname()[0]
    return found


def _proof(token: bytes, challenge: bytes) -> bytes:
    return hmac.digest(token, challenge, "sha256")


def _connection(connected: socket.socket) -> Connection:
    """Return a connection that carries whole messages, and that notices if the other machine is gone."""
    connected.setblocking(True)
    for option, value in (
        (socket.TCP_KEEPIDLE, _KEEPALIVE_S),
        (socket.TCP_KEEPINTVL, _KEEPALIVE_S // 3),
        (socket.TCP_KEEPCNT, 6),
        (socket.TCP_USER_TIMEOUT, 3 * _KEEPALIVE_S * 1000),
        (socket.TCP_NODELAY, 1),
    ):
        connected.setsockopt(socket.IPPROTO_TCP, option, value)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection = Connection(connected.detach())
    _limit(connection, receive_s=_GREETING_TIMEOUT_S, send_s=_SEND_TIMEOUT_S)
    return connection


def _limit(connection: Connection, *, receive_s: float, send_s: float | None = None) -> None:
    """Let the kernel give up a read after ``receive_s`` seconds, and a write after ``send_s``; 0 means never."""
    with socket.socket(fileno=connection.fileno()) as view:
        view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(receive_s))
        if send_s is not None:
            view.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_s))
        view.detach()


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))


def _shut(connection: Connection) -> None:
    """End a connection on which a thread waits; that thread closes it."""
    with suppress(OSError), socket.socket(fileno=connection.fileno()) as view:
        try:
            view.shutdown(socket.SHUT_RDWR)
        finally:
            view.detach()
