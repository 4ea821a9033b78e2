"""Intervals of mean rewards and lengths."""

import math

import numpy as np
import pytest
from msgspec import structs

from proctor.results.summary import summarize
from proctor.statistics.bootstrap import RESAMPLES, MeanIntervals, mean_intervals, quantities, resample, resample_task
from result_samples import SPECS, TASKS, broken, done

LION = TASKS[0].key


def intervals_of(*tasks):
    """Of tasks whose episodes have the given numbers, three of each: arrays (episodes, 3)."""
    return mean_intervals([resample(values, seed) for seed, values in enumerate(tasks)])


def of_results(*tasks):
    return mean_intervals([resample_task(LION, quantities(results)) for results in tasks])


def test_the_same_results_give_the_same_interval():
    """To the last bit, as the draw is seeded; by the task, so that other tasks do not matter."""
    results = [done(spec) for spec in SPECS]

    whole, some = (summarize(TASKS, specs, results) for specs in (SPECS, SPECS[4:8]))

    assert whole.tasks[1].mean_intervals == some.tasks[0].mean_intervals
    assert whole.mean_intervals == summarize(TASKS, SPECS, results[::-1]).mean_intervals
    assert not np.array_equal(whole.tasks[0].resampled.sums, whole.tasks[1].resampled.sums)


@pytest.mark.parametrize(("n", "n_quantities"), [*((n, 3) for n in (1, 2, 7, 50, 131, 140, 3000)), (7, 1), (7, 9)])
def test_resamples_are_those_of_the_plain_formula(n, n_quantities):
    """To the last bit, also where so many episodes are drawn from that it is done in parts."""
    values = np.random.default_rng(n).exponential(size=(n, n_quantities))
    generator = np.random.default_rng(5)

    plain = np.array([values[generator.integers(n, size=n)].sum(axis=0) for _ in range(RESAMPLES)])

    np.testing.assert_array_equal(resample(values, seed=5).sums, plain)


def test_it_agrees_with_scipy_and_with_the_normal_interval():
    """Percentile bootstrap of one sample; two resamplings differ a little."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).exponential(size=(60, 3))
    ours = intervals_of(values)

    for interval, column in zip(ours, values.T, strict=True):
        theirs = bootstrap((column,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(2))
        assert (interval.low, interval.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.04)
        half = 1.96 * column.std() / math.sqrt(60)
        assert (interval.low, interval.high) == pytest.approx((column.mean() - half, column.mean() + half), abs=0.08)


def test_tasks_are_resampled_among_themselves():
    """How much tasks differ from each other is no uncertainty of the mean over these tasks."""
    noise = np.random.default_rng(3).normal(size=(2, 30, 3))
    apart = [noise[0], 1000 + noise[1]]

    interval = intervals_of(*apart).length

    assert interval.width < 1.0
    assert interval.low < np.concatenate(apart).mean(axis=0)[2] < interval.high


def test_the_mean_of_skewed_rewards_lies_within_in_about_93_percent():
    """2001 samples of 40 exponential rewards, for which such an interval is a little narrow; tolerance 2 points."""
    values = np.random.default_rng(4).exponential(size=(667, 40, 3))

    inside = [interval.low <= 1 <= interval.high for sample in values for interval in intervals_of(sample)]

    assert np.mean(inside) == pytest.approx(0.93, abs=0.02)


def test_errors_and_what_is_no_number_are_left_out():
    """Each quantity for itself, and as if the episode had not been; of a single reward there is no interval."""
    results = [done(spec) for spec in SPECS[:4]]

    known = of_results(results)
    assert known.length.low < 11.5 < known.length.high
    assert known == of_results([*results, broken(SPECS[4])]) == of_results(results, [broken(SPECS[4])])

    for reward in (math.nan, math.inf, None):
        without = structs.replace(results[0], sum_reward=reward)
        assert of_results([without, *results[1:]]).sum_reward == of_results(results[1:]).sum_reward
        assert of_results([without, *results[1:]]).length == known.length
        assert of_results([without, results[1]]).sum_reward is None
        assert of_results(results, [without]) == of_results(results, [without])._replace(length=None, max_reward=None)
        assert of_results(results, [without]).sum_reward == known.sum_reward


@pytest.mark.parametrize(
    "tasks", [[], [[]], [[done(SPECS[0])]], [[done(spec) for spec in SPECS[:4]], [done(SPECS[4])]]], ids=len
)
def test_one_episode_of_a_task_says_nothing_of_how_much_they_vary(tasks):
    """No interval, rather than one that leaves that task's variation out."""
    assert of_results(*tasks) == MeanIntervals()
