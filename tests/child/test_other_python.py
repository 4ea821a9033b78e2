"""Another Python for workers: whether it can run them, and what it finds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import proctor.types
from proctor.child import BROUGHT
from proctor.child.other_python import environment_for, find_interpreter
from proctor.errors import ConfigError
from proctor.plugins import companions_of


@pytest.fixture
def interpreter(tmp_path):
    """Makes a program that answers as an interpreter would."""

    def make(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


def refusal(given):
    with pytest.raises(ConfigError) as refused:
        find_interpreter(given)
    return str(refused.value)


def test_this_very_interpreter_will_do():
    """Its link is kept, as a virtual environment is found by it."""
    assert find_interpreter(sys.executable) == str(Path(sys.executable).absolute())


def test_a_bare_name_is_searched_on_the_path(interpreter, tmp_path, monkeypatch):
    interpreter("echo proctor asks 3.10.2")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert find_interpreter("python") == str(tmp_path / "python")


def test_a_python_that_is_too_old_says_which_one_it_is(interpreter):
    path = interpreter("echo proctor asks 3.9.18")

    assert refusal(path) == (
        f"env.python={path} is Python 3.9.18, but workers need Python 3.10 or later; name the interpreter of another "
        "environment."
    )


def test_what_is_missing_is_named_with_the_command_that_installs_it(interpreter):
    path = interpreter("echo a greeting of a .pth file; echo proctor asks 3.10.2 msgspec gymnasium")

    assert refusal(path) == (
        f"env.python={path} has no msgspec and no gymnasium, which every worker needs; install it with: "
        f"{path} -m pip install msgspec gymnasium"
    )


@pytest.mark.parametrize("script", ["exit 3", "echo hello; exit 3"])
def test_a_program_that_is_no_python_is_refused(interpreter, script):
    path = interpreter(script)

    assert refusal(path).startswith(
        f"env.python={path} is not a Python interpreter that works here (asked for its version, it ends with status 3);"
    )


def test_a_file_that_cannot_be_run_is_refused(tmp_path):
    (tmp_path / "python").write_text("no program")

    assert "is not a Python interpreter that works here (Permission denied)" in refusal(str(tmp_path / "python"))


def test_a_path_at_which_there_is_nothing_is_refused(tmp_path):
    assert "does not exist; give the path of a Python interpreter" in refusal(str(tmp_path / "python"))


def test_the_folder_of_an_environment_is_refused_with_the_interpreter_in_it(tmp_path):
    assert refusal(str(tmp_path)).endswith(
        "is a folder; give the path of a Python interpreter, such as /my/environment/bin/python."
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert refusal(str(tmp_path)).endswith(f"give the interpreter in it: --env.python={tmp_path}/bin/python.")


def test_the_real_thing_is_asked(python_310, python_313):
    """And a Python without packages lacks all three."""
    assert find_interpreter(python_310) == python_310
    assert find_interpreter(python_313) == python_313
    base = subprocess.run(
        [python_310, "-c", "import sys; print(sys.base_prefix)"], check=True, capture_output=True, text=True
    )
    assert "has no numpy and no msgspec and no gymnasium" in refusal(f"{base.stdout.strip()}/bin/python3.10")


def test_the_environment_says_nothing_of_where_this_python_has_its_files():
    given = {"PYTHONHOME": "/usr", "PYTHONPATH": "/packages/of/mine", "VIRTUAL_ENV": "/venv", "HOME": "/home/me"}

    assert environment_for(given) == {"HOME": "/home/me", "PYTHONPATH": BROUGHT}


_SHOWS = """
import sys
from importlib.util import find_spec
from proctor.child.other_python import Companions
Companions([sys.argv[1]]).join()
import proctor.types
found = [find_spec(name) for name in ("numpy", "of_the_user", "av", "scipy")]
print(proctor.types.__file__, *(spec and spec.origin for spec in found), sep="\\n")
"""


def test_proctor_and_the_users_modules_are_found_there_and_no_package_of_this_interpreter(
    python_310, tmp_path, monkeypatch
):
    """That interpreter's own packages come first, also before those that PYTHONPATH names."""
    for name in ("of_the_user", "numpy"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [python_310, "-c", _SHOWS, str(tmp_path)]
    done = subprocess.run(command, env=environment_for(os.environ), check=True, capture_output=True, text=True)
    types, numpy, users, av, scipy = done.stdout.split()

    assert types == proctor.types.__file__
    assert Path(numpy).is_relative_to(Path(python_310).parents[1])
    assert users == str(tmp_path / "of_the_user.py")
    assert av == scipy == "None"


def test_of_this_interpreters_import_path_the_users_folders_are_passed_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    folders = companions_of("gymnasium:Env").import_path

    assert str(tmp_path) in folders
    assert str(Path(os.__file__).parent) not in folders
    assert not [folder for folder in folders if folder.endswith(("site-packages", "lib-dynload", ".zip"))]


def test_an_installed_plug_in_is_found_alone(tmp_path, monkeypatch):
    """Of the folder of packages in which it lies, nothing else is."""
    folder = tmp_path / "site-packages"
    (folder / "proctor_pushing").mkdir(parents=True)
    (folder / "proctor_pushing" / "__init__.py").write_text("")
    (folder / "something_else.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))

    companions = companions_of("proctor_pushing:Pushing", "proctor.policies.local:Random")

    assert companions.packages == {"proctor_pushing": str(folder)}
    assert str(folder) not in companions.import_path
    sys.path.remove(str(folder))
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    companions.join()
    import proctor_pushing  # type: ignore[import-not-found]

    assert proctor_pushing.__file__ == str(folder / "proctor_pushing" / "__init__.py")
    with pytest.raises(ImportError):
        import something_else  # type: ignore[import-not-found]  # noqa: F401
