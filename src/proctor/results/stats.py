"""Counts that add up, and what is derived from them: rates, and the mean over a fixed list of tasks.

An error is not a failure: an episode that could not be run to its end is in no rate. How much it could matter is said
by :attr:`Counts.bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import numpy as np

from proctor.results.intervals import LEVEL, Interval, IntervalMethod
from proctor.results.task_mean import effective_episodes, wilson_of_mean
from proctor.types import Array, EpisodeResult, Outcome


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

    ``method`` says where the interval is from: that of one rate for a single task, ``wilson-effective`` or
    ``exact-effective`` for the effective number of episodes of several, or ``anytime``.
    """

    rate: float
    interval: Interval
    n_tasks: int
    method: str


def macro(
    tasks: Sequence[Counts], method: IntervalMethod = IntervalMethod.WILSON, level: float = LEVEL
) -> Macro | None:
    """The macro average over a fixed list of tasks; None unless every one of them has a completed episode.

    The interval speaks of these tasks, not of others like them (:mod:`proctor.results.task_mean`). The anytime-valid
    one holds for the mean at the end of every round through the tasks, whatever each task's own rate, so it counts the
    rounds that every task has completed (docs/statistics.md).
    """
    rates = [counts.rate for counts in tasks if counts.rate is not None]
    if not rates or len(rates) < len(tasks):
        return None
    rate, successes, episodes = fmean(rates), *_arrays(tasks)
    if len(tasks) == 1 or method is IntervalMethod.ANYTIME:
        n = len(tasks) * int(episodes.min())
        return Macro(rate, method.interval(rate * n, n, level), len(tasks), method.value)
    effective = effective_episodes(successes, episodes)
    if method is IntervalMethod.EXACT:
        interval = method.interval(rate * float(effective), float(effective), level)
    else:
        interval = Interval(*map(float, wilson_of_mean(np.asarray(rate), effective, level)))
    return Macro(rate, interval, len(tasks), f"{method}-effective")


def _arrays(tasks: Sequence[Counts]) -> tuple[Array, Array]:
    """Successes and completed episodes, integers (tasks,) each."""
    return np.array([counts.successes for counts in tasks]), np.array([counts.completed for counts in tasks])


def pooled_interval(tasks: Sequence[Counts], method: IntervalMethod) -> Interval | None:
    """Of the rate of all these tasks' episodes in one pool; None before there is one.

    If every task has completed equally many, that rate is the mean over tasks, and the interval the mean's.
    """
    mean = macro(tasks, method)
    if mean is not None and len({counts.completed for counts in tasks}) == 1:
        return mean.interval
    return sum(tasks, Counts()).interval(method)
