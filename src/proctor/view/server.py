"""The server: binds a socket on this machine, and stops on Ctrl-C.

It stops within a second or two, even with open connections: streams of events check whether the server is about to
stop, and a replay that is running is terminated.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

import uvicorn

from proctor.errors import ConfigError
from proctor.view.app import Routes
from proctor.view.folder import RunFolder
from proctor.view.guard import Guard
from proctor.view.pages import Pages

_GRACE_S = 1


class Viewer:
    """Serves the runs in the folder ``root``. The address is bound at construction; ``port`` 0 takes a free port.

    If ``may_be_missing`` is true, a folder that does not exist is shown as an empty one until it does.

    Raises:
        ConfigError: the folder does not exist, the address is not a loopback address, or the port cannot be used.
    """

    def __init__(self, root: Path, host: str = "127.0.0.1", port: int = 0, *, may_be_missing: bool = False) -> None:
        if not root.is_dir() and (root.exists() or not may_be_missing):
            raise ConfigError(f"{root} is not a folder; give one with runs in it, such as outputs.")
        address = _loopback(host)
        self._socket = _bind(address, port)
        self.port: int = self._socket.getsockname()[1]
        shown = f"[{address}]" if ":" in address else address
        self.url = f"http://{shown}:{self.port}/"
        token = secrets.token_urlsafe(32)
        hosts = frozenset(f"{name}:{self.port}" for name in (shown, "localhost"))
        addresses = Routes(RunFolder(root), Pages(token), lambda: self._server.should_exit)
        config = uvicorn.Config(
            Guard(addresses.application(), hosts, token),
            log_config=None,  # uvicorn's logging configuration would close the handlers of others
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            http="h11",
            loop="asyncio",
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = uvicorn.Server(config)

    def serve(self) -> None:
        """Serve until Ctrl-C, or until :meth:`stop` is called."""
        # When the server stops, uvicorn logs every request that is interrupted, such as a video; that is not an error.
        log, is_news = logging.getLogger("uvicorn.error"), lambda _: not self._server.should_exit
        log.addFilter(is_news)
        try:
            with self._socket, suppress(KeyboardInterrupt):  # uvicorn raises it again after it has stopped
                self._server.run([self._socket])
        finally:
            log.removeFilter(is_news)

    def stop(self) -> None:
        """Stop :meth:`serve`, which runs in another thread."""
        self._server.should_exit = True


def _loopback(host: str) -> str:
    """Return the address of ``host``, which must be a loopback address.

    Raises:
        ConfigError: it is another address.
    """
    name = "127.0.0.1" if host == "localhost" else host
    try:
        own = ipaddress.ip_address(name).is_loopback
    except ValueError:
        own = False
    if not own:
        raise ConfigError(
            f"--host is '{host}', but runs are only shown on this machine (127.0.0.1 or ::1). From elsewhere use a "
            "tunnel: ssh -L 8631:localhost:8631 THIS_MACHINE"
        )
    return name


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except OverflowError:
        raise ConfigError(f"--port is {port}; it must be between 1 and 65535, or 0 for a free one.") from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"Port {port} cannot be used: {reason}; give --port=0 for a free one.") from None
