"""Counts of the complete rounds of a plan: at once, and while results come in."""

from __future__ import annotations

from random import Random

from proctor.results.summary import summarize
from proctor.statistics.counts import Counts
from proctor.statistics.rounds import CompleteRounds, counts_after_rounds, counts_of_complete_rounds
from proctor.types import EpisodeSpec, Task
from result_samples import SPECS, TASKS, broken, done


def after_rounds(summary, **most):
    return counts_after_rounds(summary.episodes, summary.missing, **most)


def numbers(counts):
    return [(each.n_planned, each.n_successes, each.n_failures, each.n_errors) for each in counts]


def test_a_point_is_a_round_of_all_tasks():
    """Episode 0 of every task, then episode 1 of every task: failures and errors where they belong."""
    results = [done(spec, success=spec.episode_index != 1) for spec in SPECS if spec != SPECS[2]]

    assert numbers(after_rounds(summarize(TASKS, SPECS, [*results, broken(SPECS[2])]))) == [
        (3, 3, 0, 0),
        (6, 3, 3, 0),
        (9, 5, 3, 1),
        (12, 8, 3, 1),
    ]


def test_it_ends_where_an_episode_is_missing():
    """Whatever has finished beyond: among those that finish first too many are successes."""
    results = [done(spec) for spec in SPECS if (spec.task_id, spec.episode_index) != (1, 2)]

    assert numbers(after_rounds(summarize(TASKS, SPECS, results))) == [(3, 3, 0, 0), (6, 6, 0, 0)]
    assert after_rounds(summarize(TASKS, SPECS, [])) == []


def test_of_many_rounds_some_are_given_and_the_last_is_among_them():
    """Each as exact as if all were: its counts are of everything before it."""
    task = Task("zoo", 0, "feed", "", 10)
    specs = [EpisodeSpec("zoo", 0, index, index) for index in range(1003)]
    summary = summarize([task], specs, [done(spec, success=spec.episode_index % 2 == 0) for spec in specs])

    points = after_rounds(summary, most=10)

    assert len(points) == 10
    assert points[-1].n_planned == 1003
    assert all(point.n_successes == (point.n_planned + 1) // 2 for point in points)
    assert isinstance(points[0], Counts)


def test_counts_of_rounds_have_no_means():
    """They count outcomes alone; a mean of 0 would be a lie."""
    counts = counts_of_complete_rounds([done(spec) for spec in SPECS], [])

    assert counts.n_completed == len(SPECS)
    assert (counts.mean_sum_reward, counts.mean_max_reward, counts.mean_length) == (None, None, None)


ONE_TASK = [spec for spec in SPECS if spec.suite == "attic"]


def test_the_rate_so_far_of_a_task_waits_for_its_slow_episodes():
    """Episodes 1 and 3 have finished first, as successes do; what is known of the task begins with episode 0."""
    rounds = CompleteRounds(ONE_TASK)
    for index in (1, 3):
        rounds.add(done(ONE_TASK[index]))
    assert (rounds.counts.n_successes, rounds.so_far) == (2, Counts())

    rounds.add(done(ONE_TASK[0], success=False))

    assert (rounds.so_far.n_successes, rounds.so_far.n_failures) == (1, 1)
    assert rounds.counts.n_planned == 3


def test_of_several_tasks_a_round_waits_for_every_task():
    """The last episode of the first round completes the second round too, and both are reported in their order."""
    rounds = CompleteRounds(SPECS)
    early = [spec for spec in SPECS if spec.episode_index < 2]
    late = early.pop(0)
    assert not any(rounds.add(done(spec)) for spec in early)

    completed = rounds.add(done(late, success=False))

    assert [(n, counts.n_successes, counts.n_failures) for n, counts in completed] == [(1, 2, 1), (2, 5, 1)]
    assert (rounds.n_rounds_planned, rounds.n_planned) == (4, 12)


def test_in_the_end_every_order_of_results_gives_the_same_counts():
    """And nothing is lost."""
    results = [done(spec, success=spec.episode_index % 2 == 0) for spec in SPECS]
    results[4] = broken(SPECS[4])
    for seed in range(20):
        rounds = CompleteRounds(SPECS)
        for result in Random(seed).sample(results, len(results)):
            rounds.add(result)

        assert rounds.counts == rounds.so_far == Counts.total(results)
