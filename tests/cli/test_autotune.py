"""``proctor autotune`` at the terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proctor import tuning
from proctor.cli import main
from proctor.config import RunConfig
from proctor.machine.hardware import descendants

RANDOM = ["--policy.type=random", "--env.type=pusht", "--env.episode_length=20"]


@pytest.fixture(scope="module")
def recommendation():
    """Of a real simulator on this machine, measured once."""
    env = {"type": "pusht", "episode_length": 20}
    return tuning.recommend(RunConfig(policy={"type": "random"}, env=env), seconds=0.5)


@pytest.fixture
def asked(monkeypatch, recommendation):
    """What the command asks for; it is given the recommendation at once."""
    asked = []

    def recommend(config, *, seconds, on_progress):
        asked.append((config, seconds))
        return recommendation

    monkeypatch.setattr(tuning, "recommend", recommend)
    return asked


def test_it_says_what_was_measured_why_and_what_to_run(asked, capsys):
    """The last line can be pasted."""
    assert main(["autotune", *RANDOM, "--eval.n_episodes=7", "--seconds=3"]) == 0

    ((config, seconds),) = asked
    assert (config.policy, config.eval.n_episodes, seconds) == ({"type": "random"}, 7, 3.0)
    out = capsys.readouterr().out
    assert out.startswith("measured")
    for text in ("cores", "reset, step", "of a core", "episodes/h", "recommended", "The model"):
        assert text in out
    last = out.strip().splitlines()[-1]
    assert last.startswith("proctor eval --policy.type=random --env.type=pusht --env.episode_length=20")
    assert "--eval.batch_size=" in last


def test_json_has_everything(asked, recommendation, capsys):
    """And nothing else is printed."""
    assert main(["autotune", *RANDOM, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["num_shards"] == recommendation.num_shards
    assert found["batch_size"] == recommendation.batch_size
    assert found["episodes_per_hour"] == recommendation.episodes_per_hour > 0
    assert found["costs"]["n_ended"] > 0
    assert found["command"] == recommendation.command


def test_a_time_that_cannot_be(capsys):
    """One sentence."""
    assert main(["autotune", *RANDOM, "--seconds=0"]) == 2
    assert "--seconds is 0; it must be positive." in capsys.readouterr().err


def test_ctrl_c_leaves_nothing_behind():
    """As at a terminal, where all processes of the group are interrupted; the exit status says so."""
    unignored = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # as in a background job
    command = f"{unignored}; import sys; from proctor.cli import main; sys.exit(main())"
    arguments = ["autotune", *RANDOM, "--seconds=60"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        start_new_session=True,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 120
    while len(started := descendants(process.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.0)

    os.killpg(process.pid, signal.SIGINT)

    _, errors = process.communicate(timeout=120)
    assert len(started) >= 2
    assert process.returncode == 130
    assert b"Interrupted." in errors
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
