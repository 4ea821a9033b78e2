"""How many episodes it takes."""

import functools
import math

import pytest

from proctor.errors import ConfigError
from proctor.statistics.differences import Pairs
from proctor.statistics.power import discordance, episodes_if_independent, episodes_if_paired


@pytest.mark.parametrize(("a", "b", "independent", "paired"), [(0.8, 0.9, 199, 146), (0.9, 0.95, 435, 315)])
def test_the_reference_numbers(a, b, independent, paired):
    """80 % power at 5 %, and a correlation of 0.3 between the outcomes of a pair; in either direction."""
    for rates in ((a, b), (b, a)):
        assert episodes_if_independent(*rates) == independent
        assert episodes_if_paired(*discordance(*rates)) == paired


def test_more_power_a_smaller_difference_and_less_correlation_take_more():
    """Each alone."""
    assert episodes_if_independent(0.8, 0.9, power=0.9) > episodes_if_independent(0.8, 0.9)
    assert episodes_if_independent(0.8, 0.85) > 3 * episodes_if_independent(0.8, 0.9)
    needed = [episodes_if_paired(*discordance(0.8, 0.9, correlation)) for correlation in (0.6, 0.3, 0.0)]
    assert needed == sorted(needed)
    assert needed[-1] == pytest.approx(episodes_if_independent(0.8, 0.9), rel=0.02)


def test_pairs_that_differ_are_what_a_correlation_leaves():
    """Without any the product of the rates; their difference is always that of the rates."""
    assert discordance(0.8, 0.9, 0.0) == pytest.approx((0.08, 0.18))
    for correlation in (-0.1, 0.3, 0.6):
        only_a, only_b = discordance(0.8, 0.9, correlation)
        assert only_b - only_a == pytest.approx(0.1)


def test_an_impossible_correlation_is_refused():
    """One policy that always succeeds cannot go along with the other's failures."""
    with pytest.raises(ConfigError, match=r"rates of 0.1 and 0.9 cannot have a correlation of 0.3"):
        discordance(0.1, 0.9, 0.3)
    assert discordance(0.5, 1.0, 0.0) == (0.0, 0.5)


def test_equal_rates_are_never_told_apart():
    """A caller's mistake."""
    with pytest.raises(ValueError, match="Equal rates"):
        episodes_if_independent(0.5, 0.5)


def test_the_exact_test_finds_what_was_planned_for():
    """146 pairs for .8 against .9: McNemar's exact test finds the difference in 76 %, and 160 in 81 %. Computed
    over all outcomes.
    """

    p_value = functools.cache(lambda only_a, only_b: Pairs(0, only_a, only_b, 0).p_value())

    def power(n):
        only_a, only_b = discordance(0.8, 0.9)
        total = 0.0
        for differing in range(n + 1):
            weight = math.comb(n, differing) * (only_a + only_b) ** differing * (1 - only_a - only_b) ** (n - differing)
            if weight < 1e-9:
                continue
            share = only_b / (only_a + only_b)
            total += weight * sum(
                math.comb(differing, k) * share**k * (1 - share) ** (differing - k)
                for k in range(differing + 1)
                if p_value(differing - k, k) <= 0.05
            )
        return total

    assert power(episodes_if_paired(*discordance(0.8, 0.9))) == pytest.approx(0.763, abs=0.001)
    assert power(160) == pytest.approx(0.806, abs=0.001)
