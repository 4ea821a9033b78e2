"""Which modules an interpreter that Proctor starts imports: its own, then the user's, never one by accident."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import proctor
from proctor.child import forget_empty_entries, import_path, python_command
from proctor.cli import main
from proctor.doctor.examination import Check, make

SOURCE = Path(proctor.__file__).parent
BENCH = Path(__file__).parents[2] / "bench"
SHADOWS = ["random", "socket", "select", "typing", "numpy", "msgspec", "gymnasium", "mujoco", "metaworld", "proctor"]
SHADOW = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nraise ImportError('the wrong one')\n"
MY_ENV = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
gymnasium.register("MyPole-v0", entry_point=CartPoleEnv, max_episode_steps=9)
"""
EVALUATION = ["eval", "--policy.type=random", "--env.type=gymnasium", "--eval.n_episodes=2", "--eval.batch_size=2"]
EVALUATION += ["--eval.video=none", "--eval.display=none"]


@pytest.fixture
def shadows(tmp_path, monkeypatch):
    """The working directory, with files that are called like modules of Python's and of libraries."""
    folder = tmp_path / "shadows"
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(SHADOW)
    monkeypatch.chdir(folder)
    return folder


def imported(folder):
    return sorted(path.stem for path in folder.glob("*.ran"))


def run(*command, **environment):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_evaluation_imports_no_module_from_the_working_directory(shadows):
    """Neither the fork server nor its workers do."""
    assert main([*EVALUATION, "--env.task=CartPole-v1", "--output_dir=run"]) == 0

    assert not imported(shadows)


def test_what_a_script_has_put_first_on_its_import_path_comes_last_in_workers(shadows, monkeypatch):
    """The directory of the user's script is such an entry."""
    monkeypatch.syspath_prepend(shadows)

    assert main([*EVALUATION, "--env.task=CartPole-v1", "--output_dir=run"]) == 0

    assert not imported(shadows)


@pytest.mark.parametrize("function", ["python", "gl"])
def test_the_doctor_imports_no_module_from_the_working_directory(shadows, function):
    """What it examines is this machine."""
    make(Check("a check", f"proctor.doctor.checks:{function}"))

    assert not imported(shadows)


@pytest.fixture
def a_shadow(tmp_path, monkeypatch):
    """A working directory with a file that is called like a library of the command line's."""
    (tmp_path / "rich.py").write_text(SHADOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_module_that_is_run_does_not_search_the_working_directory(a_shadow):
    """``python -m`` puts it first."""
    run(sys.executable, "-m", "proctor", "--help")

    assert not imported(a_shadow)


def test_an_empty_entry_of_the_import_path_is_not_meant(a_shadow):
    """``$PYTHONPATH:/my/code`` has one while the variable is not set."""
    script = "from proctor.cli import main; main(['--help']); import sys; print(sys.path)"

    output = run(sys.executable, "-P", "-c", script, PYTHONPATH=f"{SOURCE.parent}:")

    assert str(a_shadow) not in output
    assert not imported(a_shadow)


def test_a_working_directory_that_pythonpath_names_stays(tmp_path, monkeypatch):
    """It was chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), "/elsewhere"])
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path}")

    forget_empty_entries()

    assert sys.path == [str(tmp_path), "/elsewhere"]
    assert os.environ["PYTHONPATH"] == str(tmp_path)


def test_an_environment_in_the_working_directory_is_found_when_it_is_named(tmp_path, monkeypatch):
    """In workers too."""
    (tmp_path / "an_env_of_mine.py").write_text(MY_ENV)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])

    assert main([*EVALUATION, "--env.module=an_env_of_mine", "--env.task=MyPole-v0", "--output_dir=run"]) == 0


def test_an_interpreter_searches_what_this_process_searches_after_its_own(tmp_path, monkeypatch):
    """A relative entry means the same directory there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    (tmp_path / "shows_its_path.py").write_text("import sys\nprint(*sys.path, sep='\\n')\n")

    path = run(*python_command("shows_its_path")).splitlines()

    assert import_path()[0] == str(tmp_path)
    assert path.index(str(SOURCE.parent)) < path.index(str(Path(os.__file__).parent)) < path.index(str(tmp_path))


def test_no_interpreter_is_started_in_another_way():
    """Code that needs one calls :func:`python_command`. The launcher for Slurm names one to submitit, with ``-P``, and
    bench's own programs say ``-P`` themselves, or are scripts.
    """
    jobs = SOURCE / "parallel/launchers/slurm/jobs.py"
    assert 'f"{shlex.quote(sys.executable)} -P"' in jobs.read_text()
    for path in [*SOURCE.rglob("*.py"), *BENCH.glob("*.py")]:
        if path in (SOURCE / "child/__init__.py", SOURCE / "doctor/checks.py", jobs):  # doctor's says where Python is
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "executable":
                assert path.parent == BENCH, f"{path}:{node.lineno}"
            if isinstance(node, ast.List) and node.elts and "sys.executable" in ast.unparse(node.elts[0]):
                first = ast.unparse(node.elts[1])
                assert first.startswith(("'-P'", "*('-P'")) or "__file__" in first, f"{path}:{node.lineno}"
