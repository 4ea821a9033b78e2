"""What policies have been measured to do, read for comparison: run directories, and ``eval_info.json`` files alone.

LeRobot's own files are read too. They say how many episodes of each task succeeded, but not which: nothing in them
identifies an episode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from proctor.errors import ConfigError
from proctor.results.eval_info import FORMAT_VERSION
from proctor.results.run_dir import RUN_FILE, RunInfo
from proctor.results.stats import Counts
from proctor.results.summary import Summary, load_summary
from proctor.types import Outcome, TaskKey

_RESULT_FILE = "eval_info.json"


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
class Measured:
    """An evaluation as far as a comparison needs it.

    ``fingerprint`` is empty where none was recorded. ``stopped_early`` says that its own results decided how many
    episodes it has.
    """

    path: Path
    tasks: Mapping[TaskKey, MeasuredTask]
    fingerprint: Mapping[str, Any]
    stopped_early: bool = False


def read_measured(path: Path) -> Measured:
    """Read a run directory (finished or not), a directory that holds an ``eval_info.json``, or such a file.

    Raises:
        ConfigError: it is none of these, damaged, or from a newer version of Proctor.
        MergeError: the run's journals contradict each other.
    """
    if (path / RUN_FILE).exists():
        return measured_run(path, *load_summary(path))
    return _of_file(path, path / _RESULT_FILE if path.is_dir() else path)


def measured_run(directory: Path, run: RunInfo, summary: Summary) -> Measured:
    """What a run directory that has been read already (:func:`~proctor.results.summary.load_summary`) measured."""
    tasks = {
        task.task.key: MeasuredTask(
            task.task.name,
            task.counts,
            {
                EpisodeId(result.spec.episode_index, result.spec.seed, result.spec.init_state_id): result.success
                for result in task.episodes
                if result.outcome is not Outcome.ERROR
            },
        )
        for task in summary.tasks
    }
    return Measured(directory, tasks, run.fingerprint, summary.stop is not None)


def _of_file(path: Path, file: Path) -> Measured:
    try:
        # Not msgspec: LeRobot writes NaN, which is not JSON.
        info = msgspec.convert(json.loads(file.read_bytes()), _Info)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be compared: {error.strerror}; give a run directory or an eval_info.json."
        ) from None
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file} is not an eval_info.json of Proctor or LeRobot ({error}).") from None
    if info.format_version > FORMAT_VERSION:
        raise ConfigError(
            f"{file} has format version {info.format_version}, this Proctor reads up to {FORMAT_VERSION}: "
            "update Proctor to read it."
        )
    tasks = {}
    for task in info.per_task:
        key = TaskKey(task.task_group, task.task_id)
        successes, n = sum(task.metrics.successes), len(task.metrics.successes)
        tasks[key] = MeasuredTask(
            task.task or f"{task.task_group}/{task.task_id}",
            Counts(n + task.n_errors + task.n_missing, successes, n - successes, task.n_errors),
            {
                EpisodeId(episode.episode_index, episode.seed, episode.init_state_id): episode.success
                for episode in info.per_episode
                if (episode.suite, episode.task_id) == key and episode.success is not None
            },
        )
    return Measured(path, tasks, info.fingerprint, info.stopped_early is not None)


# What is read of an eval_info.json; whatever else it holds is left alone.


@dataclass(frozen=True)
class _Metrics:
    successes: list[bool]


@dataclass(frozen=True)
class _Task:
    task_group: str
    task_id: int
    metrics: _Metrics
    task: str = ""
    n_errors: int = 0
    n_missing: int = 0


@dataclass(frozen=True)
class _Episode:
    suite: str
    task_id: int
    episode_index: int
    seed: int
    init_state_id: int | None = None
    success: bool | None = None


@dataclass(frozen=True)
class _Info:
    per_task: list[_Task]
    format_version: int = FORMAT_VERSION  # LeRobot's have none
    per_episode: list[_Episode] = field(default_factory=list)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    stopped_early: dict[str, Any] | None = None
