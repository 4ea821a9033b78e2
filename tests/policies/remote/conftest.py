"""Stand-in servers in processes of their own, and the real openpi client in an environment of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")
# Pillow 13 rounds the resizing of tall images otherwise than Pillow 12, so both sides have the same one.
PILLOW = version("pillow")
ORACLE = REPOSITORY / f".venv-openpi-pillow-{PILLOW}"
ORACLE_NEEDS = ["openpi-client==0.1.2", "typing_extensions", "websockets>=14", "numpy<2", f"pillow=={PILLOW}"]


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
    """A port on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="session")
def openpi_python():
    """The interpreter of an environment that has the real ``openpi-client``, which needs numpy before 2."""
    python = ORACLE / "bin" / "python"
    if not any(ORACLE.glob("lib/*/site-packages/openpi_client")):
        commands = [[sys.executable, "-m", "venv", str(ORACLE)], [str(python), "-m", "pip", "install", *ORACLE_NEEDS]]
        for command in commands:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"the environment of openpi-client cannot be made: {done.stderr.strip()[-300:]}")
    return str(python)
