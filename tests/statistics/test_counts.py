"""Counts that add up, and the mean over tasks."""

import math

import pytest
from msgspec import structs

from proctor.statistics.counts import Counts, macro, pooled_interval
from proctor.statistics.intervals import Interval, IntervalMethod, anytime, exact, wilson
from proctor.types import Outcome
from result_samples import SPECS, broken, done


def counted(successes, n, errors=0):
    return Counts(n_planned=n + errors, n_successes=successes, n_failures=n - successes, n_errors=errors)


def test_the_macro_average_gives_the_reference_numbers():
    """Ten tasks of fifty episodes: a mean of .5920, and an interval as for 619 episodes of one rate."""
    mean = macro([counted(successes, 50) for successes in (10, 23, 15, 24, 28, 33, 36, 35, 42, 50)])

    assert (mean.rate, mean.n_tasks, mean.method) == (pytest.approx(0.5920), 10, "wilson-effective")
    assert (mean.interval.low, mean.interval.high) == pytest.approx((0.552836, 0.630175), abs=5e-7)


def test_the_mean_over_one_task_is_that_task():
    """By any method."""
    for method in IntervalMethod:
        mean = macro([counted(42, 50)], method)

        assert (mean.rate, mean.interval, mean.method) == (0.84, method.interval(42, 50), method.value)


@pytest.mark.parametrize("successes", [(10, 10, 10), (0, 0, 0), (10, 0, 10)])
def test_tasks_that_always_succeed_or_fail_are_never_plus_minus_zero(successes):
    """3 of 3 are no proof of 100 %."""
    mean = macro([counted(k, 10) for k in successes])

    assert mean.interval.low <= mean.rate <= mean.interval.high
    assert mean.interval.width > 0.1


def test_the_interval_contains_the_mean_also_with_unequal_tasks():
    """One task has one success, another fifty failures: the mean is a half and lies in its interval."""
    mean = macro([counted(1, 1), counted(0, 50)])

    assert mean.rate == 0.5
    assert mean.interval.low < 0.1
    assert mean.interval.high > 0.9


def test_the_exact_interval_of_the_mean_is_for_the_effective_number_of_episodes():
    """Clopper and Pearson's; three tasks without a failure are thirty episodes."""
    mean = macro([counted(10, 10)] * 3, IntervalMethod.EXACT)

    assert (mean.method, mean.interval) == ("exact-effective", exact(30, 30))
    tasks = [counted(4, 10), counted(9, 10)]
    assert macro(tasks, IntervalMethod.EXACT).interval.width > macro(tasks).interval.width


def test_the_anytime_valid_mean_is_that_of_the_rounds_that_all_tasks_completed():
    """It must hold at every look: for equal tasks that is the pool, else as many episodes of each as the least has."""
    tasks = [counted(k, 50) for k in (10, 23, 42)]

    mean = macro(tasks, IntervalMethod.ANYTIME)

    assert (mean.method, mean.rate) == ("anytime", pytest.approx(0.5))
    pooled = anytime(75, 150)
    assert (mean.interval.low, mean.interval.high) == pytest.approx((pooled.low, pooled.high))
    assert mean.interval.width > 1.2 * macro(tasks).interval.width
    unequal = macro([counted(10, 20), counted(30, 60)], IntervalMethod.ANYTIME)
    assert unequal.interval == anytime(20, 40)


@pytest.mark.parametrize("method", IntervalMethod)
def test_the_pooled_rate_has_the_interval_of_the_mean_where_it_is_the_mean(method):
    """The same number never has two intervals; with unequal tasks it is another number."""
    even, uneven = [counted(3, 10), counted(9, 10)], [counted(3, 10), counted(8, 9)]

    assert pooled_interval(even, method) == macro(even, method).interval
    assert pooled_interval(uneven, method) == method.interval(11, 19)
    assert pooled_interval([counted(0, 0, errors=3), counted(1, 2)], method) == method.interval(1, 2)
    assert pooled_interval([], method) is None


def test_there_is_no_macro_average_while_a_task_is_unmeasured():
    """The mean is over a fixed list of tasks; without one of them it would be another list."""
    assert macro([counted(5, 10), counted(0, 0, errors=3)]) is None
    assert macro([]) is None


def test_counts_of_parts_add_up_to_the_counts_of_the_whole():
    """Episode to task to overall, shard to run: any grouping gives the same counts."""
    results = [done(spec, success=spec.episode_index % 2 == 0) for spec in SPECS] + [broken(SPECS[0])]
    whole = sum((Counts.of(result) for result in results), Counts())

    for n in range(1, 5):
        assert sum(Counts.total(results[k::n]) for k in range(n)) == whole

    assert (whole.n_planned, whole.n_completed, whole.n_successes, whole.n_errors, whole.n_missing) == (13, 12, 6, 1, 0)
    assert whole.mean_length == 11.5


def test_an_error_is_in_no_rate_but_in_the_bounds():
    """Eight of ten with five errors: 80 %, between 53 % (all failures) and 87 % (all successes)."""
    counts = counted(8, 10, errors=5)

    assert counts.rate == 0.8
    assert counts.interval(IntervalMethod.WILSON) == wilson(8, 10)
    assert counts.bounds == Interval(8 / 15, 13 / 15)


def test_nothing_completed_gives_none_and_not_zero():
    """A hundred errors are no success rate of 0 %."""
    counts = counted(0, 0, errors=100)

    assert (counts.rate, counts.mean_sum_reward, counts.mean_length) == (None, None, None)
    assert [counts.interval(method) for method in IntervalMethod] == [None, None, None]
    assert counts.bounds == Interval(0.0, 1.0)
    assert Counts().bounds is None


@pytest.mark.parametrize("reward", [None, math.nan, math.inf])
def test_a_reward_that_is_not_a_number_is_in_no_mean_and_the_mean_says_over_how_many_it_is(reward):
    """The other episodes' rewards are still known."""
    without = structs.replace(done(SPECS[1]), sum_reward=reward)
    counts = Counts.total([done(SPECS[0]), without])

    assert (counts.n_completed, counts.n_sum_rewards, counts.mean_sum_reward) == (2, 1, 0.25)
    assert (counts.n_max_rewards, counts.mean_max_reward) == (2, 1.0)
    assert Counts.of(without).mean_sum_reward is None


def test_there_is_no_rate_while_the_success_of_an_episode_is_unknown():
    """It would be a guess; the episodes are completed, and their rewards and lengths are known."""
    silent = structs.replace(done(SPECS[1]), outcome=Outcome.UNKNOWN)
    counts = Counts.total([done(SPECS[0]), silent, broken(SPECS[2])])

    assert (counts.n_completed, counts.n_successes, counts.n_failures, counts.n_unknown, counts.n_missing) == (
        2,
        1,
        0,
        1,
        0,
    )
    assert (counts.rate, counts.bounds) == (None, None)
    assert [counts.interval(method) for method in IntervalMethod] == [None, None, None]
    assert counts.mean_length == 10.5
    assert macro([counted(5, 10), counts]) is None
