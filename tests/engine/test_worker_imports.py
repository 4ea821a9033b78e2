"""What a worker imports: under another Python (``--env.python``) there is numpy, msgspec, gymnasium, and Proctor."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import proctor
from proctor.child.other_python import environment_for

SOURCE = Path(proctor.__file__).parent

CORE = {
    "proctor.engine.worker.fork_server",
    "proctor.engine.worker.process",
    "proctor.child.callee",
    "proctor.benchmarks.elsewhere",
    "proctor.rendering.frame",
    "proctor.policies.local",
    "proctor.testing.fakes",
}
ENTRIES = frozenset(CORE | {point.value.partition(":")[0] for point in entry_points(group="proctor.benchmarks")})
"""What a process of another Python is started with, or imports by its address."""

NEEDED = {"numpy", "msgspec", "gymnasium"}
INSTEAD = {"gym"}
"""What is imported if gymnasium is not there."""
LAZY = {"av", "mujoco", "OpenGL", "yaml", "packaging", "huggingface_hub"}
"""What functions of these modules import: to encode, to try a renderer, and in the engine's process alone."""


@cache
def file_of(module: str) -> Path | None:
    """The file of one of Proctor's modules; None if it is an attribute of a module."""
    path = SOURCE.parent.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that an import of a module executes, those in its blocks too."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [part for name in ("body", "orelse", "finalbody", "handlers") for part in getattr(node, name, ())]
            yield from statements([part for part in inner if isinstance(part, ast.stmt)])
            for handler in getattr(node, "handlers", ()):
                yield from statements(handler.body)


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def reached(entries: frozenset[str] = ENTRIES) -> dict[str, set[str]]:
    """Every module of Proctor that the entries import, each with the packages of others that it imports."""
    found: dict[str, set[str]] = {}
    todo = list(entries)
    while todo:
        module = todo.pop()
        if module in found or (file := file_of(module)) is None:
            continue
        names = set(imported(statements(ast.parse(file.read_text()).body)))
        parts = module.split(".")
        todo += [".".join(parts[:n]) for n in range(1, len(parts))]
        todo += [name for name in names if name.split(".")[0] == "proctor"]
        found[module] = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"proctor"}
    return found


def test_nothing_is_imported_that_another_python_need_not_have():
    """By no module on the way of a worker."""
    assert "proctor.engine.worker.simulation" in reached()
    assert not {module: more for module, names in reached().items() if (more := names - NEEDED - INSTEAD)}
    assert [module for module, names in reached().items() if names & INSTEAD] == ["proctor.benchmarks.gym_package"]


def test_functions_that_a_worker_calls_import_simulators_and_what_it_can_do_without():
    """What a policy or a page needs is imported elsewhere."""
    simulators = {"gym_pusht", "pymunk", "gym_aloha", "metaworld", "libero", "robosuite", "dm_control", "cv2", "pygame"}
    allowed = NEEDED | LAZY | simulators
    ways = ("proctor.engine.worker", "proctor.child", "proctor.config", "proctor.plugins", "proctor.security")
    for module in reached():
        if module.startswith(ways):
            names = imported(ast.walk(ast.parse(file_of(module).read_text())))
            packages = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"proctor"}
            assert packages <= allowed, module


_IMPORTS = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*{name.partition(".")[0] for name in sys.modules} & {"av", "yaml", "packaging", "rich", "scipy", "torch"})
"""


def imports_there(python, entries):
    modules = sorted(reached(frozenset(entries)))
    done = subprocess.run(
        [python, "-W", "ignore", "-c", _IMPORTS, *modules],
        env=environment_for(os.environ),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_oldest_python_imports_every_module_on_the_way_of_a_worker(python_310):
    assert imports_there(python_310, ENTRIES) == ""


def test_a_newer_python_does_so(python_313):
    assert imports_there(python_313, ENTRIES) == ""


def test_the_old_gym_is_enough_for_the_environments_that_are_registered_with_it(python_310_gym):
    """The adapters of simulators that need Gymnasium do not do without it."""
    assert imports_there(python_310_gym, CORE | {"proctor.benchmarks.gymnasium"}) == ""
