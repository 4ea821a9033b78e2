"""The benchmarks with their tasks, and the policies that are installed. No simulator and no weights are loaded."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any

from proctor.benchmarks.base import Benchmark
from proctor.errors import ConfigError
from proctor.interpreters.choice import environments_for, lacks_module
from proctor.interpreters.recipe import recipes
from proctor.plugins import BENCHMARKS, POLICIES, Requirements, find, installed, load_object, requirements_of
from proctor.types import Task


@dataclass(frozen=True, slots=True)
class Entry:
    """A benchmark or a policy.

    ``problem`` says why it cannot be used although its requirements are met, and is empty if it can. ``environment``
    names an environment of its own in which it is run, and ``recipe`` the one that makes it; both may be empty.
    """

    name: str
    summary: str
    requirements: Requirements
    problem: str = ""
    environment: str = ""
    recipe: str = ""

    @property
    def usable(self) -> bool:
        is_complete = self.requirements.met and not self.recipe
        return (is_complete or bool(self.environment)) and not self.problem


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task, and the names of the groups in ``--env.task`` that it belongs to."""

    task: Task
    groups: tuple[str, ...]


def benchmarks() -> list[Entry]:
    """List all benchmarks; the entry of a broken plug-in has a ``problem``."""
    return [_with_environment(_entry(point)) for point in installed(BENCHMARKS).values()]


def policies() -> list[Entry]:
    """List all policy types; the entry of a broken plug-in has a ``problem``."""
    return [_entry(point) for point in installed(POLICIES).values()]


def tasks_of(name: str) -> list[ListedTask]:
    """List every task of a benchmark once for each of its instructions, in the order of the benchmark's groups.

    Raises:
        ConfigError: there is no such benchmark, or its tasks cannot be listed. The message then says what to give for
            ``--env.task``.
    """
    benchmark: type[Benchmark] = load_object(find(BENCHMARKS, name))
    found: dict[tuple[str, str], Task] = {}
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for group in benchmark.groups or (None,):
        for task in _tasks(benchmark, group):
            found.setdefault((task.name, task.instruction), task)
            groups.setdefault((task.name, task.instruction), {}).update({group: None} if group else {})
    return [ListedTask(task, tuple(groups[key])) for key, task in found.items()]


def group_sizes(name: str) -> Mapping[str, int]:
    """Return the number of tasks in each of a benchmark's groups.

    Raises:
        ConfigError: there is no such benchmark.
    """
    benchmark: type[Benchmark] = load_object(find(BENCHMARKS, name))
    return {group: len(_tasks(benchmark, group)) for group in benchmark.groups}


def plain_entry(entry: Entry) -> dict[str, Any]:
    """Make plain values of a benchmark or a policy, for JSON."""
    needs = entry.requirements
    return {
        "name": entry.name,
        "summary": entry.summary,
        "usable": entry.usable,
        "present": needs.present,
        "missing": needs.missing,
        "install": None if needs.met else needs.command,
        "environment": entry.environment or None,
        "problem": entry.problem or None,
    }


def plain_task(listed: ListedTask) -> dict[str, Any]:
    """Make plain values of a task, for JSON."""
    task = listed.task
    return {
        "task": task.name,
        "instruction": task.instruction,
        "max_episode_steps": task.max_episode_steps,
        "groups": listed.groups,
    }


def _tasks(benchmark: type[Benchmark], group: str | None) -> list[Task]:
    config: Any = benchmark.config_class
    return benchmark(config(task=group)).tasks()


def _entry(point: EntryPoint) -> Entry:
    needs = requirements_of(point)
    try:
        plugin = load_object(point.value)
    except ConfigError as error:
        return Entry(point.name, "", needs, str(error))
    # A benchmark's module describes that benchmark alone; a policy's module may hold several loaders.
    described = inspect.getmodule(plugin) if inspect.isclass(plugin) else plugin
    return Entry(point.name, _first_sentence(inspect.getdoc(described) or ""), needs)


def _with_environment(entry: Entry) -> Entry:
    """Add the environment of a benchmark that lacks something here, and the recipe that makes one."""
    if entry.requirements.met and not lacks_module(entry.name):
        return entry
    environment = next((each.name for each in environments_for(entry.name)), "")
    recipe = next((each.name for each in recipes().values() if entry.name in each.benchmarks), "")
    return replace(entry, environment=environment, recipe=recipe)


def _first_sentence(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "").rstrip(".")
