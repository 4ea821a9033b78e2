"""``proctor profile``: where the time went, from the files alone."""

from __future__ import annotations

import json

import pytest

from proctor import evaluate
from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An evaluation of two tasks of two episodes in one process, in two sessions."""
    directory = tmp_path_factory.mktemp("profile") / "run"
    for n_episodes in (1, 2):
        fields = {"n_episodes": n_episodes, "use_async_envs": False}
        env = {"type": FAKE_BENCHMARK, "step_seconds": 0.005}
        result = evaluate({"type": "expert"}, env, output_dir=directory, **fields)
    return result


def test_bars_and_tasks_add_up(finished, capsys):
    """A bar for each kind of work, a row for each task."""
    assert main(["profile", str(finished.directory)]) == 0

    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "with 1 worker:" in out
    assert set(lines["step"]) & set("█▉▊▋▌▍▎▏")
    assert lines["total"].split()[1:3] == ["100.0", "%"]
    assert {"task-0", "task-1"} <= lines.keys()
    shares = [float(lines[name].split()[-4]) for name in lines if lines[name].endswith(" s") and "%" in lines[name]]
    assert sum(shares) == pytest.approx(200.0, abs=1.0)  # the total is one of them


def test_json_adds_up_to_the_wall_time_of_all_sessions(finished, capsys):
    """One worker: its parts are the wall time."""
    assert main(["profile", str(finished.directory), "--json"]) == 0

    profile = json.loads(capsys.readouterr().out)
    assert sum(profile["total"].values()) == pytest.approx(profile["worker_s"])
    assert profile["worker_s"] == pytest.approx(profile["wall_s"])
    assert profile["total"]["step"] >= 0.005 * sum(e["length"] for e in finished.info["per_episode"])


def test_a_directory_without_a_run_is_reported(tmp_path, capsys):
    """In a sentence."""
    assert main(["profile", str(tmp_path)]) == 2

    assert "holds no run" in capsys.readouterr().err
