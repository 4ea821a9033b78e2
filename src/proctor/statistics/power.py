"""How many episodes tell two policies apart.

For tests at a two-sided level of 5 % by their normal approximations; the exact tests ask for a little more
(docs/statistics.md).
"""

from __future__ import annotations

import math
from statistics import NormalDist

from proctor.errors import ConfigError
from proctor.statistics.intervals import LEVEL, z_score

POWER = 0.8
CORRELATION = 0.3
"""Between two policies' outcomes in the same episode, where nothing is known of it."""


def episodes_if_independent(rate_a: float, rate_b: float, power: float = POWER, level: float = LEVEL) -> int:
    """Episodes *of each policy* so that two different rates, in 0 to 1, are told apart with a probability of ``power``
    on different episodes.
    """
    mean, difference = (rate_a + rate_b) / 2, rate_b - rate_a
    under_equality = math.sqrt(2 * mean * (1 - mean))
    as_they_are = math.sqrt(rate_a * (1 - rate_a) + rate_b * (1 - rate_b))
    return _episodes(under_equality, as_they_are, difference, power, level)


def episodes_if_paired(only_a: float, only_b: float, power: float = POWER, level: float = LEVEL) -> int:
    """The same where both run the same episodes: in a part ``only_a`` of them only A succeeds, in ``only_b`` only B."""
    differing, difference = only_a + only_b, only_b - only_a
    return _episodes(math.sqrt(differing), math.sqrt(differing - difference**2), difference, power, level)


def discordance(rate_a: float, rate_b: float, correlation: float = CORRELATION) -> tuple[float, float]:
    """The parts of the episodes in which only A succeeds, and only B.

    Raises:
        ConfigError: outcomes with these rates cannot be so correlated.
    """
    both = rate_a * rate_b + correlation * math.sqrt(rate_a * (1 - rate_a) * rate_b * (1 - rate_b))
    if not max(0.0, rate_a + rate_b - 1) <= both <= min(rate_a, rate_b):
        raise ConfigError(
            f"Outcomes with rates of {rate_a:g} and {rate_b:g} cannot have a correlation of {correlation:g}; "
            "choose one nearer to 0."
        )
    return rate_a - both, rate_b - both


def _episodes(under_equality: float, as_they_are: float, difference: float, power: float, level: float) -> int:
    """From the standard deviations of one episode's difference, if the rates were equal and as they are."""
    if difference == 0:
        raise ValueError("Equal rates cannot be told apart.")
    needed = z_score(level) * under_equality + NormalDist().inv_cdf(power) * as_they_are
    return math.ceil((needed / difference) ** 2)
