"""The real `openpi-client` from PyPI, in an environment of its own, drives a process of `proctor serve`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

POLICY = """
import numpy as np


def policy(observation):
    state, image = observation["observation.state"], observation["observation.images.top"]
    if not state.any():
        raise RuntimeError("the state is zero")
    sentence = sum(map(ord, observation["instruction"]))
    return np.outer(np.arange(1, 4), [*state, image.mean(), sentence]).astype(np.float32)
"""
"""A function whose three actions depend on every part of the observation."""

REQUESTS = """
import numpy as np


def request(seed):
    generator = np.random.default_rng(seed)
    return {
        "observation.state": generator.normal(size=2).astype(np.float32) * bool(seed),
        "observation.images.top": generator.integers(0, 256, (8, 6, 3), dtype=np.uint8),
        "prompt": f"task {seed}",
    }
"""

CLIENT = """
import json
import sys

from openpi_client.websocket_client_policy import WebsocketClientPolicy

import requests_of_test

client = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]))
answers = [client.infer(requests_of_test.request(seed))["actions"] for seed in (1, 2)]
try:
    client.infer(requests_of_test.request(0))
except RuntimeError as raised:
    error = str(raised)
answers.append(client.infer(requests_of_test.request(3))["actions"])
print(json.dumps({"error": error, "actions": [[str(each.dtype), each.tolist()] for each in answers]}))
"""


@pytest.fixture
def port(tmp_path):
    """The port of a process of `proctor serve` with the function."""
    (tmp_path / "served_function.py").write_text(POLICY)
    (tmp_path / "requests_of_test.py").write_text(REQUESTS)
    (tmp_path / "client.py").write_text(CLIENT)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "proctor", "serve", "--policy.type=function"),
            *("--policy.function=served_function:policy", "--port=0"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{tmp_path}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield next(found[1] for line in process.stdout if (found := re.search(r"ws://\S+:(\d+)", line)))
    process.kill()
    process.communicate()


def test_the_client_receives_the_actions_of_the_policy_and_its_errors(openpi_python, port, tmp_path, monkeypatch):
    """The actions are equal to the bit; after an error, the same connection answers the next request."""
    done = subprocess.run(
        [openpi_python, "client.py", port], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300
    )
    answer = json.loads(done.stdout)
    monkeypatch.syspath_prepend(tmp_path)
    from requests_of_test import request
    from served_function import policy

    for seed, (dtype, actions) in zip((1, 2, 3), answer["actions"], strict=True):
        sent = request(seed)
        expected = policy({**sent, "instruction": sent["prompt"]})
        assert dtype == "float32"
        np.testing.assert_array_equal(np.array(actions, np.float32), expected)
    assert "RuntimeError: the state is zero" in answer["error"]
