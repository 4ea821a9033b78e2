"""The difference of two success rates, A's and B's: its interval, and a test of whether chance explains it.

A difference is B's rate minus A's. :class:`Contrast` is the interface of three situations: the same episodes under both
policies (:class:`Pairs`), different episodes (:class:`Samples`), and different episodes of several tasks in unequal
numbers (:class:`Strata`). docs/statistics.md has formulae and sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import NormalDist, fmean
from typing import ClassVar, NamedTuple, Protocol

from proctor.statistics.intervals import LEVEL, Interval, wilson, z_score
from proctor.statistics.power import episodes_if_independent, episodes_if_paired

_BOSCHLOO_UP_TO = 200
"""The most episodes of a policy for Boschloo's test. With more it takes seconds, and Fisher's test loses little."""
_NORMAL = NormalDist()
_SMALLEST_P = 1e-300


class Score(NamedTuple):
    """A number of successes in ``n`` episodes."""

    successes: int
    n: int

    @property
    def rate(self) -> float:
        return self.successes / self.n


class Contrast(Protocol):
    """The data for a comparison of two rates, and what follows from them."""

    @property
    def scores(self) -> tuple[Score, Score]:
        """The scores of A and of B in the episodes that are compared."""

    @property
    def difference(self) -> float:
        """B's rate minus A's."""

    @property
    def test(self) -> str:
        """The name of the test that gives :meth:`p_value`."""

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the two-sided interval of :attr:`difference`."""

    def p_value(self) -> float:
        """Return the two-sided p value: the probability of so large a difference between equal policies."""

    def episodes_needed(self, level: float = LEVEL) -> int | None:
        """Return the number of episodes of each policy that show a true difference as large as this one with a
        probability of 80 %; None if there is no difference.
        """


