"""The results of an evaluation, joined with its plan: every report is made from a :class:`Summary`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from proctor.errors import ConfigError, MergeError, note
from proctor.results.fingerprint import check_fingerprint
from proctor.results.journal import Journal, RecordedResults, collection_paused
from proctor.results.journal_records import EpisodeKey, key_of
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RUN_FILE, RunDirectory
from proctor.results.run_info import RunInfo
from proctor.statistics.bootstrap import MeanIntervals, Resampled, mean_intervals, quantities, resample_task
from proctor.statistics.counts import Counts, Macro, macro, pooled_interval
from proctor.statistics.intervals import Interval, IntervalMethod
from proctor.statistics.stopping import EarlyStop, Precision, find_stop
from proctor.types import Array, AttemptError, EpisodeResult, EpisodeSpec, Outcome, Task, TaskKey, Timings

_USUAL = Precision()
_FEWEST_REPEATED = 5
"""Fewer episodes may end alike by chance, in a simulator with few states; and their interval is wide anyway."""
_Known = TypeVar("_Known")


@dataclass(frozen=True)
class _Totals:
    """All that is counted of a task's episodes, in one reading of them.

    ``outcomes`` has one for each episode; ``quantities`` are those of completed episodes, floats (completed episodes,
    quantities).
    """

    outcomes: tuple[Outcome, ...]
    counts: Counts
    timings: Timings
    failed_attempts: Counter[str]
    quantities: Array
    n_repeated: int

    @classmethod
    def of(cls, results: Sequence[EpisodeResult]) -> _Totals:
        return cls(
            tuple(result.outcome for result in results),
            Counts.total(results),
            Timings.sum_of(result.timings for result in results),
            Counter(error.kind for result in results for error in result.errors),
            quantities(results),
            _n_repeated(results),
        )


def _n_repeated(results: Sequence[EpisodeResult]) -> int:
    """Return how many completed episodes of a task repeat another one: see :attr:`TaskSummary.n_repeated`."""
    ends = [
        (result.spec.init_state_id, result.length, result.sum_reward, result.max_reward, result.final_state_hash)
        for result in results
        if result.outcome is not Outcome.ERROR and result.final_state_hash is not None
    ]
    if len(ends) < _FEWEST_REPEATED:
        return 0
    starts = {init_state_id for init_state_id, *_ in ends}
    if None not in starts:
        return len(ends) - len(set(ends)) if len(starts) < len(ends) else 0
    return len(ends) - 1 if all(end == ends[0] for end in ends) else 0


@dataclass(frozen=True)
class TaskSummary:
    """The results of one task.

    ``episodes`` are the episodes with a result, errors included, and ``specs`` are theirs; ``missing`` are the planned
    episodes without a result. The ``episodes`` of a run on disk are read each time they are iterated over, because a
    million would fill the memory.
    """

    task: Task
    specs: tuple[EpisodeSpec, ...]
    episodes: Sequence[EpisodeResult]
    missing: tuple[EpisodeSpec, ...]

    @cached_property
    def _totals(self) -> _Totals:
        return _Totals.of(list(self.episodes))

    @cached_property
    def counts(self) -> Counts:
        return self._totals.counts + Counts(n_planned=len(self.missing))

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcome of each episode."""
        return self._totals.outcomes

    @property
    def quantities(self) -> Array:
        """The numbers of completed episodes, in their order (:func:`~proctor.statistics.bootstrap.quantities`)."""
        return self._totals.quantities

    @property
    def n_repeated(self) -> int:
        """The number of completed episodes that repeat another one, with the same length, rewards and final state: from
        a stored initial state that is used again, or all of them, where the seed decides nothing.
        """
        return self._totals.n_repeated

    @property
    def timings(self) -> Timings:
        """The times of the task's episodes, summed."""
        return self._totals.timings

    @property
    def failed_attempts(self) -> Counter[str]:
        """The number of failed attempts by kind of error, also of episodes that a later attempt completed."""
        return self._totals.failed_attempts

    @cached_property
    def resampled(self) -> Resampled:
        """Resamples of the rewards and lengths of the task's episodes, for the intervals of their means."""
        return resample_task(self.task.key, self._totals.quantities)

    @cached_property
    def mean_intervals(self) -> MeanIntervals:
        return mean_intervals([self.resampled])


