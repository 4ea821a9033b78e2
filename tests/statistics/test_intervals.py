"""Intervals of a rate: published numbers, other libraries, and how often they miss."""

import itertools

import numpy as np
import pytest

from proctor.statistics.intervals import IntervalMethod, anytime, exact, wilson

METHODS = list(IntervalMethod)


@pytest.mark.parametrize(
    ("method", "successes", "n", "low", "high"),
    [
        ("wilson", 42, 50, 0.714858, 0.916626),
        ("wilson", 8, 10, 0.490162, 0.943318),
        ("wilson", 0, 50, 0.0, 0.071348),
        ("exact", 42, 50, 0.708874, 0.928299),
        ("anytime", 42, 50, 0.634265, 0.958042),
        ("anytime", 10, 10, 0.623013, 1.0),
    ],
)
def test_the_reference_numbers(method, successes, n, low, high):
    """Of our statistics notes, to their last digit."""
    interval = IntervalMethod(method).interval(successes, n)

    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-7), pytest.approx(high, abs=5e-7))


@pytest.mark.parametrize("method", ["wilson", "exact"])
def test_they_agree_with_scipy(method):
    """For every count and several levels."""
    from scipy.stats import binomtest

    for n, level in itertools.product((1, 2, 7, 50, 400), (0.8, 0.95, 0.99)):
        for successes in range(0, n + 1, max(1, n // 10)):
            theirs = binomtest(successes, n).proportion_ci(level, method=method)

            ours = IntervalMethod(method).interval(successes, n, level)

            assert (ours.low, ours.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


@pytest.mark.parametrize(("method", "theirs"), [("wilson", "wilson"), ("exact", "beta")])
def test_they_agree_with_statsmodels(method, theirs):
    """The other library people would check against."""
    proportion_confint = pytest.importorskip("statsmodels.stats.proportion").proportion_confint
    for successes in range(31):
        ours = IntervalMethod(method).interval(successes, 30)

        expected = np.nan_to_num(proportion_confint(successes, 30, method=theirs), nan=float(successes == 30))
        assert (ours.low, ours.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_sequence_ends_where_its_likelihood_ratio_reaches_its_threshold():
    """20 for 95 %, by scipy's Beta function; the ends are found to the last bits."""
    from scipy.special import betaln

    for successes, n in ((1, 1), (3, 10), (42, 50), (4999, 5000)):
        interval = anytime(successes, n)

        for end in {interval.low, interval.high} - {0.0, 1.0}:
            evidence = betaln(0.5 + successes, 0.5 + n - successes) - betaln(0.5, 0.5)
            ratio = np.exp(evidence - successes * np.log(end) - (n - successes) * np.log1p(-end))
            assert ratio == pytest.approx(20, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_ends_are_exact_where_nothing_or_everything_succeeds(method):
    """No success leaves 0 possible, nothing below; no failure 1. Elsewhere neither is."""
    for n in (1, 2, 50, 199):
        assert method.interval(0, n).low == 0.0
        assert method.interval(n, n).high == 1.0
        assert 0 < method.interval(0, n).high < 1
        assert 0 < method.interval(n, n).low < 1


@pytest.mark.parametrize("method", METHODS)
def test_what_holds_for_every_interval(method):
    """It contains the rate, mirrors with success and failure, moves up with every success, narrows with more episodes
    at the same rate.
    """
    for n in (2, 10, 60):
        intervals = [method.interval(k, n) for k in range(n + 1)]
        for k, interval in enumerate(intervals):
            mirrored = intervals[n - k]
            assert 0 <= interval.low <= k / n <= interval.high <= 1
            assert (interval.low, interval.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))
            assert method.interval(3 * k, 3 * n).width < interval.width
        assert all(a.low < b.low and a.high < b.high for a, b in itertools.pairwise(intervals[1:-1]))


def test_the_surer_an_interval_the_wider():
    """Wilson, exact, anytime."""
    for k, n in ((0, 20), (10, 20), (42, 50)):
        assert wilson(k, n).width < exact(k, n).width * 1.01 < anytime(k, n).width


@pytest.mark.parametrize("n", [10, 50, 200])
def test_the_exact_interval_covers_every_rate(n):
    """At least 95 % of the time; Wilson's does on average, and 84 % at worst. Computed, not simulated."""
    from scipy.stats import binom

    rates = np.linspace(0.001, 0.999, 499)
    coverage = {}
    for method in (IntervalMethod.EXACT, IntervalMethod.WILSON):
        intervals = [method.interval(k, n) for k in range(n + 1)]
        inside = np.array([(interval.low <= rates) & (rates <= interval.high) for interval in intervals])
        coverage[method] = (inside * binom.pmf(np.arange(n + 1)[:, None], n, rates)).sum(axis=0)

    assert coverage[IntervalMethod.EXACT].min() >= 0.95
    assert coverage[IntervalMethod.WILSON].min() >= 0.84
    assert coverage[IntervalMethod.WILSON].mean() == pytest.approx(0.95, abs=0.01)


def ends(method, n):
    """Both ends for each number of trials up to ``n`` and each number of successes: two arrays (n + 1, n + 1)."""
    table = np.full((2, n + 1, n + 1), np.nan)
    for trials in range(1, n + 1):
        for successes in range(trials + 1):
            interval = method.interval(successes, trials)
            table[:, trials, successes] = interval.low, interval.high
    return table


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.8])
def test_looked_at_after_every_episode_the_sequence_misses_in_5_percent_of_runs_and_wilson_does_not_hold(rate):
    """4000 runs of 150 episodes; tolerance three standard errors of a simulated 5 % (1.0 points)."""
    n_runs, n = 4000, 150
    successes = np.random.default_rng(7).binomial(1, rate, (n_runs, n)).cumsum(axis=1)
    trials = np.arange(1, n + 1)

    missed = {}
    for method in (IntervalMethod.ANYTIME, IntervalMethod.WILSON):
        low, high = ends(method, n)[:, trials, successes]
        missed[method] = ((rate < low) | (rate > high)).any(axis=1).mean()

    assert missed[IntervalMethod.ANYTIME] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_runs)
    assert missed[IntervalMethod.WILSON] > 0.25


def test_the_sequence_holds_for_the_mean_of_unequal_tasks_at_the_end_of_every_round():
    """Four tasks from 5 to 99 %; 4000 runs of 40 rounds, looked at after each."""
    rates, n_runs, n_rounds = np.array([0.05, 0.4, 0.9, 0.99]), 4000, 40
    outcomes = np.random.default_rng(8).binomial(1, rates, (n_runs, n_rounds, len(rates)))
    successes = outcomes.sum(axis=2).cumsum(axis=1)
    trials = len(rates) * np.arange(1, n_rounds + 1)

    low, high = ends(IntervalMethod.ANYTIME, trials[-1])[:, trials, successes]

    missed = ((rates.mean() < low) | (rates.mean() > high)).any(axis=1).mean()
    assert missed <= 0.05
