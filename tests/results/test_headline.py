"""The one success rate of a run."""

import pytest

from proctor.results.headline import Basis, headline_of
from proctor.results.summary import summarize
from proctor.statistics.intervals import IntervalMethod, anytime, wilson
from result_samples import SPECS, TASKS, broken, done

FIRST_TASK = SPECS[:4]


def outcome_of(spec):
    return done(spec, success=spec.episode_index > 0)


def test_of_one_task_it_is_the_tasks_rate_with_wilsons_interval():
    """As for any single rate."""
    shown = headline_of(summarize(TASKS, FIRST_TASK, map(outcome_of, FIRST_TASK)))

    assert (shown.rate, shown.interval, shown.method, shown.basis) == (0.75, wilson(3, 4), "wilson", Basis.TASK)


def test_of_several_tasks_it_is_their_mean():
    """With the interval of the mean; the pooled rate is the same number here and has the same interval."""
    summary = summarize(TASKS, SPECS, map(outcome_of, SPECS))

    shown = headline_of(summary)

    assert (shown.rate, shown.basis, shown.method) == (0.75, Basis.TASKS, "wilson-effective")
    assert shown.interval == summary.macro.interval == summary.pooled_interval()


def test_with_episodes_in_error_it_is_still_the_mean():
    """Of what the tasks completed."""
    results = [broken(spec) if spec == SPECS[0] else outcome_of(spec) for spec in SPECS]

    shown = headline_of(summarize(TASKS, SPECS, results))

    assert (shown.rate, shown.basis) == (pytest.approx((1 + 0.75 + 0.75) / 3), Basis.TASKS)
    assert shown.counts.errors == 1


def test_without_a_completed_episode_of_a_task_it_is_of_those_there_are():
    """There is no mean over all tasks."""
    results = [broken(spec) if spec in FIRST_TASK else outcome_of(spec) for spec in SPECS]

    shown = headline_of(summarize(TASKS, SPECS, results))

    assert (shown.rate, shown.interval, shown.basis) == (0.75, wilson(6, 8), Basis.POOL)


def test_while_episodes_are_missing_it_is_of_complete_rounds_and_anytime_valid():
    """Two rounds of three tasks; the third round is not complete."""
    known = [spec for spec in SPECS if spec.episode_index < 2 or spec in FIRST_TASK]

    shown = headline_of(summarize(TASKS, SPECS, map(outcome_of, known)))

    assert (shown.rate, shown.interval, shown.basis) == (0.5, anytime(3, 6), Basis.ROUNDS)
    assert shown.method == IntervalMethod.ANYTIME


@pytest.mark.parametrize("results", [[], [done(SPECS[0])], [broken(spec) for spec in SPECS]], ids=len)
def test_there_is_none_before_a_round_is_complete_or_if_nothing_was_completed(results):
    """No number is better than a wrong one."""
    assert headline_of(summarize(TASKS, SPECS, results)) is None