@dataclass(frozen=True)
class Summary:
    """The results of an evaluation in the order of the plan: suites as given, then by task and episode.

    ``episodes`` are all episodes that have a result; those of a run on disk are read each time they are iterated over.
    ``wall_s`` is the duration of all sessions together in seconds, and ``worker_s`` the same summed over the workers of
    each session. ``startup_s`` is the part of the last session before its first episode began (imports, loading,
    construction). Each of the three is None if it was not measured. ``videos`` maps episodes to their video files,
    relative to the run directory. ``method`` is the method of the intervals of success rates. If there is an early
    ``stop``, episodes after it are neither counted nor missing. ``success_key`` is the key of ``info`` whose absence
    counts as a failure, None if there is none.
    """

    tasks: tuple[TaskSummary, ...]
    episodes: Sequence[EpisodeResult]
    wall_s: float | None = None
    worker_s: float | None = None
    startup_s: float | None = None
    videos: Mapping[EpisodeSpec, str] = field(default_factory=dict)
    method: IntervalMethod = IntervalMethod.WILSON
    stop: EarlyStop | None = None
    success_key: str | None = None

    @cached_property
    def missing(self) -> tuple[EpisodeSpec, ...]:
        """The planned episodes that have no result."""
        return tuple(spec for task in self.tasks for spec in task.missing)

    @property
    def has_suites(self) -> bool:
        """Suites group the tasks: tasks that were named one by one are each a suite of that name."""
        return any(task.task.suite != task.task.name for task in self.tasks)

    @cached_property
    def groups(self) -> dict[str, Counts]:
        """The counts per suite."""
        groups: dict[str, Counts] = {}
        for task in self.tasks:
            groups[task.task.suite] = groups.get(task.task.suite, Counts()) + task.counts
        return groups

    @cached_property
    def overall(self) -> Counts:
        """The counts of all episodes in one pool."""
        return sum(self.groups.values(), Counts())

    @cached_property
    def macro(self) -> Macro | None:
        """The mean over tasks of their success rates; None unless every task has one."""
        return macro([task.counts for task in self.tasks], self.method)

    def interval(self, counts: Counts) -> Interval | None:
        """Return the interval of the success rate of ``counts``; None if there is no rate."""
        return counts.interval(self.method)

    def pooled_interval(self, suite: str | None = None) -> Interval | None:
        """Return the interval of the success rate of all episodes in one pool, or of those of a suite; None if there is
        no rate.
        """
        return pooled_interval([task.counts for task in self.tasks if suite in (None, task.task.suite)], self.method)

    @cached_property
    def mean_intervals(self) -> MeanIntervals:
        """The intervals of the mean rewards and lengths of all episodes."""
        return mean_intervals([task.resampled for task in self.tasks])

    def mean_intervals_of(self, suite: str) -> MeanIntervals:
        """Return the intervals of the mean rewards and lengths of the episodes of one suite."""
        return mean_intervals([task.resampled for task in self.tasks if task.task.suite == suite])

    @cached_property
    def timings(self) -> Timings:
        """The times of all episodes, summed."""
        return Timings.sum_of(task.timings for task in self.tasks)

    @property
    def complete(self) -> bool:
        """Every planned episode has a result; an error is one."""
        return not self.missing

    @property
    def first_error(self) -> tuple[EpisodeSpec, AttemptError] | None:
        """The first episode that remained an error, and the error of its last attempt."""
        for result in (result for task in self.tasks if task.counts.n_errors for result in task.episodes):
            if result.outcome is Outcome.ERROR:
                return result.spec, result.errors[-1] if result.errors else AttemptError(
                    "unknown", "no reason recorded"
                )
        return None

    @property
    def episodes_per_s(self) -> float | None:
        """Episodes with a result per second of wall time; None if that was not measured."""
        return len(self.episodes) / self.wall_s if self.wall_s else None


def summarize(
    tasks: Sequence[Task],
    specs: Sequence[EpisodeSpec],
    results: Iterable[EpisodeResult],
    wall_s: float | None = None,
    precision: Precision = _USUAL,
) -> Summary:
    """Join a plan (or a shard's part of one) with results. Results that are not in the plan are left out.

    Tasks without an episode in ``specs`` are left out too, because a shard reports only its own part. If ``precision``
    is reached before the end of the plan, the episodes after that do not belong to the summary.
    """
    known = {key_of(result.spec): result for result in results}
    return replace(_join(tasks, specs, known, tuple, precision), wall_s=wall_s)


