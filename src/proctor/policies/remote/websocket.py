"""A websocket connection to a server that uses openpi's protocol.

The server sends one message on connecting, its metadata; then each binary message is answered by one
(``openpi/serving/websocket_policy_server.py``). A text message is a traceback, after which the server closes.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import ExitStack, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from proctor.errors import ConfigError, PolicyError
from proctor.policies.remote.codec import LARGEST_MESSAGE
from proctor.policies.remote.connections import LostError, NotThereError

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_GOES_ON = (1000, 1008)
"""Close codes of a server that continues to serve: normal, and a policy such as the longest time without requests."""
_TOO_BIG = 1009


class WebSocket:
    """A connection, open once its server has sent its metadata, within ``seconds``.

    Raises:
        NotThereError: no server answers, or the server that answers is not a websocket server.
        ConfigError: the server refuses this client, or its certificate is not trusted.
    """

    def __init__(self, url: str, seconds: float, *, headers: dict[str, str], ca_file: str | None) -> None:
        until = monotonic() + seconds
        self._is_sending = False
        self._open = ExitStack()
        self._connection = self._open.enter_context(_connected(url, seconds, headers, ca_file))
        try:
            greeting = self._connection.recv(timeout=max(0.1, until - monotonic()))
        except Exception as error:  # noqa: BLE001 - whatever the library raises when a handshake ends early
            self.close()
            raise NotThereError(f"the server sends no metadata: {_reason(error)}") from None
        if isinstance(greeting, str):
            self.close()
            raise NotThereError(f"the server's first message is a text, {greeting!r:.200}, not openpi's metadata")
        self.greeting: bytes = greeting

    def ask(self, request: bytes, seconds: float, closed: threading.Event) -> bytes:
        """See :class:`~proctor.policies.remote.connections.Connection`."""
        try:
            if closed.is_set():  # abort may have come before this request
                self.abort()
            self._require_nothing_received()
            self._send(request, seconds)
            reply: bytes | str = self._receive(seconds)
        except LostError:
            if closed.is_set():
                raise PolicyError("the run ended before the server replied") from None
            raise
        if isinstance(reply, str):
            raise PolicyError(f"the server failed; its traceback:\n{reply}")
        return reply

    def abort(self) -> None:
        """See :class:`~proctor.policies.remote.connections.Connection`. It takes half a second at most."""
        if not self._is_sending:
            self.close()
            return
        with suppress(OSError):  # not the method of an encrypted socket, which must not be called from another thread
            socket.socket.shutdown(self._connection.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, waiting half a second at most for the server's close message."""
        self._open.close()

    def _require_nothing_received(self) -> None:
        """Refuse a message that no request asked for: from then on each reply would be taken for the next request's."""
        from websockets.exceptions import ConnectionClosed

        try:
            self._connection.recv(timeout=0)
        except TimeoutError:
            return
        except ConnectionClosed as error:
            raise self._lost(error, sent=False) from None
        raise PolicyError("the server sent a message that no request had asked for; it must answer each request once")

    def _send(self, request: bytes, seconds: float) -> None:
        from websockets.exceptions import ConnectionClosed

        wait = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        with suppress(OSError):  # the socket is closed already, which sending reports better
            self._connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        self._is_sending = True  # a server that reads nothing does not let the connection be closed in good order
        try:
            self._connection.send(request)
        except ConnectionClosed as error:
            raise self._lost(error, sent=False) from None
        except OSError as error:
            raise LostError(_reason(error), sent=False) from None
        finally:
            self._is_sending = False

    def _receive(self, seconds: float) -> Any:
        from websockets.exceptions import ConnectionClosed

        try:
            return self._connection.recv(timeout=seconds)
        except TimeoutError:
            raise PolicyError(
                f"the server gave no reply within {seconds:.3g} s; a longer --policy.timeout_s waits longer"
            ) from None
        except ConnectionClosed as error:
            raise self._lost(error, sent=True) from None

    @staticmethod
    def _lost(error: Any, *, sent: bool) -> Exception:
        if error.sent is not None and error.sent.code == _TOO_BIG:
            return PolicyError(f"the server's reply is larger than {LARGEST_MESSAGE >> 20} MiB, which is the limit")
        orderly = error.rcvd is not None and error.rcvd.code in _GOES_ON
        return LostError(_reason(error), sent=sent, orderly=orderly)


def _connected(url: str, seconds: float, headers: dict[str, str], ca_file: str | None) -> ClientConnection:
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    secure = urlsplit(url).scheme == "wss"
    try:
        return connect(
            url,
            ssl=ssl.create_default_context(cafile=ca_file) if secure else None,
            additional_headers=headers,
            compression=None,
            max_size=LARGEST_MESSAGE,
            open_timeout=seconds,
            close_timeout=0.5,
            ping_interval=None,  # openpi's server computes on its event loop and answers no ping meanwhile
            proxy=None,
        )
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"The certificate of {url} is not trusted ({error.verify_message}); "
            "give the file of the authority that signed it with --policy.ca_file."
        ) from None
    except InvalidStatus as error:
        if (status := error.response.status_code) in (401, 403):
            raise ConfigError(
                f"The server at {url} refuses this client (HTTP {status}); give its key with --policy.api_key_env."
            ) from None
        raise NotThereError(f"the server answers with HTTP {status}") from None
    except (OSError, WebSocketException, EOFError) as error:
        raise NotThereError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
