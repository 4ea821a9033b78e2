"""Counts that add up, and what is derived from them: rates, and the mean over a fixed list of tasks.

An error is not a failure: an episode that could not be run to its end is in no rate. How much it could matter is said
by :attr:`Counts.bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

from proctor.results.intervals import LEVEL, Interval, IntervalMethod, z_score
from proctor.types import EpisodeResult, Outcome


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts that add up: episode to task, task to suite, suite to overall. Rates and means are derived.

    ``planned`` episodes are completed (a success or a failure), in error, or missing: not run yet. Sums are over the
    completed ones.
    """

    planned: int = 0
    successes: int = 0
    failures: int = 0
    errors: int = 0
    sum_reward: float = 0.0
    max_reward: float = 0.0
    length: int = 0

    @classmethod
    def of(cls, result: EpisodeResult) -> Counts:
        """One episode."""
        return cls.total([result])

    @classmethod
    def total(cls, results: Iterable[EpisodeResult]) -> Counts:
        """Of many episodes; what adding them one by one gives, without an object for each."""
        planned = successes = errors = length = 0
        sum_reward = max_reward = 0.0
        for result in results:
            planned += 1
            if result.outcome is Outcome.ERROR:
                errors += 1
                continue
            successes += result.outcome is Outcome.SUCCESS
            sum_reward += math.nan if result.sum_reward is None else result.sum_reward
            max_reward += math.nan if result.max_reward is None else result.max_reward
            length += result.length
        return cls(planned, successes, planned - errors - successes, errors, sum_reward, max_reward, length)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def completed(self) -> int:
        return self.successes + self.failures

    @property
    def missing(self) -> int:
        return self.planned - self.completed - self.errors

    @property
    def rate(self) -> float | None:
        """Successes over completed episodes; None before there are any."""
        return self.successes / self.completed if self.completed else None

    def interval(self, method: IntervalMethod) -> Interval | None:
        """Of :attr:`rate`; None before there is one."""
        return method.interval(self.successes, self.completed) if self.completed else None

    @property
    def bounds(self) -> Interval | None:
        """The rate had every error been a failure, and had every one been a success."""
        run = self.completed + self.errors
        return Interval(self.successes / run, (self.successes + self.errors) / run) if run else None

    @property
    def mean_sum_reward(self) -> float | None:
        return self._mean(self.sum_reward)

    @property
    def mean_max_reward(self) -> float | None:
        return self._mean(self.max_reward)

    @property
    def mean_length(self) -> float | None:
        return self._mean(self.length)

    def _mean(self, total: float) -> float | None:
        """None also where a simulator gave a reward that is not a number: there is no mean of it."""
        return total / self.completed if self.completed and math.isfinite(total) else None


@dataclass(frozen=True, slots=True)
class Macro:
    """The mean over tasks of their success rates, each task weighing the same.

    ``method`` says where the interval is from: ``stratified``, or the method for one rate in one pool.
    """

    rate: float
    interval: Interval
    n_tasks: int
    method: str


def macro(
    tasks: Sequence[Counts], method: IntervalMethod = IntervalMethod.WILSON, level: float = LEVEL
) -> Macro | None:
    """The macro average over a fixed list of tasks; None unless every one of them has a completed episode.

    The interval speaks of these tasks, not of others like them: its variance is that of the episodes within each
    task. Where every task succeeds always or never that variance is zero although 3 of 3 are no proof, and ``method``'s
    interval for as many episodes in one pool stands in. The anytime-valid one is always that of the pool: it holds for
    the mean at the end of every round through the tasks, whatever each task's own rate (docs/statistics.md).
    """
    rates = [counts.rate for counts in tasks if counts.rate is not None]
    if not rates or len(rates) < len(tasks):
        return None
    rate = fmean(rates)
    error = stratified_standard_error(tasks)
    if error > 0 and method is not IntervalMethod.ANYTIME:
        half = z_score(level) * error
        return Macro(rate, Interval(max(0.0, rate - half), min(1.0, rate + half)), len(tasks), "stratified")
    n = sum(counts.completed for counts in tasks)
    return Macro(rate, method.interval(rate * n, n, level), len(tasks), method.value)


def stratified_standard_error(tasks: Sequence[Counts]) -> float:
    """Of the macro average; ``n - 1``, as a variance is estimated. A task with one episode tells nothing of its own."""
    variances = (
        counts.successes * counts.failures / counts.completed**2 / (counts.completed - 1)
        for counts in tasks
        if counts.completed > 1
    )
    return math.sqrt(sum(variances)) / len(tasks)