def _join(
    tasks: Sequence[Task],
    specs: Sequence[EpisodeSpec],
    known: Mapping[EpisodeKey, _Known],
    results: Callable[[Sequence[_Known]], Sequence[EpisodeResult]],
    precision: Precision,
) -> Summary:
    """Join a plan with what is ``known`` of its episodes; ``results`` turns such values into results."""
    position = {suite: number for number, suite in enumerate(dict.fromkeys(task.suite for task in tasks))}
    by_task = {task.key: task for task in tasks}
    stop = None
    if precision.stop_at_width is not None:
        of_plan = results([known[key] for spec in specs if (key := key_of(spec)) in known])
        if (stop := find_stop(specs, of_plan, precision.stop_at_width)) is not None:
            specs = [spec for spec in specs if stop.reached_by(spec)]
    planned: defaultdict[TaskKey, list[EpisodeSpec]] = defaultdict(list)
    for spec in specs:
        planned[spec.task].append(spec)
    summaries, found = [], []
    for task in sorted(planned, key=lambda task: (position[task.suite], task.task_id)):
        there, missing, of_task = [], [], []
        for spec in sorted(planned.pop(task), key=attrgetter("episode_index")):
            if (value := known.get(key_of(spec))) is None:
                missing.append(spec)
            else:
                there.append(spec)
                of_task.append(value)
        summaries.append(TaskSummary(by_task[task], tuple(there), results(of_task), tuple(missing)))
        found += of_task
    return Summary(tuple(summaries), results(found), method=precision.method, stop=stop)


@collection_paused()
def load_summary(directory: Path) -> tuple[RunInfo, Summary]:
    """Read the results that ``directory`` holds by now, of a run that has finished, goes on, or was interrupted.

    Shards count as running side by side. If some of the results were measured by another evaluation than ``run.json``
    describes, a note is given.

    Raises:
        ConfigError: ``directory`` is not a run directory.
        MergeError: its journals contradict each other.
    """
    run_directory = RunDirectory(directory)
    if (run := run_directory.read_run()) is None:
        raise ConfigError(f"{directory} holds no run: there is no {RUN_FILE} in it.")
    journals = run_directory.read_journals()
    _note_results_of_another(directory, run, journals)
    merged = merge_journals(journals)
    specs = run.specs  # made last: a million of them would take memory that merging needs
    summary = _join(run.tasks, specs, merged, RecordedResults, run.precision)
    wall_s = max((journal.wall_s for journal in journals), default=None)
    worker_s = (
        None if any(journal.worker_s is None for journal in journals) else sum(j.worker_s or 0.0 for j in journals)
    )
    videos = run_directory.existing_videos(specs)
    return run, replace(summary, wall_s=wall_s, worker_s=worker_s, videos=videos, success_key=run.success_key)


def _note_results_of_another(directory: Path, run: RunInfo, journals: Iterable[Journal]) -> None:
    """Give a note if a session of a journal has another fingerprint than ``run.json``, which the last one wrote."""
    measured = [header.fingerprint for journal in journals for header in journal.measured_by]
    found = (check_fingerprint(each, run.fingerprint, allow_mismatch=True) for each in measured)
    if differences := dict.fromkeys(line for lines in found for line in lines):
        note(
            f"{directory} holds results that were measured by another evaluation than its {RUN_FILE} describes: "
            f"{'; '.join(differences)}."
        )


def require_complete(summary: Summary) -> None:
    """Check that every planned episode has a result, as a merge of all shards must.

    Raises:
        MergeError: episodes are missing; lists them as ranges.
    """
    if summary.missing:
        raise MergeError(
            f"{len(summary.missing)} of {summary.overall.n_planned} planned episodes are missing: "
            f"{describe(key_of(spec) for spec in summary.missing)}."
        )


def describe(keys: Iterable[EpisodeKey]) -> str:
    """Describe episodes as ranges: ``libero_spatial/3 episodes 2, 7-9; libero_spatial/4 episodes 0``."""
    parts = []
    for (suite, task_id), group in groupby(keys, key=lambda key: (key.suite, key.task_id)):
        indices = sorted(key.episode_index for key in group)
        runs = [
            [index for _, index in run] for _, run in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0])
        ]
        ranges = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
        parts.append(f"{suite}/{task_id} episodes {ranges}")
    return "; ".join(parts)
