"""Three intervals for one success rate.

- **Wilson**: the score interval. On average it covers close to its level, for any count.
- **Exact** (Clopper and Pearson): covers at least its level for every rate, and is wider in return.
- **Anytime**: a confidence sequence. *All* intervals after 1, 2, 3, … episodes contain the rate together, with a
  probability of at least the level. The other two lose their level if one looks at them again and again.

Wilson's interval and the sequence are written out in a few lines, because importing scipy.stats takes two seconds; the
tests compare them with scipy's. docs/statistics.md has formulae and sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

LEVEL = 0.95

_PRIOR = 0.5
"""Both parameters of the Beta distribution over which the likelihood ratio of the sequence is averaged."""
_HALVINGS = 60
"""The number of halvings of the bracket around an end of the sequence's interval: to the last bit in 0 to 1."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Two rates, in 0 to 1; or two differences of rates, in -1 to 1; or two means."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


class IntervalMethod(StrEnum):
    """The methods for the interval of a success rate: ``--eval.ci``."""

    WILSON = "wilson"
    EXACT = "exact"
    ANYTIME = "anytime"

    def interval(self, successes: float, n: float, level: float = LEVEL) -> Interval:
        """Return the two-sided interval of a rate observed as ``successes`` of ``n``.

        Neither must be a whole number, because a mean of several rates is treated as the rate of an effective number of
        episodes.
        """
        return _METHODS[self](successes, n, level)


def z_score(level: float) -> float:
    """The two-sided quantile of the normal distribution: 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(successes: float, n: float, level: float = LEVEL) -> Interval:
    """The Wilson score interval, two-sided."""
    rate, z2 = successes / n, z_score(level) ** 2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At rates of 0 and 1 the end is exactly 0 or 1; rounding would leave 1e-17.
    return Interval(0.0 if rate == 0 else centre - half, 1.0 if rate == 1 else centre + half)


def exact(successes: float, n: float, level: float = LEVEL) -> Interval:
    """The interval of Clopper and Pearson, two-sided with equal tails."""
    from scipy.special import betaincinv

    tail, failures = (1 - level) / 2, n - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0
    return Interval(low, high)


def anytime(successes: float, n: float, level: float = LEVEL) -> Interval:
    """The Beta-mixture confidence sequence after ``n`` trials: every rate whose likelihood ratio stays below
    ``1 / (1 - level)``, averaged over alternatives from Beta(1/2, 1/2).
    """
    failures = n - successes
    evidence = _log_beta(_PRIOR + successes, _PRIOR + failures) - _log_beta(_PRIOR, _PRIOR) + math.log(1 - level)

    def excluded(rate: float) -> bool:
        return evidence > successes * math.log(rate) + failures * math.log1p(-rate)

    observed = successes / n
    low = _boundary(0.0, observed, excluded) if successes > 0 else 0.0
    high = _boundary(1.0, observed, excluded) if failures > 0 else 1.0
    return Interval(low, high)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _boundary(outside: float, inside: float, excluded: Callable[[float], bool]) -> float:
    """Find the boundary between excluded and included rates, from an excluded one and an included one."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if not 0 < middle < 1 or excluded(middle):
            outside = middle
        else:
            inside = middle
    return inside


_METHODS: dict[IntervalMethod, Callable[[float, float, float], Interval]] = {
    IntervalMethod.WILSON: wilson,
    IntervalMethod.EXACT: exact,
    IntervalMethod.ANYTIME: anytime,
}
