"""A benchmark in somebody else's package, installed as one installs packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import proctor

SOURCES = Path(__file__).parent / "plugin_package"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the package is installed, and what tests of it write."""
    place = tmp_path_factory.mktemp("plugin")
    shutil.copytree(SOURCES, place / "sources")
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    run(place, *install, "--disable-pip-version-check", "--target", str(place / "installed"), str(place / "sources"))
    return place


def run(place, *arguments, status=0):
    environment = {**os.environ, "PYTHONPATH": str(place / "installed"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed_and_broken_ones_beside_it_are_not_fatal(place):
    """With what is missing of its own extra, and why the others cannot be used."""
    entries = {
        entry["name"]: entry for entry in json.loads(run(place, "-m", "proctor", "list", "--json"))["benchmarks"]
    }

    assert entries["sliding"]["summary"].startswith("Sliding: a puck on a line")
    assert "numpy" in entries["sliding"]["present"]
    assert entries["sliding"]["missing"] == ["a-simulator-that-nobody-has>=3"]
    assert entries["sliding"]["install"] == "pip install 'proctor-sliding[sliding]'"
    assert "proctor_sliding has no 'Sunk'. Known: Benchmark, Box," in entries["sunk"]["problem"]
    assert "No module named 'proctor_lost'" in entries["lost"]["problem"]
    assert entries["pusht"]["usable"]
    assert not any(entries[name]["usable"] for name in ("sliding", "sunk", "lost"))
    assert "slide-v1" in run(place, "-m", "proctor", "list", "sliding")


@pytest.mark.parametrize("name", ["sliding", "proctor_sliding:Sliding"])
def test_it_is_evaluated_by_its_name_or_its_address(place, name):
    """Its own options, its own expert; its version is in the fingerprint."""
    directory = place / name.replace(":", "_")
    arguments = ["-m", "proctor", "eval", "--policy.type=expert", f"--env.type={name}", "--env.friction=0.3"]
    run(place, *arguments, "--eval.n_episodes=4", "--eval.n_episodes_to_render=1", f"--output_dir={directory}")
    written = json.loads((directory / "run.json").read_text())

    assert json.loads((directory / "eval_info.json").read_text())["overall"]["pc_success"] == 100
    assert written["fingerprint"]["versions"]["proctor-sliding"] == "2.1.0"
    assert written["fingerprint"]["env"]["friction"] == 0.3
    assert [path.name for path in directory.rglob("*.mp4")] == ["eval_episode_0.mp4"]


def test_it_runs_under_a_python_in_which_it_is_not_installed(place, python_310):
    """Installed beside Proctor's packages, it is brought along without them, and with its version."""
    (place / "site-packages").symlink_to("installed")
    environment = {**os.environ, "PYTHONPATH": f"{place / 'site-packages'}:{Path(proctor.__file__).parents[1]}"}
    command = [sys.executable, "-m", "proctor", "eval", "--policy.type=expert", "--env.type=sliding"]
    command += [f"--env.python={python_310}", "--eval.n_episodes=4", "--eval.video=none", "--output_dir=there"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((place / "there" / "eval_info.json").read_text())["overall"]["pc_success"] == 100
    fingerprint = json.loads((place / "there" / "run.json").read_text())["fingerprint"]
    assert fingerprint["versions"]["proctor-sliding"] == "2.1.0"
    assert "code" not in fingerprint


def test_it_inherits_the_conformance_kit(place):
    """With one fixture. A benchmark that breaks its promises is told which, and where."""
    out = run(place, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(place / "sources/check_sliding.py"), status=1)
    failed = set(re.findall(r"^FAILED \S*::(\w+::\w+)", out, re.MULTILINE))

    assert failed == {
        "TestDrifting::test_looking_changes_nothing_and_always_shows_the_same",
        "TestDrifting::test_an_episode_does_not_depend_on_those_before_it",
        "TestDrifting::test_replayed_and_filmed_it_is_the_same",
        "TestDrifting::test_nobody_spends_time_looking_at_what_is_not_asked_for",
    }
    assert "after three other episodes, 'state' after 1 steps is" in out
