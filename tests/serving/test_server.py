"""`proctor serve` from the other end of the wire: a real process, real websockets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from proctor.policies.remote.codec import pack, unpack
from proctor.policies.remote.extension import EXTENSION, Offer, describe_features
from proctor.types import ArraySpec, Features

POLICY = """
import time
import numpy as np
def policy(observation):
    time.sleep({sleep})
    if observation["observation.state"][0] == 13:
        raise RuntimeError("unlucky")
    return np.tile(observation["observation.state"].astype(np.float32), (3, 1))
"""
STATE = np.arange(2.0)


class Served:
    """A server's process and its address."""

    def __init__(self, process, url):
        self.process, self.url = process, url

    @property
    def http(self):
        return self.url.replace("ws://", "http://")

    def connect(self, **options):
        return connect(self.url, compression=None, max_size=None, **options)

    def get(self, path, headers=None):
        request = urllib.request.Request(self.http + path, headers=headers or {})
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode()


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts `proctor serve` of a function, with options."""
    started = []

    def start(*options, sleep=0.0, environment=None):
        (tmp_path / "served_function.py").write_text(POLICY.format(sleep=sleep))
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "proctor", "serve", "--policy.type=function"),
                *("--policy.function=served_function:policy", "--port=0", *options),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{tmp_path}", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"ws://\S+", line):
                return Served(process, found[0])
        raise AssertionError("".join(lines))

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ask(client, message):
    client.send(pack(message))
    answer = client.recv(timeout=20)
    return answer if isinstance(answer, str) else unpack(answer)


def test_a_client_of_openpi_gets_metadata_and_then_actions(serve):
    with serve().connect() as client:
        greeting = unpack(client.recv(timeout=20))
        answer = ask(client, {"observation.state": STATE, "prompt": "steer to 0"})

    assert set(greeting) == {EXTENSION}
    np.testing.assert_array_equal(answer["actions"], np.tile(STATE.astype(np.float32), (3, 1)))
    assert answer["policy_timing"]["infer_ms"] > 0
    assert answer["server_timing"]["infer_ms"] > 0


def test_an_error_is_a_text_and_the_client_may_go_on(serve):
    with serve().connect() as client:
        client.recv(timeout=20)
        failed = ask(client, {"observation.state": np.full(2, 13.0)})
        not_understood = ask(client, {"observation.state": [1, 2]})
        answered = ask(client, {"observation.state": STATE})

    assert isinstance(failed, str)
    assert "unlucky" in failed
    assert "every value but prompt must be an array" in not_understood
    assert "actions" in answered


def test_bytes_that_are_no_message_are_refused_in_a_sentence(serve):
    with serve().connect() as client:
        client.recv(timeout=20)
        client.send(b"\xc1 nonsense")
        assert "cannot be decoded" in client.recv(timeout=20)
        client.send("text")
        assert client.recv(timeout=20) == "A request is a binary message."
        assert "actions" in ask(client, {"observation.state": STATE})


def test_an_evaluation_that_lost_its_server_starts_the_episode_again(serve):
    tag = {"client": "a", "suite": "fake", "task_id": 0, "episode_index": 0, "seed": 1000}
    with serve().connect() as client:
        client.recv(timeout=20)
        answers = [
            ask(client, {"observation.state": STATE[np.newaxis], EXTENSION: {**tag, "look": look}})
            for look in (3, 0, 1, 3)
        ]

    assert [answer.get(EXTENSION, {}).get("kind") for answer in answers] == ["restart", None, None, "restart"]


def test_a_policy_is_compared_with_an_environment_before_the_first_episode(serve):
    features = Features({"observation.state": ArraySpec((2,), "float64")}, ArraySpec((2,), "float32"))
    with serve().connect() as client:
        client.recv(timeout=20)
        assert ask(client, describe_features(features)) == {EXTENSION: {"status": "fits"}}
        refused = ask(client, {**describe_features(features), "action": "two"})

    assert refused[EXTENSION]["kind"] == "request"


def test_health_and_numbers_are_served_beside_it(serve):
    served = serve()
    with served.connect() as client:
        client.recv(timeout=20)
        ask(client, {"observation.state": STATE})
        metrics = served.get("/metrics")

    assert served.get("/healthz") == "ok\n"
    assert "proctor_clients 1.0" in metrics
    assert 'proctor_requests_total{outcome="answered"} 1.0' in metrics
    assert "proctor_request_seconds_count 1.0" in metrics


def test_a_token_is_asked_of_everybody_but_the_health_check(serve):
    served = serve("--token_env=SERVED_TOKEN", environment={"SERVED_TOKEN": "open sesame"})

    assert served.get("/healthz") == "ok\n"
    for headers in ({}, {"Authorization": "Api-Key wrong"}):
        with pytest.raises(InvalidStatus) as refused:
            served.connect(additional_headers=headers)
        assert refused.value.response.status_code == 401
        with pytest.raises(HTTPError, match="401"):
            served.get("/metrics", headers)
    for scheme in ("Api-Key", "Bearer"):
        with served.connect(additional_headers={"Authorization": f"{scheme} open sesame"}) as client:
            assert client.recv(timeout=20)


def test_no_page_in_a_browser_can_connect(serve):
    with pytest.raises(InvalidStatus) as refused:
        serve().connect(origin="http://localhost:3000")

    assert refused.value.response.status_code == 403


def test_without_a_token_only_this_machine_can_connect(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "proctor", "serve", "--policy.type=function", "--host=0.0.0.0"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "--token_env" in done.stderr


def test_a_message_that_is_too_large_ends_the_connection_not_the_server(serve):
    served = serve("--max_message_mb=1")
    with served.connect() as client:
        client.recv(timeout=20)
        client.send(pack({"observation.state": np.zeros(1 << 20)}))
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=20)
    with served.connect() as client:
        client.recv(timeout=20)
        assert "actions" in ask(client, {"observation.state": STATE})


def test_a_client_too_many_is_told_so(serve):
    served = serve("--max_clients=1")
    with served.connect() as client:
        client.recv(timeout=20)
        with pytest.raises(InvalidStatus) as refused:
            served.connect()

    assert refused.value.response.status_code == 503


def test_a_connection_without_requests_is_closed(serve):
    with serve("--idle_timeout_s=0.3").connect() as client:
        client.recv(timeout=20)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=20)

    assert closed.value.rcvd.code == 1001


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_requests_under_way_be_answered(serve, number):
    served = serve(sleep=1.0)
    with served.connect() as busy, served.connect() as idle:
        busy.recv(timeout=20)
        idle.recv(timeout=20)
        with ThreadPoolExecutor(1) as pool:
            busy.send(pack({"observation.state": STATE}))
            answering = pool.submit(busy.recv, timeout=20)
            while "proctor_requests_waiting 1.0" not in served.get("/metrics"):
                pass
            served.process.send_signal(number)
            assert "actions" in unpack(answering.result())
        with pytest.raises(ConnectionClosed):
            idle.recv(timeout=20)

    assert served.process.wait(20) == 0


def test_the_offer_says_what_an_evaluation_depends_on(serve):
    import msgspec

    with serve().connect() as client:
        offer = msgspec.convert(unpack(client.recv(timeout=20))[EXTENSION], Offer)

    assert offer.policy["type"] == "function"
    assert (offer.look_offsets, offer.version) == ((0,), 1)
