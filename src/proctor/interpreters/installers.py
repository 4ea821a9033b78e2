"""The two ways to make a virtual environment and to install packages into it: uv, and ``venv`` with pip."""

from __future__ import annotations

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from proctor.child import this_interpreter
from proctor.errors import ConfigError
from proctor.interpreters.commands import answer_of
from proctor.interpreters.environments import interpreter_in
from proctor.interpreters.pythons import Python, find_python, named_python
from proctor.interpreters.recipe import Recipe

Command = list[str | Path]
AUTO, UV, PIP = "auto", "uv", "pip"
_FETCH_S = 600.0
_ANSWER_S = 60.0


class Installer(ABC):
    """Gives the commands that make an environment."""

    name: str
    version: str
    needs_pip: bool
    """True if a Python must be able to put pip into an environment."""
    when_it_fails: str
    """A sentence for the user of which packages cannot be installed; "" if there is nothing to say."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".rstrip()

    @abstractmethod
    def make(self, python: Python, folder: Path) -> Command:
        """Give the command that makes an empty environment in ``folder``."""

    @abstractmethod
    def install(self, folder: Path, packages: Sequence[str], constraints: Path | None) -> Command:
        """Give the command that installs packages, together with what they need unless ``constraints`` is None.

        ``constraints`` is a file of requirements: what is installed must agree with them.
        """

    def fetch(self, wanted: str) -> Python:
        """Fetch a Python in a range of versions.

        Raises:
            ConfigError: this installer fetches none, or it fails.
        """
        raise ConfigError("--fetch_python needs uv, which is not installed; install it with: pip install uv")


class Uv(Installer):
    """Uses uv, a program of its own that is many times faster than pip."""

    name = UV
    needs_pip = False
    when_it_fails = "uv does not read pip's configuration (of an index, for example); --installer=pip does."

    def __init__(self, program: str) -> None:
        self._program = program
        self.version = (answer_of([program, "--version"], _ANSWER_S) or "").removeprefix("uv").split("(")[0].strip()

    def make(self, python: Python, folder: Path) -> Command:
        return [self._program, "venv", "--no-progress", "--no-project", "--python", python.path, folder]

    def install(self, folder: Path, packages: Sequence[str], constraints: Path | None) -> Command:
        limits = ["--no-deps"] if constraints is None else ["--constraint", constraints]
        interpreter = interpreter_in(folder)
        return [self._program, "pip", "install", "--no-progress", "--python", interpreter, *limits, *packages]

    def fetch(self, wanted: str) -> Python:
        done = answer_of([self._program, "python", "install", wanted], _FETCH_S)
        found = answer_of([self._program, "python", "find", "--managed-python", "--no-project", wanted], _ANSWER_S)
        if done is None or not found:
            raise ConfigError(
                f"uv cannot fetch a Python {wanted}; try it by hand to see why: uv python install '{wanted}'"
            )
        return named_python(found.strip(), wanted)


class Pip(Installer):
    """Uses ``venv`` and pip, which come with most Pythons."""

    name = PIP
    version = ""
    needs_pip = True
    when_it_fails = ""

    def make(self, python: Python, folder: Path) -> Command:
        return [python.path, "-I", "-m", "venv", folder]

    def install(self, folder: Path, packages: Sequence[str], constraints: Path | None) -> Command:
        limits = ["--no-deps"] if constraints is None else ["--constraint", constraints]
        quietly = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
        return [interpreter_in(folder), "-I", "-m", "pip", "install", *quietly, *limits, *packages]


def choose_installer(name: str) -> Installer:
    """Return the installer of ``--installer``; ``auto`` is uv if it is on the ``PATH`` or beside this Python.

    Raises:
        ConfigError: uv is named and not installed, or there is no such installer.
    """
    if name not in (AUTO, UV, PIP):
        raise ConfigError(f"--installer is '{name}'; it must be one of {AUTO}, {UV}, {PIP}.")
    program = shutil.which(UV) or shutil.which(UV, path=str(Path(this_interpreter()).parent))
    if name == PIP or (name == AUTO and program is None):
        return Pip()
    if program is None:
        raise ConfigError("--installer=uv: uv is not installed; install it with: pip install uv")
    return Uv(program)


def choose_python(recipe: Recipe, installer: Installer, path: str | None, *, fetch: bool) -> Python:
    """Return the Python of a new environment: the one of ``--python`` (a path, or a version such as 3.10), one that uv
    fetches, or the newest one that is there.

    Raises:
        ConfigError: there is none in the range of the recipe.
    """
    if path is not None and re.fullmatch(r"3\.\d+", path):
        return find_python(f"{recipe.python},=={path}.*", needs_pip=installer.needs_pip)
    if path is not None:
        return named_python(path, recipe.python)
    if not fetch:
        return find_python(recipe.python, needs_pip=installer.needs_pip)
    return installer.fetch(recipe.python)