@dataclass(frozen=True, slots=True)
class Pairs:
    """The numbers of episodes in which both policies succeeded, only A, only B, neither."""

    both: int = 0
    only_a: int = 0
    only_b: int = 0
    neither: int = 0

    test: ClassVar[str] = "McNemar"

    @classmethod
    def of(cls, a: bool, b: bool) -> Pairs:  # noqa: FBT001 - an outcome each
        """Count one pair: whether A succeeded, and whether B did."""
        return cls(int(a and b), int(a and not b), int(b and not a), int(not a and not b))

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    @property
    def n(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def scores(self) -> tuple[Score, Score]:
        return Score(self.both + self.only_a, self.n), Score(self.both + self.only_b, self.n)

    @property
    def difference(self) -> float:
        return (self.only_b - self.only_a) / self.n

    def interval(self, level: float = LEVEL) -> Interval:
        """Newcombe's interval for paired proportions (his method 10), which combines Wilson's intervals of both rates
        under the correlation of the outcomes.
        """
        a, b = (_Distances.of(score, level) for score in self.scores)
        phi = self._correlation()

        def distance(x: float, y: float) -> float:
            return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

        return Interval(
            self.difference - distance(b.below, a.above),
            self.difference + distance(b.above, a.below),
        )

    def _correlation(self) -> float:
        """The correlation between the outcomes; if it is positive, with Newcombe's correction for continuity."""
        margins = (
            (self.both + self.only_a)
            * (self.only_b + self.neither)
            * (self.both + self.only_b)
            * (self.only_a + self.neither)
        )
        if not margins:
            return 0.0
        determinant = float(self.both * self.neither - self.only_a * self.only_b)
        if determinant > 0:
            determinant = max(0.0, determinant - self.n / 2)
        return determinant / math.sqrt(margins)

    def p_value(self) -> float:
        """McNemar's exact test: if the policies are equal, each one succeeds in half of the pairs that differ."""
        from scipy.stats import binomtest

        differing = self.only_a + self.only_b
        return float(binomtest(self.only_b, differing).pvalue) if differing else 1.0

    def episodes_needed(self, level: float = LEVEL) -> int | None:
        if self.only_a == self.only_b:
            return None
        return episodes_if_paired(self.only_a / self.n, self.only_b / self.n, level=level)


@dataclass(frozen=True, slots=True)
class Samples:
    """Different episodes of each policy."""

    a: Score
    b: Score

    def __add__(self, other: Samples) -> Samples:
        (k_a, n_a), (k_b, n_b) = other.scores
        return Samples(Score(self.a.successes + k_a, self.a.n + n_a), Score(self.b.successes + k_b, self.b.n + n_b))

    @property
    def scores(self) -> tuple[Score, Score]:
        return self.a, self.b

    @property
    def difference(self) -> float:
        return self.b.rate - self.a.rate

    def interval(self, level: float = LEVEL) -> Interval:
        """Newcombe's interval, which combines Wilson's intervals of the two rates."""
        a, b = (_Distances.of(score, level) for score in self.scores)
        return Interval(
            self.difference - math.hypot(b.below, a.above),
            self.difference + math.hypot(b.above, a.below),
        )

    @property
    def test(self) -> str:
        return "Boschloo" if max(self.a.n, self.b.n) <= _BOSCHLOO_UP_TO else "Fisher"

    def p_value(self) -> float:
        """Boschloo's exact test, or Fisher's if there are many episodes (:attr:`test`)."""
        from scipy.stats import boschloo_exact, fisher_exact

        table = [[score.successes for score in self.scores], [score.n - score.successes for score in self.scores]]
        if not (sum(table[0]) and sum(table[1])):
            return 1.0
        if self.test == "Boschloo":
            return min(1.0, float(boschloo_exact(table).pvalue))
        return float(fisher_exact(table).pvalue)

    def episodes_needed(self, level: float = LEVEL) -> int | None:
        return episodes_if_independent(self.a.rate, self.b.rate, level=level) if self.difference else None


@dataclass(frozen=True, slots=True)
class Strata:
    """Different episodes of several tasks. Tasks have equal weights, however many episodes each policy has of them."""

    tasks: Sequence[Samples]

    test: ClassVar[str] = "Cochran-Mantel-Haenszel"

    @property
    def scores(self) -> tuple[Score, Score]:
        """The scores in one pool of all tasks; :attr:`difference` is not the difference of their rates."""
        return sum(self.tasks[1:], self.tasks[0]).scores

    @property
    def difference(self) -> float:
        return fmean(task.difference for task in self.tasks)

    def interval(self, level: float = LEVEL) -> Interval:
        """The tasks' intervals, combined in the way in which Newcombe combines two."""
        intervals = [task.interval(level) for task in self.tasks]
        below = (task.difference - interval.low for task, interval in zip(self.tasks, intervals, strict=True))
        above = (interval.high - task.difference for task, interval in zip(self.tasks, intervals, strict=True))
        n = len(self.tasks)
        return Interval(self.difference - math.hypot(*below) / n, self.difference + math.hypot(*above) / n)

    def p_value(self) -> float:
        """The Cochran-Mantel-Haenszel test without correction for continuity.

        It sums over the tasks by how much B's successes exceed the number expected from the margins of a task's table.
        This sum weighs tasks by their episodes, and the difference does not; if the two favour different policies, the
        p value is 1, because no direction is shown.
        """
        excess = variance = 0.0
        for task in self.tasks:
            (k_a, n_a), (k_b, n_b) = task.scores
            k, n = k_a + k_b, n_a + n_b
            excess += k_b - n_b * k / n
            variance += n_a * n_b * k * (n - k) / (n * n * (n - 1))
        if not variance or excess * self.difference <= 0:
            return 1.0
        return 2 * _NORMAL.cdf(-abs(excess) / math.sqrt(variance))

    def episodes_needed(self, level: float = LEVEL) -> int | None:
        rate_a, rate_b = fmean(task.a.rate for task in self.tasks), fmean(task.b.rate for task in self.tasks)
        return episodes_if_independent(rate_a, rate_b, level=level) if rate_a != rate_b else None


def agreeing_interval(contrast: Contrast, p_value: float, error: float) -> Interval:
    """Return an interval of a difference at level ``1 - error`` that contains 0 if and only if ``p_value`` is above
    ``error``.

    It is the contrast's own interval if that agrees with the test on 0. If it does not, the end on the side of 0 is
    replaced by the test-based one, ``difference * (1 - z / z_of_p)``, which is exactly 0 if p is ``error``.
    """
    interval, difference = contrast.interval(1 - error), contrast.difference
    contains_0 = interval.low <= 0 <= interval.high
    if not difference or contains_0 == (p_value > error):
        return interval
    z_of_p = -_NORMAL.inv_cdf(max(p_value, _SMALLEST_P) / 2)
    # With p = 1 the test-based end would be infinitely far; it is kept at most as far beyond 0 as the difference is
    # from 0 on the other side.
    end = difference * (1 - min(2.0, z_score(1 - error) / max(z_of_p, _SMALLEST_P)))
    return Interval(end, interval.high) if difference > 0 else Interval(interval.low, end)


class _Distances(NamedTuple):
    """The distances from a rate down and up to the ends of its Wilson interval."""

    below: float
    above: float

    @classmethod
    def of(cls, score: Score, level: float) -> _Distances:
        interval = wilson(*score, level)
        return cls(score.rate - interval.low, interval.high - score.rate)


def pool(tasks: Sequence[Samples]) -> Samples | Strata:
    """Join several tasks: into one sample if each policy has equally many episodes of every task, else into strata."""
    balanced = len({(task.a.n, task.b.n) for task in tasks}) == 1
    return sum(tasks[1:], tasks[0]) if balanced else Strata(tuple(tasks))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values by Holm's method: if each is compared with the same level, the probability of at least one false
    rejection among all of them is at most that level.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted
