"""Simulators that do not fit the environment of the tests: each is installed once, in a folder that git ignores."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
XARM_NEEDS = ["gym-xarm==0.1.1", "gymnasium==0.29.1", "gymnasium-robotics==1.2.4", "numpy<2", "msgspec", "pytest"]


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:6])} … failed: {done.stderr.strip()[-300:]}")


def beside(requirement: str) -> dict[str, str]:
    """The environment variables with which this interpreter also has a distribution, alone, without what it asks for.

    It precedes another version that is installed. Everything that it needs is among what the tests have.
    """
    folder = REPOSITORY / f".venv-{requirement.replace('==', '-')}"
    if not (folder / "complete").exists():
        _run(sys.executable, "-m", "pip", "install", "--no-deps", "--upgrade", "--target", str(folder), requirement)
        (folder / "complete").touch()
    return with_path(str(folder))


def with_path(*folders: str) -> dict[str, str]:
    """The environment variables of a process that imports from these folders and from this source tree first."""
    path = os.pathsep.join([*folders, str(REPOSITORY / "src"), str(Path(__file__).parent)])
    return {**os.environ, "PYTHONPATH": path, "MUJOCO_GL": "egl"}


def xarm_python() -> str:
    """The interpreter of an environment that has gym-xarm, which needs Python 3.10 or 3.11 and MuJoCo 2."""
    folder = REPOSITORY / ".venv-gym-xarm-0.1.1"
    if not (folder / "complete").exists():
        python = next(_pythons_before_3_12(), None)
        if python is None:
            pytest.skip("there is no Python 3.10 or 3.11 for gym-xarm")
        _run(python, "-m", "venv", "--clear", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", *XARM_NEEDS)
        (folder / "complete").touch()
    return str(folder / "bin" / "python")


def _pythons_before_3_12() -> Iterator[str]:
    others = sorted(Path.home().glob(".pyenv/versions/3.1[01].*/bin/python"), reverse=True)
    for found in (sys.executable, shutil.which("python3.11"), shutil.which("python3.10"), *map(str, others)):
        asked = found and subprocess.run(
            [found, "-c", "import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12))"], check=False, timeout=60
        )
        if asked and asked.returncode == 0:
            yield found
