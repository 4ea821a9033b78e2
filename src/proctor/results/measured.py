"""What policies have been measured to do, read for comparison: run directories, and ``eval_info.json`` files alone.

LeRobot's own files are read too. They say how many episodes of each task succeeded, but not which: nothing in them
identifies an episode. LeRobot's up to 0.3 give the seeds of their episodes, but not the name of the task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from proctor.errors import ConfigError
from proctor.results.result_file import UNNAMED_TASK, read_result_file
from proctor.results.run_dir import RESULT_FILE, RunDirectory
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, load_summary
from proctor.statistics.counts import Counts
from proctor.types import TaskKey


class EpisodeId(NamedTuple):
    """What makes two runs' episodes of a task the same one."""

    episode_index: int
    seed: int
    init_state_id: int | None


@dataclass(frozen=True)
class MeasuredTask:
    """One task: how many episodes came out how, and the successes of those that can be identified."""

    name: str
    counts: Counts
    successes: Mapping[EpisodeId, bool]


@dataclass(frozen=True)
class MeasuredRun:
    """An evaluation as far as a comparison needs it.

    ``fingerprint`` is empty where none was recorded. ``stopped_early`` says that its own results decided how many
    episodes it has.
    """

    path: Path
    tasks: Mapping[TaskKey, MeasuredTask]
    fingerprint: Mapping[str, Any]
    stopped_early: bool = False


def read_measured(path: Path) -> MeasuredRun:
    """Read a run directory (finished or not), a directory that holds an ``eval_info.json``, or such a file.

    Raises:
        ConfigError: it is none of these, damaged, or from a newer version of Proctor.
        MergeError: the run's journals contradict each other.
    """
    if RunDirectory(path).holds_run:
        return measured_run(path, *load_summary(path))
    return measured_run(path, *read_result_file(path / RESULT_FILE if path.is_dir() else path))


def with_named_tasks(evaluations: Sequence[MeasuredRun]) -> list[MeasuredRun]:
    """The evaluations; the task of one that does not name it is taken for the only task that the others have.

    Raises:
        ConfigError: the others have several tasks, any of which it could be.
    """
    named = {key: task for each in evaluations for key, task in each.tasks.items() if key != UNNAMED_TASK}
    unnamed = [each for each in evaluations if UNNAMED_TASK in each.tasks]
    if not named or not unnamed:
        return list(evaluations)
    if len(named) > 1:
        raise ConfigError(
            f"{unnamed[0].path} does not say of which task its episodes are, and there are {len(named)} tasks that it "
            "could be; compare it with the run of a single task."
        )
    ((key, task),) = named.items()
    return [
        replace(each, tasks={key: replace(each.tasks[UNNAMED_TASK], name=task.name)}) if each in unnamed else each
        for each in evaluations
    ]


def measured_run(path: Path, run: RunInfo | None, summary: Summary) -> MeasuredRun:
    """What a run measured that has been read already; without ``run`` nothing says what was evaluated."""
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
