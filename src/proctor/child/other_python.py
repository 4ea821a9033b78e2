"""Another Python than this process's, in which simulators run because their packages do not fit this one.

It needs numpy, msgspec and gymnasium (or the old gym) besides what the simulator needs. It has no Proctor: the folder
:mod:`proctor.child.brought` on its import path lets it import this process's one, whatever it has installed itself.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import msgspec

from proctor.child import BROUGHT, extend_import_path, this_interpreter
from proctor.errors import ConfigError

_OLDEST = (3, 10)
_MARK = "proctor asks"
_LIMIT_S = 60.0
_HOW = "give the path of a Python interpreter, such as /my/environment/bin/python"

# It has to run in any Python that somebody may have, so that a Python which is too old says which one it is.
_EXAMINE = f"""
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
def has(name):
    try:
        from importlib.util import find_spec
    except ImportError:
        return True
    return find_spec(name) is not None
missing = [name for name in ("numpy", "msgspec") if not has(name)]
missing += [] if has("gymnasium") or has("gym") else ["gymnasium"]
print(" ".join(["{_MARK}", "%d.%d.%d" % sys.version_info[:3]] + missing))
"""

_THIS_PYTHONS = ("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
"""Variables that say where this interpreter has its files."""


class Companions(msgspec.Struct, frozen=True):
    """The places in which a process of another Python searches for modules after its own.

    ``import_path`` lists the user's folders. ``packages`` maps further top-level modules, such as that of an installed
    plug-in, to the folder that holds them, in which nothing else is found. ``versions`` are those of the plug-ins'
    distributions.
    """

    import_path: list[str]
    packages: dict[str, str] = {}
    versions: dict[str, str] = {}

    def join(self) -> None:
        """Search them in this process from now on."""
        extend_import_path(self.import_path)
        _FINDER.packages.update(self.packages)
        if self.packages and _FINDER not in sys.meta_path:
            sys.meta_path.append(_FINDER)


class _Finder:
    """Finds single top-level modules in folders in which nothing else is to be found."""

    def __init__(self) -> None:
        self.packages: dict[str, str] = {}

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:  # the protocol of ``sys.meta_path``
        folder = self.packages.get(name)
        return None if folder is None else PathFinder.find_spec(name, [folder])


_FINDER = _Finder()


def is_brought() -> bool:
    """Say whether this process is one of another Python, to which Proctor was brought."""
    return BROUGHT in sys.path


def environment_for(environment: Mapping[str, str]) -> dict[str, str]:
    """Change the environment of a process of this Python to that of another one.

    The folders of ``PYTHONPATH`` are not in it: they may hold packages that fit this Python only, and would be searched
    before the other one's own packages. They are searched after those (:class:`Companions`).
    """
    kept = {name: value for name, value in environment.items() if name not in _THIS_PYTHONS}
    return {**kept, "PYTHONPATH": BROUGHT}


def find_interpreter(given: str) -> str:
    """Return the absolute path of the interpreter that ``--env.python`` names; a bare name is searched on ``PATH``.

    Links are not resolved, because a virtual environment's interpreter is a link.

    Raises:
        ConfigError: there is no such file, or it is not a Python that can run workers; the message says why.
    """
    path = os.path.expanduser(given)
    if os.sep not in path:
        path = shutil.which(path) or path
    path = os.path.abspath(path)  # noqa: PTH100 - `Path.resolve` would follow the link
    _require_file(given, Path(path))
    version, missing = _examined(path)
    if version < _OLDEST:
        raise ConfigError(
            f"env.python={given} is Python {'.'.join(map(str, version))}, but workers need Python "
            f"{'.'.join(map(str, _OLDEST))} or later; name the interpreter of another environment."
        )
    if missing:
        raise ConfigError(
            f"env.python={given} has no {' and no '.join(missing)}, which every worker needs; install it with: "
            f"{pip_install(*missing, interpreter=path)}"
        )
    return path


def pip_install(*packages: str, interpreter: str = this_interpreter()) -> str:
    """Return the command that installs packages for an interpreter, by default for this process's."""
    return shlex.join([interpreter, "-m", "pip", "install", *packages])


def _require_file(given: str, path: Path) -> None:
    if path.is_dir():
        inside = next((found for name in ("bin/python", "bin/python3") if (found := path / name).exists()), None)
        way_on = f"give the interpreter in it: --env.python={inside}" if inside else _HOW
        raise ConfigError(f"env.python={given} is a folder; {way_on}.")
    if not path.exists():
        raise ConfigError(f"env.python={given} does not exist; {_HOW}.")


@cache
def _examined(path: str) -> tuple[tuple[int, ...], list[str]]:
    """Run an interpreter; gives its version, and the packages that every worker needs and that it does not have.

    Raises:
        ConfigError: it does not start, or is not Python.
    """
    refusal = f"env.python={path} is not a Python interpreter that works here"
    try:
        done = subprocess.run(  # noqa: S603 - the user named it
            [path, "-c", _EXAMINE],
            env=environment_for(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it gives no answer within {_LIMIT_S:g} s"
        raise ConfigError(f"{refusal} ({reason}); {_HOW}.") from None
    lines = done.stdout.decode(errors="replace").splitlines()
    answer = next((line for line in lines if line.startswith(_MARK)), None)
    if answer is None:
        raise ConfigError(f"{refusal} (asked for its version, it ends with status {done.returncode}); {_HOW}.")
    version, *missing = answer.removeprefix(_MARK).split()
    return tuple(map(int, version.split("."))), missing
