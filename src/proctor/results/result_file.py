"""Reads an ``eval_info.json`` of Proctor or LeRobot back into the results that it was made from.

LeRobot's holds how many episodes of each task succeeded, and their rewards, but nothing in it identifies an episode:
seeds and lengths are not a number then, and nothing is made of them. LeRobot's up to 0.3, and what
:func:`proctor.eval_policy` returns, are of one task without a name; they do hold the seed of each episode.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from proctor.errors import ConfigError
from proctor.machine.files import read_file
from proctor.results.eval_info import FORMAT_VERSION
from proctor.results.provenance import Provenance
from proctor.results.run_dir import RESULT_FILE, RunDirectory
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, TaskSummary
from proctor.statistics.intervals import IntervalMethod
from proctor.statistics.stopping import EarlyStop
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome, Task, TaskKey, Timings

_MOST_MISSING = 10_000_000
"""The most missing episodes of a task: they are listed, so that a false number would take all memory."""

UNNAMED_TASK = TaskKey("unnamed", 0)
"""The only task of a file that does not name its task."""


def name_of_number(key: TaskKey) -> str:
    """Return the name that stands for that of a task which a file identifies by its number alone, as LeRobot's do."""
    return f"{key.suite}/{key.task_id}"


def read_result_file(file: Path) -> tuple[RunInfo | None, Summary]:
    """Read the results in ``file``, and the description of the evaluation, None if the file has none.

    Raises:
        ConfigError: the file cannot be read, is something else, or is from a newer version of Proctor.
    """
    info = _read(file)
    episodes = defaultdict(list)
    for episode in info.per_episode:
        episodes[episode.suite, episode.task_id].append(episode)
    tasks = tuple(_task_summary(task, episodes.get(task.key)) for task in info.per_task)
    summary = Summary(
        tasks,
        [result for task in tasks for result in task.episodes],
        wall_s=info.overall.eval_s,
        videos=RunDirectory(file.parent).existing_videos(spec for task in tasks for spec in task.specs),
        method=info.intervals.pc_success,
        stop=info.stopped_early,
    )
    if info.provenance is None:
        return None, summary
    try:
        run = RunInfo(info.config, info.fingerprint, info.provenance, command=(), plan=())
    except ValueError as error:
        raise ConfigError(f"{file} cannot be read ({error}); give another file.") from None
    return run, replace(summary, success_key=run.success_key)


# These classes hold the fields that are read; all others are ignored.


@dataclass(frozen=True)
class _Metrics:
    successes: list[bool | None]
    sum_rewards: list[float | None] = field(default_factory=list)
    max_rewards: list[float | None] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    task_group: str
    task_id: int
    metrics: _Metrics
    task: str = ""
    instruction: str = ""
    n_missing: Annotated[int, msgspec.Meta(ge=0, le=_MOST_MISSING)] = 0

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.task_group, self.task_id)


@dataclass(frozen=True)
class _Episode:
    suite: str
    task_id: int
    episode_index: int
    seed: int | None
    init_state_id: int | None = None
    success: bool | None = None
    outcome: Outcome | None = None
    sum_reward: float | None = None
    max_reward: float | None = None
    length: int | None = 0
    errors: tuple[AttemptError, ...] = ()
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True)
class _Overall:
    eval_s: float | None = None


@dataclass(frozen=True)
class _Intervals:
    pc_success: IntervalMethod = IntervalMethod.WILSON


@dataclass(frozen=True)
class _Info:
    per_task: list[_Task]
    format_version: int = FORMAT_VERSION  # LeRobot's have none
    overall: _Overall = field(default_factory=_Overall)
    intervals: _Intervals = field(default_factory=_Intervals)
    per_episode: list[_Episode] = field(default_factory=list)
    fingerprint: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None
    stopped_early: EarlyStop | None = None


@dataclass(frozen=True)
class _OldEpisode:
    """An episode as LeRobot wrote it up to 0.3."""

    episode_ix: int
    sum_reward: float | None = None
    max_reward: float | None = None
    success: bool | None = None
    seed: int | None = None


