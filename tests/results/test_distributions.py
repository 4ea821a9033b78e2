"""Histograms of lengths and rewards."""

from __future__ import annotations

import math

from msgspec import structs

from proctor.results.distributions import MOST_BINS, histograms, lengths_and_rewards
from proctor.results.summary import summarize
from proctor.types import Outcome
from result_samples import SPECS, TASKS, broken, done


def summary_of(*results):
    return summarize(TASKS, SPECS, results)


def test_every_completed_episode_is_in_one_bin():
    """Successes and failures apart; an error has no length."""
    summary = summary_of(done(SPECS[0]), done(SPECS[1]), done(SPECS[2], success=False), broken(SPECS[3]))
    lengths, _ = lengths_and_rewards(summary.episodes)

    (histogram,) = histograms([lengths])

    assert (sum(histogram.successes), sum(histogram.failures)) == (2, 1)
    assert histogram.failures[-1] == 1
    assert (histogram.whole, histogram.edges) == (True, (9.5, 10.5, 11.5, 12.5))


def test_episodes_of_unknown_success_are_counted_apart():
    """Neither among the successes nor among the failures, nor left out."""
    lengths, _ = lengths_and_rewards(
        summary_of(done(SPECS[0]), structs.replace(done(SPECS[1]), outcome=Outcome.UNKNOWN)).episodes
    )

    (histogram,) = histograms([lengths])

    assert (sum(histogram.successes), sum(histogram.failures), sum(histogram.unknown)) == (1, 0, 1)


def test_several_evaluations_share_their_bins():
    """Else they could not be compared by eye."""
    first, second = (lengths_and_rewards(summary_of(done(spec)).episodes)[0] for spec in (SPECS[0], SPECS[3]))

    one, other = histograms([first, second])

    assert one.edges == other.edges
    assert one.successes[0] == other.successes[-1] == 1


def test_bins_of_whole_numbers_hold_equally_many_of_them():
    """Else some bins would be twice as full for no other reason."""
    results = [structs.replace(done(spec), length=20 + 7 * position) for position, spec in enumerate(SPECS)]

    (histogram,) = histograms([lengths_and_rewards(summary_of(*results).episodes)[0]])

    widths = {after - before for before, after in zip(histogram.edges, histogram.edges[1:], strict=False)}
    assert widths == {16.0}
    assert sum(histogram.successes) == len(SPECS)


def test_what_is_not_finite_is_left_out():
    """Of a reward nobody knows, and of one a simulator divided by zero."""
    odd = [structs.replace(done(SPECS[0]), sum_reward=None), structs.replace(done(SPECS[1]), sum_reward=math.inf)]
    _, rewards = lengths_and_rewards(summary_of(*odd, done(SPECS[2])).episodes)

    assert sum(histograms([rewards])[0].successes) == 1
    assert histograms([lengths_and_rewards(summary_of(*odd).episodes)[1]]) == []
    assert histograms([lengths_and_rewards(summary_of().episodes)[0]]) == []


def test_an_outlier_does_not_make_millions_of_bins():
    """As a rule does that chooses their width."""
    _, rewards = lengths_and_rewards(
        summary_of(*map(done, SPECS[1:]), structs.replace(done(SPECS[0]), sum_reward=1e12)).episodes
    )

    assert len(histograms([rewards])[0].successes) <= MOST_BINS
