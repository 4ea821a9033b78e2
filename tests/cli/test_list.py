"""``proctor list``: what there is to evaluate, and with what."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from proctor.benchmarks.metaworld.tasks import GROUPS, INSTRUCTIONS
from proctor.cli import listing, main
from proctor.plugins import BENCHMARKS, Requirements, installed


def listed(capsys, *arguments):
    assert main(["list", *arguments]) == 0
    return capsys.readouterr().out


def test_benchmarks_and_policies_are_listed_with_what_they_are(capsys, monkeypatch):
    """Each in a row, on terminals of any width."""
    for width in ("60", "100", "160"):
        monkeypatch.setenv("COLUMNS", width)
        out = listed(capsys)

        for name in ("pusht", "metaworld", "gymnasium", "lerobot", "expert", "function"):
            assert any(line.startswith(f"{name} ") for line in out.splitlines()), name
        assert max(map(len, out.splitlines())) <= int(width)


def test_what_is_not_installed_is_listed_with_the_command_that_installs_it(capsys, monkeypatch):
    """It is missing, not an error."""
    missing = Requirements({"mujoco": "3.8.1"}, ("metaworld==3.1.1",), "pip install 'proctor-eval[metaworld]'")
    whole = Requirements({}, (), "")
    monkeypatch.setattr(listing, "requirements_of", lambda point: missing if point.name == "metaworld" else whole)

    out = listed(capsys)
    entries = {entry["name"]: entry for entry in json.loads(listed(capsys, "--json"))["benchmarks"]}

    assert "missing: metaworld==3.1.1" in out
    assert "pip install 'proctor-eval[metaworld]'" in out
    assert not entries["metaworld"]["usable"]
    assert entries["metaworld"]["install"] == "pip install 'proctor-eval[metaworld]'"
    assert entries["pusht"]["usable"]


def test_what_an_environment_of_its_own_has_can_be_used(capsys, monkeypatch):
    """Else the command is listed that creates it."""
    missing = Requirements({}, ("metaworld==3.1.1",), "pip install 'proctor-eval[metaworld]'")
    monkeypatch.setattr(listing, "requirements_of", lambda _: missing)
    assert "proctor env create metaworld" in listed(capsys)

    class Created:
        name = "metaworld"

    monkeypatch.setattr(listing, "environments_for", lambda name: [Created] if name == "metaworld" else [])
    entries = {entry["name"]: entry for entry in json.loads(listed(capsys, "--json"))["benchmarks"]}

    assert "runs in the environment 'metaworld'" in listed(capsys)
    assert (entries["metaworld"]["usable"], entries["metaworld"]["environment"]) == (True, "metaworld")
    assert (entries["pusht"]["usable"], entries["pusht"]["environment"]) == (False, None)


def test_a_broken_plug_in_is_listed_as_broken(capsys, monkeypatch):
    """And the others are listed none the less."""
    broken = EntryPoint("shattered", "no_such_module_of_ours:Benchmark", BENCHMARKS)
    points = {"shattered": broken, **installed(BENCHMARKS)}
    monkeypatch.setattr(listing, "installed", lambda group: points if group == BENCHMARKS else {})

    entries = {entry["name"]: entry for entry in json.loads(listed(capsys, "--json"))["benchmarks"]}

    assert "No module named 'no_such_module_of_ours'" in entries["shattered"]["problem"]
    assert not entries["shattered"]["usable"]
    assert entries["pusht"]["problem"] is None
    assert "No module named" in " ".join(listed(capsys).split())


def test_the_tasks_of_a_benchmark_are_listed_once_with_their_groups(capsys):
    """What ``--env.task`` takes."""
    content = json.loads(listed(capsys, "metaworld", "--json"))

    assert content["groups"] == {group: len(names) for group, names in GROUPS.items()}
    assert sorted(task["task"] for task in content["tasks"]) == sorted(INSTRUCTIONS)
    (reach,) = [task for task in content["tasks"] if task["task"] == "reach-v3"]
    assert reach == {
        "task": "reach-v3",
        "instruction": "Reach a goal position",
        "max_episode_steps": 500,
        "groups": ["easy", "MT10", "MT50"],
    }


def test_groups_are_listed_below_the_tasks(capsys):
    """With how many tasks they hold."""
    out = listed(capsys, "metaworld")

    assert out.splitlines()[1].split()[:2] == ["button-press-v3", "500"]
    assert "Groups: easy (28 tasks)" in out
    assert "Groups" not in listed(capsys, "pusht")


def test_long_names_are_whole_on_a_narrow_terminal(capsys, monkeypatch):
    """They are there to be copied."""
    monkeypatch.setenv("COLUMNS", "40")
    lines = listed(capsys, "metaworld").splitlines()

    name = "button-press-topdown-wall-v3"
    assert lines[lines.index(name) + 1] == "    easy · MT50 · 500 steps · Bypass a wall and press a button from the top"


@pytest.mark.parametrize(
    ("name", "message"),
    [("metawrld", "Did you mean 'metaworld'?"), ("gymnasium", "the id of an environment, such as CartPole-v1")],
)
def test_what_cannot_be_listed_is_reported_in_a_sentence(capsys, name, message):
    """Exit status 2."""
    assert main(["list", name]) == 2
    assert message in capsys.readouterr().err


def test_listing_imports_no_simulator():
    """It answers at once, installed or not."""
    script = "import sys\nfrom proctor.cli import main\nmain(['list']); main(['list', 'metaworld'])\n"
    script += "heavy = {'mujoco', 'metaworld', 'gym_pusht', 'pygame', 'torch', 'lerobot', 'scipy'}\n"
    script += "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
