"""Environments in a folder of the test's own, and an installer that installs nothing."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from proctor.interpreters.creation import Creation
from proctor.interpreters.installers import Installer
from proctor.interpreters.pythons import Python, ask
from proctor.interpreters.recipe import read_recipe

RECIPE = """
summary = "Nothing but what a worker needs"
benchmarks = ["tiny"]
python = ">=3.10"
packages = ["numpy", "msgspec", "gymnasium", "av"]
licence = "MIT"
disk_mb = 1
check = "import numpy"
"""

MAKES = """
import os, pathlib, sys
python = pathlib.Path(sys.argv[1], "bin", "python")
python.parent.mkdir(parents=True)
python.write_text(f'#!/bin/sh\\nexec {sys.executable} "$@"\\n')
python.chmod(0o755)
print("made")
"""


class Scripted(Installer):
    """Makes an environment whose interpreter is this one, and installs by running a Python script there."""

    name = "script"
    version = "1"
    needs_pip = False
    when_it_fails = "Scripts fail."

    def __init__(self, script: str = "print('installed')") -> None:
        self.script = script
        self.installed: list[tuple[list[str], list[str] | None]] = []

    def make(self, python, folder):
        return [sys.executable, "-c", MAKES, folder]

    def install(self, folder, packages, constraints):
        self.installed.append(([*packages], constraints and constraints.read_text().splitlines()))
        return [sys.executable, "-c", textwrap.dedent(self.script), folder]


@pytest.fixture(autouse=True)
def environments(tmp_path, monkeypatch):
    """The folder of all environments."""
    folder = tmp_path / "environments"
    monkeypatch.setenv("PROCTOR_ENVIRONMENTS", str(folder))
    return folder


@pytest.fixture
def recipe_of(tmp_path):
    """A function that writes a recipe's file, with some values replaced or added, and reads it."""

    def write(name="tiny", more="", **replaced):
        lines = [line for line in RECIPE.splitlines() if line.partition(" =")[0] not in replaced]
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join([*(f"{key} = {value}" for key, value in replaced.items()), *lines, more]))
        return read_recipe(path)

    return write


@pytest.fixture
def python():
    """This process's Python."""
    found = ask(Path(sys.executable))
    assert isinstance(found, Python)
    return found


@pytest.fixture
def scripted():
    """The class of installers that run a script."""
    return Scripted


@pytest.fixture
def create(python):
    """A function that creates an environment from a recipe, with a script in place of an installer."""

    def create(recipe, script="print('installed')", on_progress=lambda _: None, on_line=lambda _: None):
        return Creation(recipe, Scripted(script), python, on_progress, on_line).environment()

    return create
