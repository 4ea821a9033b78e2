"""An environment is created as a whole or not at all, whatever fails, and two creations wait for one another."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from proctor.errors import ConfigError, ResourceError
from proctor.interpreters import creation as module
from proctor.interpreters.creation import Creation, CreationError
from proctor.interpreters.environments import State, environments_folder, existing, folder_of
from proctor.interpreters.installers import Pip, Uv, choose_installer


def left():
    """What there is in the folder of all environments."""
    folder = environments_folder()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_environment_is_made_installed_and_checked(recipe_of, create):
    """In this order, each step with its time and the size so far; then it is ready, and says what it is."""
    recipe = recipe_of(check="\"print('checked')\"")
    steps, lines = [], []

    environment = create(recipe, on_progress=steps.append, on_line=lines.append)

    assert lines == ["made", "installed", "checked"]
    assert [step.split(" with")[0] for step in steps[::2]] == [
        "Making an environment",
        "Installing 4 packages",
        "Checking it",
    ]
    assert all(step.endswith(" MB") for step in steps[1::2])
    assert environment.folder == folder_of(recipe)
    assert (environment.name, environment.digest, environment.state) == ("tiny", recipe.digest, State.READY)
    assert environment.facts.own_recipe == str(recipe.path)
    assert existing() == [environment]
    assert left() == [environment.folder.name]
    log = (environment.folder / "creation.log").read_text().splitlines()
    assert {*lines} < {*log}


def test_packages_without_dependencies_are_installed_after_the_others(recipe_of, scripted, python):
    """And without constraints."""
    installer = scripted()
    recipe = recipe_of(packages_without_dependencies='["gym-hil==0.1.14"]', constraints='["glfw==2.11.0"]')

    Creation(recipe, installer, python, lambda _: None).environment()

    assert installer.installed == [([*recipe.requirements], ["glfw==2.11.0"]), (["gym-hil==0.1.14"], None)]


def test_an_environment_that_is_there_is_not_made_again(recipe_of, create):
    first = create(recipe_of())

    assert create(recipe_of(), script="raise SystemExit(1)") == first


def test_a_changed_recipe_makes_another_environment_and_the_old_one_is_stale(recipe_of, create):
    old = create(recipe_of())
    new = create(recipe_of(check='"import msgspec"'))

    assert old.folder != new.folder
    assert (old.state, new.state) == (State.STALE, State.READY)


@pytest.mark.parametrize(
    ("script", "check", "said"),
    [
        ("print('no such package'); raise SystemExit(3)", "pass", "installing 4 packages .* status 3.*Scripts fail"),
        ("pass", "raise RuntimeError('it is broken')", "checking it failed with status 1.*it is broken"),
        ("pass", "import os; os.abort()", "checking it failed with status -6"),
    ],
)
def test_of_a_failed_creation_nothing_is_left(recipe_of, create, script, check, said):
    """The error has the last lines of the program that failed."""
    with pytest.raises(CreationError, match="'tiny' is not created: ") as caught:
        create(recipe_of(check=repr(check)), script)

    assert caught.value.exit_code == 2
    assert re.search(said, f"{caught.value}\n{caught.value.hint}", re.DOTALL)
    assert not left()


def test_the_last_lines_of_an_error_are_those_of_the_step_that_failed(recipe_of, create):
    with pytest.raises(CreationError) as caught:
        create(recipe_of(check='"raise SystemExit(1)"'), "for i in range(100): print('line', i)")
    assert caught.value.hint == ""

    with pytest.raises(CreationError) as caught:
        create(recipe_of(), "for i in range(100): print('line', i)\nraise SystemExit(1)")
    assert caught.value.hint.splitlines() == [*(f"line {i}" for i in range(88, 100)), "Scripts fail."]


def test_secrets_of_an_index_are_not_shown(recipe_of, create):
    lines = []

    create(recipe_of(), "print('Looking in https://me:hunter22@example.org/simple')", on_line=lines.append)

    assert "hunter22" not in " ".join(lines)


@pytest.mark.parametrize("sign", ["OSError: [Errno 28] No space left on device", "Disk quota exceeded (os error 122)"])
def test_a_full_disk_is_one_sentence(recipe_of, create, sign):
    with pytest.raises(ResourceError, match=r"because a disk is full: it takes 1 MB in .*environments") as caught:
        create(recipe_of(), f"print({sign!r}); raise SystemExit(2)")

    assert not caught.value.hint
    assert not left()


def test_a_disk_that_is_full_for_proctor_itself_is_one_sentence_too(recipe_of, create, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "file")

    monkeypatch.setattr(module, "size_of", full)

    with pytest.raises(ResourceError, match="because a disk is full"):
        create(recipe_of())
    assert not left()


def test_too_little_disk_is_refused_beforehand(recipe_of, create):
    with pytest.raises(ResourceError, match=r"takes 999999999 MB, and only \d+ MB are free in"):
        create(recipe_of(disk_mb="999999999"))
    assert not left()


def test_a_library_of_the_system_that_is_missing_is_named_with_its_package(recipe_of, create):
    """And nothing is installed before."""
    libraries = '[system_libraries]\n"libc.so.6" = "libc6"\n"libnothing.so.1" = "libnothing1"'

    with pytest.raises(ConfigError, match=r"'tiny' needs libnothing.so.1, which .* apt-get install libnothing1\)"):
        create(recipe_of(more=libraries), script="raise SystemExit(1)")
    assert not left()


def test_a_folder_that_cannot_be_made_is_a_sentence(recipe_of, create, environments):
    environments.write_text("a file")

    with pytest.raises(CreationError, match="is not created: File exists: "):
        create(recipe_of())


def test_what_a_killed_creation_has_left_is_removed_by_the_next(recipe_of, create, environments):
    """That of an earlier recipe too; what belongs to another name stays."""
    recipe = recipe_of()
    leftovers = [folder_of(recipe), environments / "tiny-000000000000", environments / "tiny-x-000000000000"]
    for folder in leftovers:
        (folder / "lib").mkdir(parents=True)

    create(recipe)

    assert left() == sorted([folder_of(recipe).name, "tiny-x-000000000000"])
    assert not (folder_of(recipe) / "lib").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(recipe_of, create):
    environment = create(recipe_of())
    environment.interpreter.unlink()
    (environment.folder / "old").touch()
    assert environment.state is State.BROKEN

    again = create(recipe_of())

    assert again.state is State.READY
    assert not (again.folder / "old").exists()


def test_an_interruption_ends_the_installer_and_leaves_nothing(recipe_of, create, tmp_path):
    """With everything that the installer has started."""
    pid = tmp_path / "pid"
    script = f"""
        import pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(pid)!r}).write_text(str(child.pid))
        print("started", flush=True)
        time.sleep(600)
    """

    def interrupt(line):
        if line == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(recipe_of(), script, on_line=interrupt)

    assert not left()
    deadline = time.monotonic() + 60
    while is_running(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_two_creations_at_once_wait_for_one_another(recipe_of, create, tmp_path):
    """The second one finds what the first has made, and tells that it waits."""
    recipe, gate, said = recipe_of(), tmp_path / "gate", []
    script = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)"
    made = []
    began = threading.Event()
    first = threading.Thread(target=lambda: made.append(create(recipe, script, on_progress=lambda step: began.set())))
    second = threading.Thread(
        target=lambda: made.append(create(recipe, "raise SystemExit(1)", on_progress=said.append))
    )
    first.start()
    assert began.wait(60)
    second.start()
    while not said:
        time.sleep(0.02)
    assert said == [f"Waiting for process {os.getpid()} or its installer, which work on the same environment."]
    gate.touch()
    first.join(60)
    second.join(60)

    assert len(made) == 2
    assert made[0] == made[1]
    assert left() == [folder_of(recipe).name]


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import Scripted
from proctor.interpreters.creation import Creation
from proctor.interpreters.pythons import ask
from proctor.interpreters.recipe import read_recipe

script = '''
import pathlib, sys, time
print("started", flush=True)
while not pathlib.Path({gate!r}).exists(): time.sleep(0.02)
pathlib.Path(sys.argv[1], "late").touch()
'''
recipe, python = read_recipe(Path({recipe!r})), ask(Path(sys.executable))
Creation(recipe, Scripted(script), python, print, lambda line: print(line, flush=True)).environment()
"""


