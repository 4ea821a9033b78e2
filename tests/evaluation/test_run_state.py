"""What is known of episodes while they run."""

from __future__ import annotations

from random import Random

from proctor.evaluation.run_state import _Tally
from proctor.statistics.counts import Counts
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, Timings

SPECS = [EpisodeSpec("zoo", 0, index, 1000 + index) for index in range(6)]


def result(spec, *, success=True):
    return EpisodeResult(spec, Outcome.SUCCESS if success else Outcome.FAILURE, 1.0, 1.0, 10)


def test_the_rate_so_far_waits_for_the_slow_ones():
    """Episodes 1 and 3 have finished first, as successes do; what is known of the task begins with episode 0."""
    tally = _Tally(SPECS)
    for index in (1, 3):
        tally.add(result(SPECS[index]))
    assert (tally.counts.n_successes, tally.so_far) == (2, Counts())

    tally.add(result(SPECS[0], success=False))

    assert (tally.so_far.n_successes, tally.so_far.n_failures) == (1, 1)
    assert tally.counts.n_planned == 3


def test_in_the_end_every_order_gives_the_same():
    """And nothing is lost."""
    results = [result(spec, success=spec.episode_index % 2 == 0) for spec in SPECS]
    results[4] = EpisodeResult(SPECS[4], Outcome.ERROR)
    for seed in range(20):
        tally = _Tally(SPECS)
        for one in Random(seed).sample(results, len(results)):
            tally.add(one)

        assert tally.counts == tally.so_far == sum(map(Counts.of, results), Counts())


def test_times_add_up():
    """Part by part."""
    total = Timings(1.0, 2.0, 3.0, 4.0, 5.0, 6.0) + Timings(step=1.0)

    assert total == Timings(1.0, 2.0, 4.0, 4.0, 5.0, 6.0)
    assert total.total == 22.0
