"""Counts that add up, and what is derived from them: rates, and the mean over a fixed list of tasks.

An error is not a failure: an episode that could not be run to its end is in no rate. :attr:`Counts.bounds` is how much
the errors could matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add, attrgetter
from statistics import fmean

import msgspec
import numpy as np

from proctor.statistics.intervals import LEVEL, Interval, IntervalMethod
from proctor.statistics.task_mean import effective_episodes, wilson_of_mean
from proctor.types import Array, EpisodeResult, Outcome


class Counts(msgspec.Struct, frozen=True, gc=False):
    """Counts of episodes that add up: episode to task, task to suite, suite to overall. Rates and means are derived.

    Each of ``n_planned`` episodes is completed (a success, a failure, or unknown if the environment did not report
    whether it succeeded), in error, or missing, which means that it has no result yet. ``total_sum_reward``,
    ``total_max_reward`` and ``total_length`` (in steps) are sums over completed episodes, of which ``n_sum_rewards``,
    ``n_max_rewards`` and ``n_lengths`` have the quantity: a reward that is NaN or infinite counts as none, and
    LeRobot's result files record no lengths.
    """

    n_planned: int = 0
    n_successes: int = 0
    n_failures: int = 0
    n_errors: int = 0
    n_unknown: int = 0
    total_sum_reward: float = 0.0
    total_max_reward: float = 0.0
    total_length: int = 0
    n_sum_rewards: int = 0
    n_max_rewards: int = 0
    n_lengths: int = 0

    @classmethod
    def of(cls, result: EpisodeResult) -> Counts:
        """Count one episode."""
        return cls.total([result])

    @classmethod
    def total(cls, results: Iterable[EpisodeResult]) -> Counts:
        """Count many episodes: the sum of their :meth:`of`, without an object for each."""
        n_planned = n_successes = n_unknown = n_errors = 0
        total_length = n_sum_rewards = n_max_rewards = n_lengths = 0
        total_sum_reward = total_max_reward = 0.0
        for result in results:
            n_planned += 1
            if result.outcome is Outcome.ERROR:
                n_errors += 1
                continue
            n_successes += result.outcome is Outcome.SUCCESS
            n_unknown += result.outcome is Outcome.UNKNOWN
            if result.sum_reward is not None and math.isfinite(result.sum_reward):
                n_sum_rewards += 1
                total_sum_reward += result.sum_reward
            if result.max_reward is not None and math.isfinite(result.max_reward):
                n_max_rewards += 1
                total_max_reward += result.max_reward
            if result.length is not None:
                n_lengths += 1
                total_length += result.length
        return cls(
            n_planned,
            n_successes,
            n_planned - n_errors - n_successes - n_unknown,
            n_errors,
            n_unknown,
            total_sum_reward,
            total_max_reward,
            total_length,
            n_sum_rewards,
            n_max_rewards,
            n_lengths,
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(*map(add, _numbers_of(self), _numbers_of(other)))

    def __radd__(self, start: int) -> Counts:
        """Let ``sum(counts)`` begin with its usual 0."""
        return self if start == 0 else NotImplemented

    @property
    def n_completed(self) -> int:
        return self.n_successes + self.n_failures + self.n_unknown

    @property
    def n_missing(self) -> int:
        return self.n_planned - self.n_completed - self.n_errors

    @property
    def rate(self) -> float | None:
        """Successes over completed episodes, 0 to 1.

        None if no episode is completed, or if it is unknown of a completed episode whether it succeeded.
        """
        return self.n_successes / self.n_completed if self.n_completed and not self.n_unknown else None

    def interval(self, method: IntervalMethod) -> Interval | None:
        """The interval of :attr:`rate`; None if there is no rate."""
        return None if self.rate is None else method.interval(self.n_successes, self.n_completed)

    @property
    def bounds(self) -> Interval | None:
        """The rate if every error had been a failure, and if every error had been a success; None if a success is
        unknown, or no episode has a result.
        """
        n_run = self.n_completed + self.n_errors
        if not n_run or self.n_unknown:
            return None
        return Interval(self.n_successes / n_run, (self.n_successes + self.n_errors) / n_run)

    @property
    def mean_sum_reward(self) -> float | None:
        """The mean sum of rewards, over the episodes that have one; None if none has one, or their sum overflows."""
        return _mean(self.total_sum_reward, self.n_sum_rewards)

    @property
    def mean_max_reward(self) -> float | None:
        """The mean largest reward, over the episodes that have one; None if none has one, or their sum overflows."""
        return _mean(self.total_max_reward, self.n_max_rewards)

    @property
    def mean_length(self) -> float | None:
        """The mean length in steps, over the episodes whose length is recorded; None if no length is."""
        return self.total_length / self.n_lengths if self.n_lengths else None


def _mean(total: float, n: int) -> float | None:
    return total / n if n and math.isfinite(total) else None


_numbers_of = attrgetter(*Counts.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Macro:
    """The mean over ``n_tasks`` tasks of their success rates (0 to 1); every task has the same weight.

    ``method`` names the method of the interval: for a single task that of one rate, else ``wilson-effective`` or
    ``exact-effective`` (for the effective number of episodes), or ``anytime``.
    """

    rate: float
    interval: Interval
    n_tasks: int
    method: str


def macro(
    tasks: Sequence[Counts], method: IntervalMethod = IntervalMethod.WILSON, level: float = LEVEL
) -> Macro | None:
    """Return the macro average over a fixed list of tasks; None unless every task has a success rate.

    The interval is for these tasks, and not for others like them (:mod:`proctor.statistics.task_mean`). The
    anytime-valid interval holds for the mean at the end of every round through the tasks, whatever each task's own
    rate, so it counts only the rounds that every task has completed (docs/statistics.md).
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
    """Return the numbers of successes and of completed episodes, integers (tasks,) each."""
    return np.array([counts.n_successes for counts in tasks]), np.array([counts.n_completed for counts in tasks])


def pooled_interval(tasks: Sequence[Counts], method: IntervalMethod) -> Interval | None:
    """Return the interval of the success rate of all episodes of ``tasks`` in one pool; None if there is no rate.

    If every task has completed equally many episodes, that rate is the mean over tasks, and so the interval is that of
    the mean: the same number is never shown with two intervals.
    """
    mean = macro(tasks, method)
    if mean is not None and len({counts.n_completed for counts in tasks}) == 1:
        return mean.interval
    return sum(tasks, Counts()).interval(method)
