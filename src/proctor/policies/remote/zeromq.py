"""A ZeroMQ connection to a server that uses GR00T's protocol.

A request is one message of a REQ socket, answered by one message (``gr00t/policy/server_client.py``). ZeroMQ itself
waits for ever and does not report that a peer is gone. So every wait here has a timeout, and the socket's monitor
reports that the peer has disconnected.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic
from typing import Any

from proctor.errors import ConfigError, PolicyError
from proctor.policies.remote.codec import LARGEST_MESSAGE, WireError, pack_groot, unpack
from proctor.policies.remote.connections import LostError, NotThereError

_GLANCE_MS = 100
_HEARTBEAT_MS = 10_000


class ZeroMQ:
    """A connection, open once its server has answered. ``token`` is the server's ``api_token``, if it requires one.

    Raises:
        NotThereError: no server answers within ``seconds``, 10 at most.
        ConfigError: the server refuses this client.
    """

    def __init__(self, url: str, seconds: float, *, token: str | None) -> None:
        self._url, self._token = url, token
        self._socket, self._monitor = _sockets(url)
        try:
            self.greeting = self._greeted(min(seconds, 10.0))
        except LostError as error:
            self.close()
            raise NotThereError(str(error)) from None
        except BaseException:
            self.close()
            raise

    def request(self, endpoint: str, data: Any = None) -> bytes:
        """Encode a request to one of the server's endpoints; ``data`` is left out if the endpoint takes none."""
        message = {"endpoint": endpoint, **({} if data is None else {"data": data})}
        return pack_groot(message | ({} if self._token is None else {"api_token": self._token}))

    def ask(self, request: bytes, seconds: float, closed: threading.Event) -> bytes:
        """See :class:`~proctor.policies.remote.connections.Connection`."""
        import zmq

        if self._monitor.poll(0) and self._peer_is_gone():  # ZeroMQ may have connected to the next server since
            raise LostError("the server closed the connection", sent=False)
        until = monotonic() + seconds
        self._wait(zmq.POLLOUT, until, closed, sent=False)
        self._socket.send(request, zmq.NOBLOCK)
        self._wait(zmq.POLLIN, until, closed, sent=True)
        reply: bytes = self._socket.recv(zmq.NOBLOCK)
        return reply

    def abort(self) -> None:
        """Do nothing: every wait of :meth:`ask` checks ``closed`` ten times a second."""

    def close(self) -> None:
        """Close the socket, dropping what it has not sent."""
        with suppress(Exception):
            self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)

    def _greeted(self, seconds: float) -> bytes:
        """Give the server's undecoded reply to ``get_modality_config``, by which the server is recognised."""
        closed = threading.Event()
        try:
            pong = self.ask(self.request("ping"), seconds, closed)
            try:
                decoded(pong)
            except PolicyError as error:
                raise ConfigError(f"{self._url}: {error}; give its token with --policy.api_token_env.") from None
            return self.ask(self.request("get_modality_config"), seconds, closed)
        except PolicyError as error:
            raise NotThereError(str(error)) from None

    def _wait(self, event: int, until: float, closed: threading.Event, *, sent: bool) -> None:
        """Wait until the socket can be used, or raise an error."""
        import zmq

        poller = zmq.Poller()
        poller.register(self._socket, event)
        poller.register(self._monitor, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(int(max(0, min(_GLANCE_MS, (until - monotonic()) * 1000)))))
            if self._socket in ready:
                return
            if self._monitor in ready and self._peer_is_gone():
                raise LostError("the server closed the connection", sent=sent)
            if closed.is_set():
                raise PolicyError("the run ended before the server replied")
            if monotonic() >= until:
                break
        if not sent:
            raise LostError("no server answers", sent=False)
        raise PolicyError("the server gave no reply in time; a longer --policy.timeout_s waits longer")

    def _peer_is_gone(self) -> bool:
        import zmq
        from zmq.utils.monitor import recv_monitor_message

        return bool(recv_monitor_message(self._monitor)["event"] == zmq.EVENT_DISCONNECTED)


def _sockets(url: str) -> tuple[Any, Any]:
    import zmq

    socket: Any = zmq.Context.instance().socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)  # a message is not queued for a peer that is not connected
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)  # the peer's own threads answer, also while it computes
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * _HEARTBEAT_MS)
    monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    socket.connect(url)
    return socket, monitor


def decoded(reply: bytes) -> Any:
    """Decode a reply.

    Raises:
        PolicyError: the reply is an error of the server's, or cannot be decoded.
    """
    if reply == b"ERROR":
        raise PolicyError("the server answered ERROR")
    try:
        value = unpack(reply)
    except WireError as error:
        raise PolicyError(f"the server's reply cannot be read: {error}") from None
    if isinstance(value, dict) and "error" in value:
        raise PolicyError(f"the server failed: {value['error']!s:.2000}")
    return value
