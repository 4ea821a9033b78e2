"""The other side of a call: ``python -m proctor.child.callee CONNECTION`` with the request on standard input."""

from __future__ import annotations

import inspect
import os
import pkgutil
import select
import signal
import sys
import threading
from collections.abc import Callable
from itertools import chain, repeat
from multiprocessing.connection import Connection
from typing import Any, get_type_hints

import msgspec

from proctor.child import declare_own_process
from proctor.child.calls import Message, Progress, Raised, Request, Returned, encode
from proctor.errors import ProctorError


def main() -> None:
    """Call the function and send what it returns. Any other exception than Proctor's own becomes a traceback on
    standard error and exit status 1.
    """
    declare_own_process()
    connection = Connection(int(sys.argv[1]), readable=False)
    os.set_inheritable(connection.fileno(), False)
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    threading.Thread(target=_end_with_caller, args=(connection.fileno(),), daemon=True).start()
    connection.send_bytes(encode(_answer(request, lambda message: connection.send_bytes(encode(message)))))
    connection.close()


def _answer(request: Request, send: Callable[[Message], None]) -> Message:
    options = {"on_progress": lambda sentence: send(Progress(sentence))} if request.reports else {}
    try:
        function = pkgutil.resolve_name(request.function)
        return Returned(msgspec.Raw(encode(function(*_arguments(function, request.arguments), **options))))
    except ProctorError as error:
        return Raised(error.packed())


def _arguments(function: Callable[..., Any], encoded: list[msgspec.Raw]) -> list[Any]:
    """Decode arguments to what the function's annotations say, to plain values if it has none."""
    annotations = get_type_hints(function)
    hints = [annotations.get(name, Any) for name in inspect.signature(function).parameters]
    return [msgspec.msgpack.decode(raw, type=hint) for raw, hint in zip(encoded, chain(hints, repeat(Any)))]  # noqa: B905


def _end_with_caller(descriptor: int) -> None:
    """End this process and its group once the other end of the connection is closed: the caller has ended."""
    poll = select.poll()
    poll.register(descriptor, 0)  # POLLERR is always reported
    poll.poll()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
