"""Stand-in servers in processes of their own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = Path(__file__).with_name("stand_in.py")


class StandIn:
    """A server that can be killed and started again on the same port."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = list(arguments)
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self, *arguments: str) -> None:
        words = [sys.executable, str(STAND_IN), *self.arguments, *arguments, f"--port={self.port}"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.strip().isdigit(), "the server did not start"
        self.port = int(line)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    @property
    def url(self) -> str:
        scheme = "tcp" if self.arguments[0].startswith("groot") else "ws"
        return f"{scheme}://127.0.0.1:{self.port}"


@pytest.fixture
def serve():
    """Starts a stand-in server: a function from its arguments to it."""
    servers = []

    def start(*arguments: str) -> StandIn:
        servers.append(StandIn(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def free_port():
    """A port on which no process listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