def test_if_proctor_is_killed_the_next_creation_waits_for_the_installer_that_goes_on(recipe_of, create, tmp_path):
    """Else two programs would write into one folder."""
    recipe, gate = recipe_of(), tmp_path / "gate"
    code = KILLED.format(tests=str(Path(__file__).parent), recipe=str(recipe.path), gate=str(gate))
    killed = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    while "started" not in killed.stdout.readline():
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    said = []

    def go_on(sentence):
        said.append(sentence)
        gate.touch()

    environment = create(recipe, on_progress=go_on)

    assert said[0].startswith(f"Waiting for process {killed.pid} or its installer")
    assert not (environment.folder / "late").exists()
    assert left() == [environment.folder.name]


def test_the_installer_is_uv_if_it_is_there(tmp_path, monkeypatch):
    """On the PATH, or beside this Python; else venv and pip."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))

    assert isinstance(choose_installer("auto"), Pip)
    with pytest.raises(ConfigError, match="uv is not installed; install it with: pip install uv"):
        choose_installer("uv")
    with pytest.raises(ConfigError, match="--fetch_python needs uv"):
        Pip().fetch(">=3.10")
    with pytest.raises(ConfigError, match="--installer is 'conda'; it must be one of auto, uv, pip"):
        choose_installer("conda")
    for folder in ("venv", "bin"):
        program = tmp_path / folder / "uv"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho 'uv 9.8.7 ({folder})'\n")
        program.chmod(0o755)
        assert isinstance(choose_installer("auto"), Uv)
        assert str(choose_installer("uv")) == "uv 9.8.7"
        assert isinstance(choose_installer("pip"), Pip)


def test_uv_fetches_a_python_only_if_it_is_asked(tmp_path, monkeypatch):
    """A sentence says so if it cannot."""
    program = tmp_path / "uv"
    program.write_text('#!/bin/sh\ntest "$2" = find && echo ' + sys.executable + "\nexit 0\n")
    program.chmod(0o755)

    assert Uv(str(program)).fetch(">=3.10").version == platform.python_version()
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ConfigError, match=r"uv cannot fetch a Python >=3\.10; try it by hand"):
        Uv(str(program)).fetch(">=3.10")


@pytest.mark.parametrize("name", ["uv", "pip"])
def test_an_installer_really_makes_an_environment(name, recipe_of, python, monkeypatch):
    """With what a worker needs, whatever leads pip elsewhere in this process's surroundings."""
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PIP_TARGET", "/nowhere")
    if name == "uv":
        assert shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)), "pip install uv"
    recipe = recipe_of(check='"import sys, numpy; assert numpy.__file__.startswith(sys.prefix)"')

    environment = Creation(recipe, choose_installer(name), python, lambda _: None).environment()

    assert environment.state is State.READY
    assert environment.facts.installer.startswith(name)
    assert environment.facts.megabytes > 10
