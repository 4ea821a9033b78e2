"""Intervals of mean rewards and lengths."""

import math
from dataclasses import replace

import numpy as np
import pytest
from result_samples import SPECS, broken, done

from proctor.results.bootstrap import MeanIntervals, bootstrap_means, mean_intervals


def test_the_same_results_give_the_same_interval():
    """To the last bit: the generator is seeded."""
    values = np.random.default_rng(0).normal(size=(40, 3))

    assert bootstrap_means([values]) == bootstrap_means([values.copy()])


def test_it_agrees_with_scipy_and_with_the_normal_interval():
    """Percentile bootstrap of one sample; two resamplings differ a little."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).exponential(size=60)
    (ours,) = bootstrap_means([values[:, None]])

    theirs = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(2))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)
    half = 1.96 * values.std() / math.sqrt(60)
    assert (ours.low, ours.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.06)


def test_tasks_are_resampled_among_themselves():
    """How much tasks differ from each other is no uncertainty of the mean over these tasks."""
    noise = np.random.default_rng(3).normal(size=(2, 30, 1))
    apart = [noise[0], 1000 + noise[1]]

    (interval,) = bootstrap_means(apart)

    assert interval.width < 1.0
    assert interval.low < np.concatenate(apart).mean() < interval.high


def test_the_mean_of_skewed_rewards_lies_within_in_about_95_percent():
    """2000 samples of 40 exponential rewards: 93 %, as a percentile bootstrap of so few does; tolerance 2 points."""
    generator = np.random.default_rng(4)

    inside = 0
    for _ in range(20):
        intervals = bootstrap_means([generator.exponential(size=(40, 100))])
        inside += sum(interval.low <= 1 <= interval.high for interval in intervals)

    assert inside / 2000 == pytest.approx(0.93, abs=0.02)


def test_errors_are_left_out_and_what_is_no_number_has_no_interval():
    """Each quantity for itself."""
    results = [done(spec) for spec in SPECS[:4]] + [broken(SPECS[4])]

    known = mean_intervals([results])
    assert known.length.low < 11.5 < known.length.high
    assert known == mean_intervals([results[:4]])

    for reward in (math.nan, math.inf, None):
        unknown = mean_intervals([[replace(results[0], sum_reward=reward), *results[1:4]]])
        assert unknown.sum_reward is None
        assert unknown.length == known.length


@pytest.mark.parametrize(
    "tasks", [[], [[]], [[done(SPECS[0])]], [[done(spec) for spec in SPECS[:4]], [done(SPECS[4])]]], ids=len
)
def test_one_episode_of_a_task_says_nothing_of_how_much_they_vary(tasks):
    """No interval, rather than one that leaves that task's variation out."""
    assert mean_intervals(tasks) == MeanIntervals()
