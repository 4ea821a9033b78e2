"""Evaluations in the form in which they are compared, read from run directories or from ``eval_info.json`` files alone.

LeRobot's own files are read too. They hold how many episodes of each task succeeded, but nothing that identifies an
episode. Those of LeRobot up to 0.3 give the seeds of their episodes, but not the name of the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from proctor.errors import ConfigError
from proctor.results.result_file import UNNAMED_TASK, name_of_number, read_result_file
from proctor.results.run_dir import RESULT_FILE, RunDirectory
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, load_summary
from proctor.statistics.counts import Counts
from proctor.types import Task, TaskKey


class EpisodeId(NamedTuple):
    """The identity of an episode within a task: two runs' episodes with equal ids are the same episode."""

    episode_index: int
    seed: int
    init_state_id: int | None


@dataclass(frozen=True)
class MeasuredTask:
    """The counts of one task, and whether each of its identified episodes succeeded."""

    name: str
    counts: Counts
    successes: Mapping[EpisodeId, bool]


@dataclass(frozen=True)
class MeasuredRun:
    """An evaluation as far as a comparison needs it.

    ``fingerprint`` is empty if none was recorded. ``stopped_early`` is true if the evaluation's own results decided how
    many episodes it has.
    """

    path: Path
    tasks: Mapping[TaskKey, MeasuredTask]
    fingerprint: Mapping[str, Any]
    stopped_early: bool = False


def read_measured(path: Path) -> MeasuredRun:
    """Read an evaluation for a comparison.

    Raises:
        ConfigError, MergeError: as :func:`read_results`.
    """
    return measured_run(path, *read_results(path))


def read_results(path: Path) -> tuple[RunInfo | None, Summary]:
    """Read a run directory (finished or not), a directory that holds an ``eval_info.json``, or such a file.

    Returns:
        The description of the run, None if the file does not hold one (LeRobot's do not), and its results.

    Raises:
        ConfigError: ``path`` is none of these, damaged, or from a newer version of Proctor.
        MergeError: the run's journals contradict each other.
    """
    if RunDirectory(path).holds_run:
        return load_summary(path)
    return read_result_file(path / RESULT_FILE if path.is_dir() else path)


def with_named_tasks(evaluations: Sequence[MeasuredRun]) -> list[MeasuredRun]:
    """Return the evaluations, of which a task without a name is taken for the only task that the others have.

    Raises:
        ConfigError: the others have several tasks, and the task without a name could be any of them.
    """
    named = {key: task for each in evaluations for key, task in each.tasks.items() if key != UNNAMED_TASK}
    unnamed = [each for each in evaluations if UNNAMED_TASK in each.tasks]
    if not named or not unnamed:
        return list(evaluations)
    if len(named) > 1:
        raise ConfigError(
            f"{unnamed[0].path} does not name the task of its episodes, which could be any of {len(named)} tasks; "
            "compare it with the run of a single task."
        )
    ((key, task),) = named.items()
    return [
        replace(each, tasks={key: replace(each.tasks[UNNAMED_TASK], name=task.name)}) if each in unnamed else each
        for each in evaluations
    ]


def are_one_task(key: TaskKey, *names: str) -> bool:
    """Say whether tasks of several evaluations that have the same ``key`` are one task, by their names.

    A benchmark may number tasks in the order in which they are given, so that equal numbers are not enough. Where a
    file has no name, they are.
    """
    return len({*names} - {name_of_number(key)}) <= 1


def shared_tasks(summaries: Sequence[Summary]) -> tuple[list[Task], list[dict[TaskKey, int]]]:
    """Return the tasks of several evaluations, and for each evaluation the positions of its tasks among them, by key.

    Which tasks are one: see :func:`are_one_task`.
    """
    tasks: list[Task] = []
    positions: list[dict[TaskKey, int]] = []
    known: dict[TaskKey, list[int]] = {}
    for summary in summaries:
        positions.append({})
        for task in (each.task for each in summary.tasks):
            numbers = known.setdefault(task.key, [])
            found = next((i for i in numbers if are_one_task(task.key, tasks[i].name, task.name)), len(tasks))
            if found == len(tasks):
                numbers.append(found)
                tasks.append(task)
            elif tasks[found].name == name_of_number(task.key):
                tasks[found] = task
            positions[-1][task.key] = found
    return tasks, positions


def measured_run(path: Path, run: RunInfo | None, summary: Summary) -> MeasuredRun:
    """Make the form for a comparison of an evaluation that has been read; ``run`` is None if it is not described."""
    tasks = {
        task.task.key: MeasuredTask(
            task.task.name,
            task.counts,
            {
                EpisodeId(result.spec.episode_index, result.spec.seed, result.spec.init_state_id): success
                for result in task.episodes
                if (success := result.success) is not None and result.spec.seed is not None
            },
        )
        for task in summary.tasks
    }
    return MeasuredRun(path, tasks, {} if run is None else run.fingerprint, summary.stop is not None)
