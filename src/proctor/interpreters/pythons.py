"""The Pythons of this machine: this process's own, those on the ``PATH``, pyenv's and uv's.

Each is asked for its version, because a name such as ``python3.10`` may be a shim that starts nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from proctor.child import this_interpreter
from proctor.errors import ConfigError
from proctor.interpreters.commands import answer_of

_NAME = re.compile(r"python3(\.\d+)?")
_LIMIT_S = 20.0
_SIDE_BY_SIDE = 8
_QUESTION = """
import platform, sys
from importlib.util import find_spec
free_threaded = "t" in getattr(sys, "abiflags", "")
if sys.implementation.name == "cpython" and not free_threaded:
    has_pip = find_spec("venv") is not None and find_spec("ensurepip") is not None
    print(platform.python_version(), has_pip, sys.executable, sep="\\n")
"""


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter. ``has_pip`` is True if it can put pip into an environment; Debian's cannot without a package."""

    path: Path
    version: str
    has_pip: bool

    def __str__(self) -> str:
        return f"Python {self.version} at {self.path}"


def ask(path: Path) -> Python | None:
    """Ask an interpreter what it is; None if it does not answer, or is another Python than the usual one."""
    match (answer_of([path, "-I", "-c", _QUESTION], _LIMIT_S) or "").splitlines():
        case [version, has_pip, executable]:
            return Python(Path(executable), version, has_pip == "True")
        case _:
            return None


def pythons() -> list[Python]:
    """Find the Pythons that are there, each once; this process's own comes first."""
    paths = dict.fromkeys(path.resolve() for path in _candidates())
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
        found = [python for python in threads.map(ask, paths) if python is not None]
    return list({python.path.resolve(): python for python in found}.values())


def find_python(wanted: str, *, needs_pip: bool) -> Python:
    """Find a Python in a range of versions, such as ``>=3.10,<3.12``: this process's own, else the newest one.

    Args:
        wanted: the range.
        needs_pip: True if it must be able to put pip into an environment.

    Raises:
        ConfigError: there is none; the message names those that are there.
    """

    def is_usable(python: Python) -> bool:
        return python.version in SpecifierSet(wanted) and (python.has_pip or not needs_pip)

    if (own := ask(Path(this_interpreter()).resolve())) is not None and is_usable(own):
        return own
    there = pythons()
    usable = [python for python in there if is_usable(python)]
    if usable:
        return max(usable, key=lambda python: Version(python.version))
    if fitting := [python for python in there if python.version in SpecifierSet(wanted)]:
        minor = ".".join(fitting[0].version.split(".")[:2])
        raise ConfigError(
            f"{fitting[0]} cannot make environments, because it lacks venv or ensurepip; install them (Debian: "
            f"apt-get install python{minor}-venv), or install uv: pip install uv."
        )
    found = ", ".join(sorted({python.version for python in there}, key=Version))
    raise ConfigError(
        f"No Python {wanted} is installed here (there are {found}); install one (pyenv's and uv's are found), name one "
        "with --python=PATH, or let uv fetch one with --fetch_python."
    )


def named_python(path: str, wanted: str) -> Python:
    """Give the Python that a user names by its path.

    Raises:
        ConfigError: it is none, or its version is not in the range.
    """
    found = ask(Path(path).absolute())
    if found is None:
        raise ConfigError(f"--python: {path} is not a CPython that starts; give the path of an interpreter.")
    if found.version not in SpecifierSet(wanted):
        raise ConfigError(f"--python: {path} is Python {found.version}, and the recipe asks for {wanted}.")
    return found


def _candidates() -> Iterator[Path]:
    yield Path(this_interpreter())
    for folder in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        if folder.is_absolute() and folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    home = Path(os.path.expanduser("~"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    yield from sorted(pyenv.glob("versions/3.*/bin/python3"))
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    yield from sorted(uv.glob("cpython-3.*/bin/python3"))
