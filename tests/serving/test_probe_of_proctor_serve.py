"""`proctor probe` looks at the policy of a `proctor serve`, which is a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK

MODULE = """
def steer(observation):
    return [0.25, -0.5 * observation["observation.state"][0]]

def broken(observation):
    raise RuntimeError("the network is out of order")
"""


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts `proctor serve` for a function: from the function's name to the server's address."""
    (tmp_path / "looked_at.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    started = []

    def start(name):
        words = ["serve", "--policy.type=function", f"--policy.function=looked_at:{name}", "--port=0"]
        process = subprocess.Popen([sys.executable, "-m", "proctor", *words], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return next(found[0] for line in process.stdout if (found := re.search(r"ws://\S+:\d+", line)))

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)
    sys.modules.pop("looked_at", None)


@pytest.fixture
def probe(capsys):
    """Runs `proctor probe --json`: from options to exit status and what is printed."""

    def run(*options):
        status = main(["probe", *options, f"--env.type={FAKE_BENCHMARK}", "--steps=5", "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


def test_a_served_policy_gives_what_it_gives_in_this_process(serve, probe):
    """The requests hold every array of the environment, and the server says of itself what its policy is."""
    status, found = probe("--policy.type=openpi", f"--policy.url={serve('steer')}")
    status_here, here = probe("--policy.type=function", "--policy.function=looked_at:steer")

    assert (status, status_here) == (0, 0)
    same = ("task", "actions", "observations", "instructions", "outcome", "steps", "sum_reward", "max_reward")
    assert {name: found[name] for name in same} == {name: here[name] for name in same}
    assert found["actions"]["n_chunks"] == found["latency"]["n"] == 5
    assert found["exactness"] == "bitwise"

    wire = found["wire"]
    assert {array["key"] for array in wire["arrays"]} == {array["key"] for array in found["observations"]}
    assert wire["values"]["prompt"] == found["instructions"][0]
    assert wire["values"]["proctor/episode_index"] == "0"
    assert wire["server"]["proctor"]["policy"]["function"] == found["policy"]["function"] == "looked_at:steer"
    assert wire["request_bytes"] > sum(array["n"] for array in wire["arrays"])
    assert wire["reply_bytes"] > 0


def test_the_error_of_a_served_policy_is_shown_with_what_was_sent(serve, probe):
    status, found = probe("--policy.type=openpi", f"--policy.url={serve('broken')}")

    assert status == 3
    assert "the network is out of order" in found["error"]
    assert found["outcome"] == "error"
    assert found["wire"]["arrays"]
    assert found["actions"] is None


def test_the_tables_show_the_server_and_its_policy(serve, capsys):
    status = main(
        ["probe", "--policy.type=openpi", f"--policy.url={serve('steer')}", f"--env.type={FAKE_BENCHMARK}", "--steps=5"]
    )

    out = capsys.readouterr().out
    assert status == 0
    assert "observation.image" in out
    assert "5 chunks of 1x2" in out
    assert "bitwise" in out
