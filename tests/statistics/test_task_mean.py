"""The interval of a mean over tasks: what it is built from, and how often it contains the mean.

The whole grid of docs/statistics.md is simulated by ``bench/interval_coverage.py``. Here its worst points are
simulated, and small cases are computed over all outcomes.
"""

import itertools

import numpy as np
import pytest

from proctor.statistics.counts import Counts, macro
from proctor.statistics.intervals import z_score
from proctor.statistics.task_mean import effective_episodes, wilson_of_mean

RATES = np.arange(1, 21) / 20


def ends(successes, episodes):
    """Of the interval of the mean rate, for many outcomes (..., tasks) at once."""
    return wilson_of_mean((successes / episodes).mean(axis=-1), effective_episodes(successes, episodes))


def wilson_of_the_pool(successes, episodes):
    """Of as many episodes with the same rate."""
    rate, n, z2 = (successes / episodes).mean(axis=-1), episodes.sum(), z_score(0.95) ** 2
    half = np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n)))
    low, high = rate + z2 / (2 * n) - half, rate + z2 / (2 * n) + half
    return np.where(rate == 0, 0, low / (1 + z2 / n)), np.where(rate == 1, 1, high / (1 + z2 / n))


def exact_coverage(method, *numbers):
    """For every combination of the grid's rates, floats (20, …): summed over all outcomes, not simulated."""
    from scipy.stats import binom

    episodes = np.array(numbers)
    outcomes = np.array(list(itertools.product(*(range(n + 1) for n in numbers))))
    low, high = (end.reshape(episodes + 1) for end in method(outcomes, episodes))
    chances = [binom.pmf(np.arange(n + 1), n, RATES[:, None]) for n in numbers]
    found = np.empty((len(RATES),) * len(numbers))
    for choice in np.ndindex(found.shape):
        mean = RATES[list(choice)].mean()
        inside = ((low <= mean + 1e-12) & (mean <= high + 1e-12)).astype(float)
        for task in reversed(range(len(numbers))):
            inside = inside @ chances[task][choice[task]]
        found[choice] = inside
    return found


def simulated(numbers, rates, draws=20_000, seed=16):
    episodes, rates = np.broadcast_arrays(numbers, rates)
    return np.random.default_rng(seed).binomial(episodes, rates, (draws, len(rates))), episodes


# ---------------------------------------------------------------------------------------------- effective episodes


def test_equal_tasks_are_about_as_many_episodes_as_they_have():
    """Twice 5 of 10, computed by hand: a variance within tasks of (2.5 + 3 · 0.25) / (9 + 3) against 0.25 in one pool;
    for that stand ten outcomes of the rarer kind, and six for the worst case.
    """
    effective = effective_episodes(np.array([5, 5]), np.array([10, 10]))

    ratio = (2.5 + 0.75) / 12 / 0.25
    assert effective == pytest.approx(20 * (10 + 6) / (10 * ratio + 6))


def test_tasks_that_differ_are_more():
    """Outcomes vary less within tasks than in one pool of all their episodes."""
    assert effective_episodes(np.array([2, 48]), np.array([50, 50])) > 250


def test_a_task_of_few_episodes_makes_them_fewer():
    """It weighs as much as one of fifty; in the worst case all failures are its own, and the others tell nothing."""
    assert effective_episodes(np.array([2, 25]), np.array([5, 50])) < 25
    assert effective_episodes(np.array([5, 50]), np.array([5, 50])) == 2 * 5


@pytest.mark.parametrize("successes", [(10, 10, 10), (0, 0, 0)])
def test_tasks_without_any_variance_are_the_episodes_they_have(successes):
    """Nothing is learnt of how tasks differ from outcomes that are all the same."""
    assert effective_episodes(np.array(successes), np.array([10, 10, 10])) == 30


def test_many_evaluations_at_once_are_each_as_one_alone():
    """The simulations and the results use the same arithmetic."""
    successes, episodes = simulated([5, 20, 50], [0.3, 0.9, 1.0], draws=50)

    low, high = ends(successes, episodes)

    for row, *interval in zip(successes.tolist(), low, high, strict=True):
        mean = macro([Counts(n, k, n - k) for k, n in zip(row, episodes.tolist(), strict=True)])
        assert (mean.interval.low, mean.interval.high) == pytest.approx(tuple(interval), abs=1e-12)


# ------------------------------------------------------------------------------------------------ what always holds


