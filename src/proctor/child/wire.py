"""One end of a connection whose other end may stand still in the middle of a message; nothing here waits for it.

A process that is stopped (SIGSTOP), or that hangs while it sends, would keep its peer in ``recv_bytes``, and a process
that does not read would keep it in ``send_bytes`` once the socket's buffer is full. The messages are those of
:class:`multiprocessing.connection.Connection`, as the other end sends and receives them: a length, big-endian int32 or
-1 and uint64, and as many bytes.
"""

from __future__ import annotations

import os
import select
import struct
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock

from proctor.machine.threads import start_thread

_SHORT, _LONG = struct.Struct("!i"), struct.Struct("!q")
_MOST_AT_ONCE = 1 << 16
_GLANCE_MS = 100


class Wire:
    """Sends and receives messages on a connection, which it makes non-blocking and which it owns."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._descriptor = connection.fileno()
        os.set_blocking(self._descriptor, False)
        self._received = bytearray()
        self._unsent = bytearray()
        self._sending = Lock()
        self._closed = False

    def fileno(self) -> int:
        """The descriptor to wait for; it is readable if there is something to :meth:`receive`."""
        return self._descriptor

    def send(self, message: bytes) -> None:
        """Send a message, or have a thread send what the other end does not take at once.

        Raises:
            OSError: the other end is closed.
        """
        with self._sending:
            if self._closed:  # the number of its descriptor may be another file's by now
                raise ConnectionResetError
            waits = bool(self._unsent)
            self._unsent += _header(len(message))
            self._unsent += message
            if not waits and self._write():
                start_thread(self._write_rest, "sending")

    def receive(self) -> list[bytes]:
        """Return the messages that have come whole, in order; none if one is still on its way.

        Raises:
            EOFError: the other end is closed, and every whole message has been returned.
            OSError: the connection was reset, or its bytes are not messages.
        """
        ended = False
        with suppress(BlockingIOError):
            while content := os.read(self._descriptor, _MOST_AT_ONCE):
                self._received += content
                if len(content) < _MOST_AT_ONCE:
                    break
            else:
                ended = True
        messages: list[bytes] = []
        begin = 0
        try:
            while (found := self._message_at(begin)) is not None:
                message, begin = found
                messages.append(message)
        except ConnectionAbortedError:
            if not messages:  # else those that came before are returned first, and the next call fails
                raise
        finally:
            del self._received[:begin]  # all at once, because the rest is moved
        if ended and not messages:
            raise EOFError
        return messages

    def close(self) -> None:
        """Close the connection. What was not sent by now is dropped. Safe to call twice."""
        with self._sending:
            self._closed = True
            self.connection.close()

    def _message_at(self, begin: int) -> tuple[bytes, int] | None:
        """Return the message that begins at an offset of what has come, and its end; None if it has not come whole.

        Raises:
            ConnectionAbortedError: there is no message.
        """
        received, content = self._received, begin + _SHORT.size
        if len(received) < content:
            return None
        (size,) = _SHORT.unpack_from(received, begin)
        if size == -1:
            content += _LONG.size
            if len(received) < content:
                return None
            (size,) = _LONG.unpack_from(received, begin + _SHORT.size)
        if size < 0:
            raise ConnectionAbortedError("a message of a negative size")
        end = content + size
        return None if len(received) < end else (bytes(memoryview(received)[content:end]), end)

    def _write(self) -> bool:
        """Write as much as the socket takes; returns whether there is more."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self._descriptor, self._unsent)]
        except BlockingIOError:
            return True
        except OSError:
            self._unsent.clear()
            raise
        return False

    def _write_rest(self) -> None:
        """Write what is left as the other end takes it, until it is closed or this end is."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        more = True
        while more:
            poll.poll(_GLANCE_MS)
            with self._sending, suppress(OSError):  # its owner finds out when it receives
                more = not self._closed and self._write()


def _header(size: int) -> bytes:
    return _SHORT.pack(size) if size < 1 << 31 else _SHORT.pack(-1) + _LONG.pack(size)
