"""The public names, and what having them costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import proctor
from proctor.cli.main import _GROUPS

HEAVY = ["torch", "mujoco", "gymnasium", "numpy", "ray", "scipy", "lerobot", "metaworld", "gym_pusht", "pygame"]
HEAVY += ["av", "msgspec", "yaml", "matplotlib", "jinja2", "starlette", "uvicorn", "pyarrow", "wandb"]


@pytest.mark.parametrize("name", proctor.__all__)
def test_every_public_name_is_there(name):
    """And is what its home calls it."""
    home = importlib.import_module(proctor._HOME_OF[name])

    assert getattr(proctor, name) is getattr(home, name)


def test_the_names_are_written_down_the_same_way_everywhere():
    """For people, for type checkers and for the lazy import."""
    tree = ast.parse(Path(proctor.__file__).read_text())
    (checking,) = (node for node in tree.body if isinstance(node, ast.If))
    for_checkers = {(node.module, alias.name) for node in checking.body for alias in node.names}

    assert proctor.__all__ == sorted(proctor.__all__)
    assert for_checkers == {(home, name) for name, home in proctor._HOME_OF.items()}
    assert set(proctor.__all__) == set(proctor._HOME_OF) == set(dir(proctor))


def test_a_name_that_is_not_there_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="'proctor' has no attribute 'evalute'"):
        _ = proctor.evalute


def held_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after some code."""
    script = f"{code}\nimport sys\nprint('held', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split("held")[-1].split())


COMMANDS = [name for commands in _GROUPS.values() for name in commands]
COMMAND = "import sys\nsys.argv[1:] = {!r}.split()\nfrom proctor.cli import main\nassert main() == 0"


def test_importing_proctor_loads_nothing_heavy():
    """Not even numpy."""
    assert held_after("import proctor") == set()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command):
    """It appears at once."""
    assert held_after(COMMAND.format(f"{command} --help")) == set()


def test_the_version_loads_nothing_heavy():
    """It is in the metadata."""
    assert held_after(COMMAND.format("--version")) == set()


def test_preparing_an_evaluation_loads_no_simulator_and_no_torch():
    """Planning is done before either is needed; the gymnasium package is there for its spaces only."""
    code = "from proctor.config import RunConfig; from proctor.evaluation.prepared_run import prepare\n"
    code += "prepare(RunConfig(policy={'type': 'random'}, env={'type': 'metaworld', 'task': 'reach-v3'}))"

    assert not held_after(code) & {
        "torch",
        "mujoco",
        "metaworld",
        "ray",
        "lerobot",
        "gym_pusht",
        "pygame",
        "scipy",
        "av",
    }


@pytest.mark.parametrize("path", sorted(Path(proctor.__file__).parent.rglob("*.py")), ids=lambda path: path.name)
def test_every_module_says_what_it_is(path):
    """In a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text())), path


def test_types_are_published():
    """``py.typed`` tells type checkers to look."""
    assert (Path(proctor.__file__).parent / "py.typed").exists()