def test_it_contains_the_mean_lies_in_0_to_1_and_mirrors():
    """For all outcomes of three tasks of unequal numbers."""
    episodes = np.array([3, 5, 9])
    successes = np.array(list(itertools.product(*(range(n + 1) for n in episodes))))
    rate = (successes / episodes).mean(axis=-1)

    low, high = ends(successes, episodes)
    mirrored_low, mirrored_high = ends(episodes - successes, episodes)

    assert ((low >= 0) & (low <= rate) & (rate <= high) & (high <= 1)).all()
    assert (high - low > 0.1).all()
    assert low == pytest.approx(1 - mirrored_high)
    assert high == pytest.approx(1 - mirrored_low)
    assert (set(low[rate == 0]), set(high[rate == 1])) == ({0.0}, {1.0})


# --------------------------------------------------------------------------------------------------------- coverage


def test_what_is_reported_of_two_tasks_contains_the_mean_in_93_percent_at_any_rates():
    """Twice 25 episodes, all pairs of rates of the grid, through the results' own function."""

    def reported(outcomes, episodes):
        intervals = [
            macro([Counts(int(n), k, int(n) - k) for k, n in zip(row, episodes, strict=True)]).interval
            for row in outcomes.tolist()
        ]
        return np.array([each.low for each in intervals]), np.array([each.high for each in intervals])

    assert exact_coverage(reported, 25, 25).min() >= 0.93


@pytest.mark.parametrize("numbers", [(29, 29), (37, 37), (50, 50), (5, 45), (5, 50), (17, 17, 17), (5, 5, 40)], ids=str)
def test_from_50_episodes_on_it_contains_the_mean_in_93_percent_at_any_rates(numbers):
    """Every combination of rates from .05 to 1, computed."""
    assert exact_coverage(ends, *numbers).min() >= 0.93


@pytest.mark.parametrize(
    "numbers", [(5, 5), (8, 8), (11, 11), (18, 18), (24, 24), (5, 10), (5, 30), (6, 6, 6)], ids=str
)
def test_with_fewer_it_contains_the_mean_in_93_percent_or_as_often_as_wilsons_of_the_pool(numbers):
    """At every combination of rates."""
    pool = exact_coverage(wilson_of_the_pool, *numbers)

    assert (exact_coverage(ends, *numbers) >= np.minimum(pool, 0.93) - 1e-9).all()


ONE_BAD = [0.95, *[1.0] * 9]


@pytest.mark.parametrize(
    ("numbers", "rates"),
    [
        ([10] * 3, [0.9] * 3),
        ([10] * 10, [0.97] * 10),
        ([50] * 10, [0.98] * 10),
        ([11] * 10, [0.95] * 10),
        ([10] * 10, ONE_BAD),
        ([8] * 20, ONE_BAD + [1.0] * 10),
        ([8] * 130, ONE_BAD + [1.0] * 120),
        ([50] * 130, [0.05, *[1.0] * 129]),
        ([20] * 3, [0.95] * 3),
        ([10] * 5, [0.9, 1.0] * 2 + [0.9]),
        ([50] * 2, [0.05, 1.0]),
        ([5] * 10, [0.05, 1.0] * 5),
        ([5, 10, 10] * 4, [0.9, *[1.0] * 11]),
        ([5, 50] * 20, [0.9, 1.0] * 20),
        ([5, *[50] * 9], [0.7, *[1.0] * 9]),
        ([5, *[50] * 9], [0.9, *[1.0] * 9]),
        ([50, *[5] * 19], [0.95] * 20),
        ([5, 50, 50] * 43, [0.7, 1.0, 1.0] * 43),
        ([5] * 50, RATES.tolist() * 2 + [0.5] * 10),
    ],
    ids=lambda value: f"{len(value)}x{value[0]}",
)
def test_at_the_worst_points_of_the_grid_it_contains_the_mean_in_93_percent(numbers, rates):
    """20000 evaluations each; among them those where a stratified normal interval contains it in 85 % or fewer."""
    successes, episodes = simulated(numbers, rates)

    low, high = ends(successes, episodes)

    assert ((low <= np.mean(rates)) & (np.mean(rates) <= high)).mean() >= 0.93


def test_it_is_on_average_no_wider_than_wilsons_of_the_pool():
    """Over equal and mixed rates; narrower by a third where half of the tasks always fail."""
    ratios = {}
    for n_tasks, n in itertools.product((2, 5, 10, 40), (5, 10, 50)):
        mixes = [[rate] * n_tasks for rate in RATES[1::3]]
        mixes += [[rate, 1.0] * (n_tasks // 2) + [1.0] * (n_tasks % 2) for rate in RATES[:19:3]]
        for rates in mixes:
            successes, episodes = simulated([n] * n_tasks, rates, draws=500)
            widths = [(high - low).mean() for low, high in (f(successes, episodes) for f in (ends, wilson_of_the_pool))]
            ratios[n_tasks, n, rates[0], rates[1]] = widths[0] / widths[1]

    assert np.mean(list(ratios.values())) < 1
    assert ratios[10, 50, 0.05, 1.0] < 0.67
    assert max(ratios.values()) < 1.15
