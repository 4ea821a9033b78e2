"""Pythons are found where users have them, and each is asked what it is."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from proctor.errors import ConfigError
from proctor.interpreters import pythons as module
from proctor.interpreters.pythons import Python, ask, find_python, named_python, pythons

HERE = platform.python_version()


def fake(path, version, *, has_pip=True):
    """A program that answers as a Python of that version does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' {version} {has_pip} '{path}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without Pythons but this one: its PATH, its home."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


def versions(found):
    return {python.version for python in found}


def test_this_python_answers(monkeypatch):
    """Whatever PYTHONPATH and the working directory hold."""
    monkeypatch.setenv("PYTHONPATH", "/nowhere")

    python = ask(Path(sys.executable))

    assert python.version == HERE
    assert python.path.is_file()
    assert str(python) == f"Python {HERE} at {python.path}"


def test_pythons_are_found_on_the_path_and_where_pyenv_and_uv_install_them(machine, monkeypatch):
    """Also where their variables say; other programs of such folders are not started."""
    fake(machine / "bin" / "python3.9", "3.9.1")
    fake(machine / "bin" / "python3.9-config", "6.6.6")
    fake(machine / "home" / ".pyenv" / "versions" / "3.10.2" / "bin" / "python3", "3.10.2")
    fake(machine / "home" / ".local" / "share" / "uv" / "python" / "cpython-3.13.3-linux" / "bin" / "python3", "3.13.3")

    assert versions(pythons()) == {HERE, "3.9.1", "3.10.2", "3.13.3"}

    fake(machine / "elsewhere" / "versions" / "3.8.4" / "bin" / "python3", "3.8.4")
    fake(machine / "uv" / "cpython-3.14.5-linux" / "bin" / "python3", "3.14.5")
    monkeypatch.setenv("PYENV_ROOT", str(machine / "elsewhere"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(machine / "uv"))

    assert versions(pythons()) == {HERE, "3.9.1", "3.8.4", "3.14.5"}


def test_a_shim_that_starts_nothing_is_no_python(machine):
    """Nor is one that hangs, that is no program, or that a relative entry of the PATH would have."""
    (machine / "bin" / "python3.9").write_text("#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n")
    (machine / "bin" / "python3.9").chmod(0o755)
    (machine / "bin" / "python3.10").write_text("not a program")
    (machine / "bin" / "python3.11").symlink_to(machine / "gone")

    assert versions(pythons()) == {HERE}


def test_a_python_that_does_not_answer_in_time_is_none(machine, monkeypatch):
    monkeypatch.setattr(module, "_LIMIT_S", 0.2)
    (machine / "bin" / "python3.9").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (machine / "bin" / "python3.9").chmod(0o755)

    assert ask(machine / "bin" / "python3.9") is None


def test_one_python_of_several_names_is_found_once(machine):
    (machine / "bin" / "python3").symlink_to(fake(machine / "bin" / "python3.9", "3.9.1"))

    assert sorted(python.version for python in pythons()) == sorted(["3.9.1", HERE])


def test_this_python_is_taken_if_it_fits_else_the_newest(machine):
    """3.10 is newer than 3.9."""
    for version in ("3.9.1", "3.10.2", "3.8.9"):
        fake(machine / "bin" / f"python{version.rpartition('.')[0]}", version)

    assert find_python(">=3.8", needs_pip=True).version == HERE
    assert find_python("<3.11", needs_pip=True).version == "3.10.2"


def test_a_python_without_pip_serves_uv_only(machine):
    """Debian's, for example; the sentence says what to install."""
    path = fake(machine / "bin" / "python3.10", "3.10.2", has_pip=False)

    assert find_python("<3.11", needs_pip=False) == Python(path, "3.10.2", has_pip=False)
    with pytest.raises(ConfigError, match=r"apt-get install python3.10-venv\), or install uv: pip install uv"):
        find_python("<3.11", needs_pip=True)


def test_if_no_python_fits_those_that_are_there_are_named(machine):
    fake(machine / "bin" / "python3.9", "3.9.1")

    with pytest.raises(ConfigError, match=rf"No Python <3.9 is installed here \(there are 3.9.1, {HERE}\); install"):
        find_python("<3.9", needs_pip=False)


def test_a_python_that_a_user_names_must_be_one_and_fit(machine):
    path = fake(machine / "any name", "3.10.2")

    assert named_python(str(path), "<3.11").version == "3.10.2"
    with pytest.raises(ConfigError, match=r"is Python 3\.10\.2, and the recipe asks for >=3\.11"):
        named_python(str(path), ">=3.11")
    with pytest.raises(ConfigError, match="is not a CPython that starts"):
        named_python(str(machine / "gone"), ">=3.11")
