"""``proctor probe`` at the terminal."""

from __future__ import annotations

import json
import tempfile

import pytest

from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK

ENV = f"--env.type={FAKE_BENCHMARK}"
FUNCTION = """
def outside(observation):
    return [3.0, 0.5 * observation["observation.state"][0]]

def broken(observation):
    return [0.0, float("nan")]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with functions, and a folder for temporary files."""
    working, temporary = tmp_path / "here", tmp_path / "temporary"
    working.mkdir()
    temporary.mkdir()
    (working / "probed_policies.py").write_text(FUNCTION)
    monkeypatch.chdir(working)
    monkeypatch.syspath_prepend(str(working))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return tmp_path


def probe(name, *others):
    return main(["probe", "--policy.type=function", f"--policy.function=probed_policies:{name}", ENV, *others])


def left_behind(folder):
    return (
        {path.name for path in folder.rglob("*")}
        - {"here", "temporary", "probed_policies.py", "__pycache__"}
        - {path.name for path in folder.rglob("*.pyc")}
    )


def test_what_goes_in_and_what_comes_back_is_tabled_and_nothing_is_left_behind(capsys, folder):
    status = probe("outside", "--steps=5")

    out, err = capsys.readouterr()
    assert status == 0, err
    assert "observation.image" in out
    assert "1x8x8x3" in out
    assert "'steer to 0'" in out
    assert "5 chunks of 1x2" in out
    assert "100.0 %" in out
    assert "no success in 5 steps" in out
    assert "Warning: 100 % of the actions are outside" in out
    assert "Dimension 0 of the actions is 3 in all 5 actions." in out
    assert left_behind(folder) == set()


def test_json_has_the_same_numbers(capsys):
    assert probe("outside", "--steps=5", "--json") == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["task"], found["steps"], found["outcome"]) == ("task-0", 5, "failure")
    assert [each["key"] for each in found["observations"]] == ["observation.image", "observation.state"]
    assert found["actions"]["dimensions"][0] == {
        "index": 0,
        "low": 3.0,
        "high": 3.0,
        "mean": 3.0,
        "bounds": [-1.0, 1.0],
        "outside": 1.0,
    }
    assert found["latency"]["n"] == 5
    assert len(found["warnings"]) == 2


def test_an_episode_that_ends_in_an_error_is_tabled_and_the_exit_status_says_so(capsys):
    assert probe("broken") == 3

    out = " ".join(capsys.readouterr().out.split())
    assert "the policy gave nan as action[1] of step 0; expected finite" in out
    assert "Warning: The actions hold numbers that are NaN or infinite (1 of them)." in out
    assert "Nothing looks odd." not in out


def test_a_policy_beside_the_simulator_has_actions_only(capsys):
    assert main(["probe", "--policy.type=zero", ENV, "--steps=5"]) == 0

    out = capsys.readouterr().out
    assert "the policy runs beside the simulator" in out
    assert "1 chunk of 5x2" in out


def test_what_cannot_be_run_is_one_sentence(capsys):
    """As for eval."""
    assert main(["probe", "--policy.type=zero", "--env.type=pushed"]) == 2
    assert "Did you mean" in capsys.readouterr().err


def test_no_steps_are_one_sentence(capsys):
    assert main(["probe", "--policy.type=zero", ENV, "--steps=0"]) == 2
    assert "steps is 0; it must be at least 1." in capsys.readouterr().err
