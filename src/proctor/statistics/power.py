"""The number of episodes that tell two policies apart.

The numbers are for tests at a two-sided level of 5 % by their normal approximations. The exact tests need a little more
(docs/statistics.md).
"""

from __future__ import annotations

import math
from statistics import NormalDist

from proctor.errors import ConfigError
from proctor.statistics.intervals import LEVEL, z_score

POWER = 0.8
CORRELATION = 0.3
"""The correlation between two policies' outcomes in the same episode that is assumed if it is not known."""


def episodes_if_independent(rate_a: float, rate_b: float, power: float = POWER, level: float = LEVEL) -> int:
    """Return how many episodes *of each policy* tell two different rates (0 to 1) apart with a probability of ``power``
    if the policies run different episodes.

    Raises:
        ValueError: the rates are equal.
    """
    mean, difference = (rate_a + rate_b) / 2, rate_b - rate_a
    under_equality = math.sqrt(2 * mean * (1 - mean))
    as_they_are = math.sqrt(rate_a * (1 - rate_a) + rate_b * (1 - rate_b))
    return _episodes(under_equality, as_they_are, difference, power, level)


def episodes_if_paired(only_a: float, only_b: float, power: float = POWER, level: float = LEVEL) -> int:
    """Return how many episodes *of each policy* tell two rates apart with a probability of ``power`` if both policies
    run the same episodes. In a part ``only_a`` of the episodes (0 to 1) only A succeeds, in ``only_b`` only B.

    Raises:
        ValueError: the two parts, and so the rates, are equal.
    """
    differing, difference = only_a + only_b, only_b - only_a
    return _episodes(math.sqrt(differing), math.sqrt(differing - difference**2), difference, power, level)


def discordance(rate_a: float, rate_b: float, correlation: float = CORRELATION) -> tuple[float, float]:
    """Return the parts of the episodes (0 to 1) in which only A succeeds, and in which only B succeeds.

    Raises:
        ConfigError: outcomes with these rates cannot have this correlation.
    """
    both = rate_a * rate_b + correlation * math.sqrt(rate_a * (1 - rate_a) * rate_b * (1 - rate_b))
    if not max(0.0, rate_a + rate_b - 1) <= both <= min(rate_a, rate_b):
        raise ConfigError(
            f"Outcomes with rates of {rate_a:g} and {rate_b:g} cannot have a correlation of {correlation:g}; "
            "choose one nearer to 0."
        )
    return rate_a - both, rate_b - both


def _episodes(under_equality: float, as_they_are: float, difference: float, power: float, level: float) -> int:
    """Compute the number of episodes from two standard deviations of one episode's difference: if the rates were equal,
    and with the rates as they are.
    """
    if difference == 0:
        raise ValueError("Equal rates cannot be told apart.")
    needed = z_score(level) * under_equality + NormalDist().inv_cdf(power) * as_they_are
    return math.ceil((needed / difference) ** 2)
