"""How a success rate came about: after each round of the plan, as far as it is complete."""

from __future__ import annotations

from proctor.results.summary import summarize
from proctor.statistics.counts import Counts
from proctor.statistics.rounds import counts_after_rounds
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
