"""``proctor env``: what it prints, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proctor.cli import env, main
from proctor.interpreters import installers

RECIPE = """
summary = "Nothing"
benchmarks = ["tiny"]
python = ">=3.10"
packages = ["numpy"]
licence = "MIT"
disk_mb = 1
check = "print('the check ran')"
downloads = "Its assets must be fetched by hand."
"""


class LinkedInstaller(installers.Installer):
    """Makes an environment whose interpreter starts this one, and installs nothing."""

    name, version, needs_pip, when_it_fails = "link", "", False, ""

    def make(self, python, folder):
        script = f"""printf '#!/bin/sh\nexec {sys.executable} "$@"\n' > {folder}/bin/python"""
        return ["/bin/sh", "-c", f"mkdir -p {folder}/bin && {script} && chmod +x {folder}/bin/python"]

    def install(self, folder, packages, constraints):
        return ["/bin/sh", "-c", "echo installing; exit ${FAILS:-0}"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of the test's environments, and the working directory with a recipe."""
    monkeypatch.setenv("PROCTOR_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(installers, "choose_installer", lambda _: LinkedInstaller())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(RECIPE)
    return tmp_path / "environments"


def listed(capsys):
    capsys.readouterr()
    assert main(["env", "list", "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["environments"]}


def test_an_environment_is_created_listed_located_and_removed(capsys, folder):
    assert main(["env", "create", "./tiny.toml"]) == 0
    out = capsys.readouterr().out
    assert "tiny: Nothing (MIT, about 1 MB)" in out
    assert "Checking it" in out
    assert "Created in" in out
    assert "Its assets must be fetched by hand." in out
    assert "the check ran" not in out

    assert main(["env"]) == 0
    out = capsys.readouterr().out
    assert "ready" in out
    assert "not created" in out
    assert str(folder) in out

    row = listed(capsys)["tiny"]
    assert row["state"] == "ready"
    assert row["benchmarks"] == ["tiny"]
    assert row["recipe"] == str(Path("tiny.toml").absolute())
    assert main(["env", "path", "tiny"]) == 0
    assert capsys.readouterr().out.strip() == row["interpreter"] == f"{row['path']}/bin/python"

    assert main(["env", "create", "tiny.toml"]) == 0
    assert "It was there already" in capsys.readouterr().out
    assert main(["env", "remove", "tiny"]) == 0
    assert "Removed tiny (0 MB)" in capsys.readouterr().out
    assert main(["env", "remove", "--all"]) == 0
    assert "There is nothing to remove." in capsys.readouterr().out
    assert "tiny" not in listed(capsys)


def test_verbose_prints_what_the_programs_print(capsys):
    assert main(["env", "create", "tiny.toml", "--verbose"]) == 0

    out = capsys.readouterr().out
    assert "installing" in out
    assert "the check ran" in out


def test_a_failure_is_a_sentence_with_the_last_lines(capsys, monkeypatch, folder):
    monkeypatch.setenv("FAILS", "3")

    assert main(["env", "create", "tiny.toml"]) == 2

    assert "failed with status 3" in (err := capsys.readouterr().err)
    assert err.rstrip().endswith("installing")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create"], "Which environment? Give its name: proctor env create NAME"),
        (["path"], "Which environment? Give its name: proctor env path NAME"),
        (["path", "xarm"], "The environment 'xarm' is not created; create it with: proctor env create xarm"),
        (["create", "xram"], "There is no recipe 'xram'. Did you mean 'xarm'?"),
        (["create", "tiny.toml", "--stale"], "--stale has no meaning for proctor env create; leave it out."),
        (["list", "--installer=pip"], "--installer has no meaning for proctor env list; leave it out."),
        (["remove"], "Give proctor env remove a name, --stale or --all"),
        (["create", "tiny.toml", "--python=/gone"], "--python: /gone is not a CPython that starts"),
        (["create", "tiny.toml", "--python=3.6"], "No Python >=3.10,==3.6.* is installed here"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_a_sentence(arguments, sentence, capsys):
    assert main(["env", *arguments]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_every_action_has_its_options():
    """Every option of the command belongs to an action."""
    options = {name for names in env._WITH_OPTIONS.values() for name in names}

    assert options == set(env.env_command.__kwdefaults__)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_creation_leaves_nothing(number, folder):
    """Neither by Ctrl-C nor by SIGTERM; the exit status is that of the signal."""
    Path("slow.toml").write_text(RECIPE.replace("print('the check ran')", "import time; time.sleep(600)"))
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import test_env_command as t; "
        "t.installers.choose_installer = lambda _: t.LinkedInstaller(); "
        "sys.exit(t.main(['env', 'create', 'slow.toml']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with process:
        for line in process.stdout:
            if "Checking it" in line:
                break
        time.sleep(0.2)
        process.send_signal(number)
        assert "Interrupted." in process.stdout.read()

    assert process.returncode == 128 + number
    assert not list(folder.iterdir())
