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

from proctor.statistics.intervals import LEVEL, Interval, IntervalMethod
from proctor.statistics.task_mean import effective_episodes, wilson_of_mean
from proctor.types import Array, EpisodeResult, Outcome


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts that add up: episode to task, task to suite, suite to overall. Rates and means are derived.

    ``planned`` episodes are completed (a success, a failure, or ``unknown``: nothing was said of success), in error, or
    missing: not run yet. ``length`` is summed over the completed ones, ``sum_reward`` over the ``n_sum_rewards`` of
    them that have one, and ``max_reward`` likewise: a reward that is NaN or infinite is none.
    """

    planned: int = 0
    successes: int = 0
    failures: int = 0
    errors: int = 0
    sum_reward: float = 0.0
    max_reward: float = 0.0
    length: int = 0
    unknown: int = 0
    n_sum_rewards: int = 0
    n_max_rewards: int = 0

    @classmethod
    def of(cls, result: EpisodeResult) -> Counts:
        """One episode."""
        return cls.total([result])

    @classmethod
    def total(cls, results: Iterable[EpisodeResult]) -> Counts:
        """Of many episodes; what adding them one by one gives, without an object for each."""
        planned = successes = unknown = errors = length = n_sum_rewards = n_max_rewards = 0
        sum_reward = max_reward = 0.0
        for result in results:
            planned += 1
            if result.outcome is Outcome.ERROR:
                errors += 1
                continue
            successes += result.outcome is Outcome.SUCCESS
            unknown += result.outcome is Outcome.UNKNOWN
            if result.sum_reward is not None and math.isfinite(result.sum_reward):
                n_sum_rewards += 1
                sum_reward += result.sum_reward
            if result.max_reward is not None and math.isfinite(result.max_reward):
                n_max_rewards += 1
                max_reward += result.max_reward
            length += result.length
        failures = planned - errors - successes - unknown
        return cls(
            planned,
            successes,
            failures,
            errors,
            sum_reward,
            max_reward,
            length,
            unknown,
            n_sum_rewards,
            n_max_rewards,
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def completed(self) -> int:
        return self.successes + self.failures + self.unknown

    @property
    def missing(self) -> int:
        return self.planned - self.completed - self.errors

    @property
    def rate(self) -> float | None:
        """Successes over completed episodes; None before there are any, and while the success of one is unknown."""
        return self.successes / self.completed if self.completed and not self.unknown else None

    def interval(self, method: IntervalMethod) -> Interval | None:
        """Of :attr:`rate`; None before there is one."""
        return None if self.rate is None else method.interval(self.successes, self.completed)

    @property
    def bounds(self) -> Interval | None:
        """The rate had every error been a failure, and had every one been a success; None without a rate to bound."""
        run = self.completed + self.errors
        if not run or self.unknown:
            return None
        return Interval(self.successes / run, (self.successes + self.errors) / run)

    @property
    def mean_sum_reward(self) -> float | None:
        """Over the episodes that have one; None if none has."""
        return self.sum_reward / self.n_sum_rewards if self.n_sum_rewards else None

    @property
    def mean_max_reward(self) -> float | None:
        """Over the episodes that have one; None if none has."""
        return self.max_reward / self.n_max_rewards if self.n_max_rewards else None

    @property
    def mean_length(self) -> float | None:
        """None also for LeRobot's files, which do not say how long an episode was."""
        return self.length / self.completed if self.completed and math.isfinite(self.length) else None


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

    The interval speaks of these tasks, not of others like them (:mod:`proctor.statistics.task_mean`). The anytime-valid
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
