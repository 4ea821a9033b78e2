"""Ctrl-C and SIGTERM end a command at once, whatever it waits for of a server.

The time limits of the waits are minutes, so a command that waited for one of them would exceed the limit of the test.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from time import monotonic, sleep

import pytest
from samples import fields
from websockets.sync.server import serve as websocket_server

from proctor.policies.remote.codec import pack

ENDED_WITHIN_S = 120.0
LONG = {"connect_timeout_s": 600, "timeout_s": 600, "reconnect_timeout_s": 600}
SIGNALS = pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


class Listener:
    """Listens on a port, does ``behaviour`` with each connection, and counts them."""

    def __init__(self, behaviour):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.n_connections, self._behaviour, self._kept = 0, behaviour, []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self):
        return self._socket.getsockname()[1]

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            self.n_connections += 1
            self._kept.append(connection)
            self._behaviour(connection)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._kept:
            connection.close()


@pytest.fixture
def listen():
    listeners = []

    def start(behaviour=lambda _: None):
        listeners.append(Listener(behaviour))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def interrupted(tmp_path):
    """Sends a signal to a command as soon as ``reached`` is true, and gives its exit status."""

    evaluation = ["--env.type=proctor.testing.fakes:FakeBenchmark", "--eval.video=none", f"--output_dir={tmp_path}/run"]

    def run(given, reached, number, command="eval"):
        words = [f"--policy.{name}={value}" for name, value in (given | LONG).items()]
        words += evaluation if command == "eval" else ["--port=0"]
        command = [sys.executable, "-m", "proctor", command, *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                until = monotonic() + ENDED_WITHIN_S
                while not reached() and monotonic() < until and process.poll() is None:
                    sleep(0.05)
                process.send_signal(number)
                began = monotonic()
                _, said = process.communicate(timeout=ENDED_WITHIN_S)
                print(f"{monotonic() - began:.2f} s\n{said}")  # noqa: T201 - shown by pytest -rP
            finally:
                process.kill()
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    return run


@SIGNALS
def test_between_two_tries_to_connect(listen, interrupted, number, status):
    away = listen(lambda connection: connection.close())

    assert interrupted(fields(f"ws://127.0.0.1:{away.port}"), lambda: away.n_connections > 4, number) == status


@SIGNALS
@pytest.mark.parametrize("scheme", ["ws", "tcp"])
def test_in_a_handshake_that_is_not_answered(listen, interrupted, scheme, number, status):
    silent = listen()

    assert interrupted(fields(f"{scheme}://127.0.0.1:{silent.port}"), lambda: silent.n_connections, number) == status


@SIGNALS
def test_before_the_metadata(serve, interrupted, tmp_path, number, status):
    server = serve("openpi", "--fault=speechless", f"--record={tmp_path}")

    reached = (tmp_path / "connected").exists
    assert interrupted(fields(server.url), reached, number) == status


@pytest.fixture(params=["openpi", "groot", "vllm"])
def mute(serve, request, tmp_path):
    """A server of each kind that never replies."""
    return serve(request.param, "--fault=mute", f"--record={tmp_path}")


@SIGNALS
def test_before_a_reply(mute, interrupted, tmp_path, number, status):
    """vLLM-Omni's first request resets a session."""
    assert interrupted(fields(mute.url), (tmp_path / "000000").exists, number) == status


@SIGNALS
def test_before_a_proctor_serve_says_whether_its_policy_fits(interrupted, number, status):
    offer = {"policy": {"type": "fake"}, "n_action_steps": 3, "look_offsets": [0], "episodes_per_pass": 1}
    offer |= {"inference_batch_size": 1, "inference_threads": 1}
    checks = []

    def answer(connection):
        connection.send(pack({"proctor": offer}))
        for message in connection:
            checks.append(message)  # noqa: PERF402 - each as it comes

    with websocket_server(answer, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        given = {"type": "openpi", "url": f"ws://127.0.0.1:{server.socket.getsockname()[1]}"}
        assert interrupted(given, lambda: checks, number) == status
        server.shutdown()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_proctor_serve_while_it_connects_to_the_server_of_its_policy(listen, interrupted, number):
    """Nothing is under way, so it ends as a server that was told to end."""
    silent = listen()

    given = fields(f"ws://127.0.0.1:{silent.port}")
    assert interrupted(given, lambda: silent.n_connections, number, "serve") == 0
