"""The one way in which Proctor starts a Python interpreter, and the order in which modules are searched there.

A file in the working directory or beside the user's script may be called like a module of Python's or of a library
(``random.py``, ``numpy.py``). An interpreter that Proctor starts therefore searches its own import path first
(``PYTHONPATH``, the standard library, what is installed), and then what the process that started it has in addition.

================  ==================================================================================
this module       the command and the import path; it imports nothing but ``os`` and ``sys``, because
                  it repairs the import path of a process before that process imports anything else
``processes``     starting an interpreter, and how it ended
``loading``       importing and loading without looking for garbage meanwhile
``calls``         calling a function in an interpreter of its own: :class:`~proctor.child.calls.Call`
``callee``        the other side of a call
``other_python``  an interpreter with other packages: whether it can run workers, and what it finds
``brought``       the folder in which such an interpreter finds Proctor
================  ==================================================================================
"""

# ruff: noqa: PTH100, PTH109, PTH110, PTH118, PTH120 - pathlib is imported once the import path is in order

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

BROUGHT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "brought")
"""The folder on another Python's import path that holds Proctor alone: see :mod:`proctor.child.brought`."""

_RUN_MODULE = """
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
import os, runpy
path, *sys.argv = sys.argv[1:]
sys.path += [entry for entry in path.split(os.pathsep) if entry and entry not in sys.path]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def python_command(module: str, *arguments: str, interpreter: str | None = None) -> list[str]:
    """Give the command that runs ``module`` in an interpreter of its own, as ``python -m module arguments`` does,
    except that it imports nothing by accident from the working directory (``-P``).

    Another ``interpreter`` than this process's searches its own import path only, and finds Proctor if it has the
    environment of :func:`proctor.child.other_python.environment_for`: packages that are installed for this one need not
    fit it.
    """
    path = import_path() if interpreter is None else []
    # Python 3.10 has no -P, so the command itself removes the working directory before it imports anything.
    safe = ["-P"] if interpreter is None and sys.version_info >= (3, 11) else []
    return [interpreter or sys.executable, *safe, "-c", _RUN_MODULE, os.pathsep.join(path), module, *arguments]


_owned = False


def declare_own_process() -> None:
    """Declare that Proctor started this process, so that no code of a user's imports libraries here before Proctor."""
    global _owned  # noqa: PLW0603 - a fact about the process
    _owned = True


def is_own_process() -> bool:
    """Say whether Proctor started this process: a command, a shard or a call, and not a user's program."""
    return _owned


def this_interpreter() -> str:
    """Give the path of the Python that runs this process."""
    return sys.executable


def import_path() -> list[str]:
    """Give the import path of this process, for another process: the working directory replaces the empty entry."""
    places = (os.path.abspath(entry) if os.path.exists(entry or os.curdir) else entry for entry in sys.path)
    return list(dict.fromkeys(places))  # what does not exist may be the name of a hook


_added: set[str] = set()


def extend_import_path(entries: Iterable[str]) -> None:
    """Search ``entries`` too, after everything that this process searches already."""
    new = [entry for entry in entries if entry not in sys.path]
    _added.update(new)
    sys.path += new


def was_added(entry: str) -> bool:
    """Say whether ``entry`` is searched only since :func:`extend_import_path` added it."""
    return entry in _added


def forget_working_directory() -> None:
    """Take the working directory off the import path, where ``python -m`` puts it, unless ``PYTHONPATH`` names it."""
    named = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    here = os.getcwd()
    if here not in named:
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
        extend_import_path({here} & {os.path.dirname(os.path.dirname(__file__))})  # where Proctor itself was found


def forget_empty_entries() -> None:
    """Remove empty entries from ``PYTHONPATH``, and the working directory, which they mean, from the import path.

    ``$PYTHONPATH:/my/code`` has an empty entry if the variable is not set.
    """
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if "" in entries and any(entries):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, entries))
        forget_working_directory()