@dataclass(frozen=True)
class _OldInfo:
    """``eval_info.json`` of LeRobot up to 0.3, and what :func:`proctor.eval_policy` returns."""

    per_episode: list[_OldEpisode]
    aggregated: _Overall

    def renewed(self) -> _Info:
        """Convert the file to today's form."""
        episodes = [
            _Episode(
                *UNNAMED_TASK,
                episode.episode_ix,
                episode.seed,
                success=episode.success,
                sum_reward=episode.sum_reward,
                max_reward=episode.max_reward,
                length=None,
                # an episode with a reward was completed, whatever is known of its success
                outcome=Outcome.UNKNOWN if episode.success is None and episode.sum_reward is not None else None,
            )
            for episode in self.per_episode
        ]
        task = _Task(*UNNAMED_TASK, _Metrics([]), task="the task of LeRobot's file")
        return _Info([task], overall=self.aggregated, per_episode=episodes)


def _read(file: Path) -> _Info:
    try:
        content = json.loads(read_file(file))  # not msgspec: LeRobot writes NaN, which is not JSON
        if isinstance(content, dict) and "aggregated" in content:
            return msgspec.convert(content, _OldInfo).renewed()
        info = msgspec.convert(content, _Info)
        _require_one_result(info)
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}; give a run directory or an {RESULT_FILE}."
        ) from None
    except RecursionError:
        raise ConfigError(f"{file} is not an {RESULT_FILE}: it is nested deeper than any.") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file} is not an {RESULT_FILE} of Proctor or LeRobot ({error}).") from None
    if info.format_version > FORMAT_VERSION:
        raise ConfigError(
            f"{file} has format version {info.format_version}, this Proctor reads up to {FORMAT_VERSION}: "
            "update Proctor to read it."
        )
    return info


def _require_one_result(info: _Info) -> None:
    """Raise ValueError if the file lists a task or an episode twice, or contradicts itself about one."""
    if len({task.key for task in info.per_task}) < len(info.per_task):
        raise ValueError("it has a task twice")
    if len({(each.suite, each.task_id, each.episode_index) for each in info.per_episode}) < len(info.per_episode):
        raise ValueError("it has an episode twice")
    successes: defaultdict[tuple[str, int], Counter[bool | None]] = defaultdict(Counter)
    for episode in info.per_episode:
        if episode.outcome is None:
            return  # LeRobot's, which lists the successes of each task only
        if episode.outcome is not _outcome(episode):
            raise ValueError(f"an episode's success is {episode.success} and its outcome {episode.outcome}")
        if episode.outcome is not Outcome.ERROR:
            successes[episode.suite, episode.task_id][episode.success] += 1
    for task in info.per_task if info.per_episode else ():
        if Counter(task.metrics.successes) != successes[task.key]:
            raise ValueError(f"the successes of {task.task_group}/{task.task_id} are not those of its episodes")


def _task_summary(task: _Task, episodes: Sequence[_Episode] | None) -> TaskSummary:
    results = tuple(map(_result, episodes) if episodes else _nameless(task))
    name = task.task or name_of_number(task.key)
    return TaskSummary(
        Task(task.task_group, task.task_id, name, task.instruction, max_episode_steps=0),
        tuple(result.spec for result in results),
        results,
        tuple(_missing(task, results)),
    )


def _result(episode: _Episode) -> EpisodeResult:
    return EpisodeResult(
        EpisodeSpec(episode.suite, episode.task_id, episode.episode_index, episode.seed, episode.init_state_id),
        _outcome(episode),
        episode.sum_reward,
        episode.max_reward,
        episode.length,
        errors=episode.errors,
        timings=episode.timings,
    )


def _outcome(episode: _Episode) -> Outcome:
    """Derive the outcome, which LeRobot's files lack: an episode without a success may not have been completed."""
    if episode.success is None and episode.outcome is not Outcome.UNKNOWN:
        return Outcome.ERROR
    return Outcome.of_completed(episode.success)


def _nameless(task: _Task) -> Iterator[EpisodeResult]:
    """Yield results of episodes without numbers in the order of the file, which is all that identifies them."""
    rewards = zip(task.metrics.sum_rewards, task.metrics.max_rewards, strict=False)
    for index, success in enumerate(task.metrics.successes):
        yield EpisodeResult(
            EpisodeSpec(*task.key, index, seed=None),
            Outcome.of_completed(success),
            *next(rewards, (None, None)),
            length=None,
        )


def _missing(task: _Task, results: Sequence[EpisodeResult]) -> Iterator[EpisodeSpec]:
    """Yield the episodes without a result: only their numbers are known, as a task's episodes have no gap."""
    there = {result.spec.episode_index for result in results}
    for index in range(len(results) + task.n_missing):
        if index not in there:
            yield EpisodeSpec(*task.key, index, seed=None)
