"""What can be evaluated, and with what: benchmarks, their tasks, and policies. Imports no simulator, loads nothing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from proctor.benchmarks.base import Benchmark
from proctor.errors import ConfigError
from proctor.plugins import BENCHMARKS, POLICIES, Requirements, find, installed, load_object, requirements_of
from proctor.types import Task


@dataclass(frozen=True, slots=True)
class Entry:
    """A benchmark or a policy. ``problem`` says why it cannot be used even where its requirements are met."""

    name: str
    summary: str
    requirements: Requirements
    problem: str = ""

    @property
    def usable(self) -> bool:
        return self.requirements.met and not self.problem


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task, and the groups of ``--env.task`` that hold it."""

    task: Task
    groups: tuple[str, ...]


def benchmarks() -> list[Entry]:
    """All benchmarks; a broken plug-in among them says so."""
    return [_entry(point) for point in installed(BENCHMARKS).values()]


def policies() -> list[Entry]:
    """All policy types; a broken plug-in among them says so."""
    return [_entry(point) for point in installed(POLICIES).values()]


def tasks_of(name: str) -> list[ListedTask]:
    """Every task of a benchmark once, in the order of its groups.

    Raises:
        ConfigError: no such benchmark, or one whose tasks cannot be listed: says what to give for ``--env.task``.
    """
    benchmark: type[Benchmark] = load_object(find(BENCHMARKS, name))
    by_name: dict[str, Task] = {}
    groups: dict[str, list[str]] = {}
    for group in benchmark.groups or (None,):
        for task in _tasks(benchmark, group):
            by_name.setdefault(task.name, task)
            groups.setdefault(task.name, []).extend([group] if group else [])
    return [ListedTask(task, tuple(groups[task_name])) for task_name, task in by_name.items()]


def group_sizes(name: str) -> Mapping[str, int]:
    """How many tasks each of a benchmark's groups has.

    Raises:
        ConfigError: no such benchmark.
    """
    benchmark: type[Benchmark] = load_object(find(BENCHMARKS, name))
    return {group: len(_tasks(benchmark, group)) for group in benchmark.groups}


def _tasks(benchmark: type[Benchmark], group: str | None) -> list[Task]:
    config: Any = benchmark.config_class
    return benchmark(config(task=group)).tasks()


def _entry(point: EntryPoint) -> Entry:
    needs = requirements_of(point)
    try:
        plugin = load_object(point.value)
    except ConfigError as error:
        return Entry(point.name, "", needs, str(error))
    # A benchmark's module is one benchmark; a policy's may hold several.
    described = inspect.getmodule(plugin) if inspect.isclass(plugin) else plugin
    return Entry(point.name, _first_sentence(inspect.getdoc(described) or ""), needs)


def _first_sentence(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "").rstrip(".")
