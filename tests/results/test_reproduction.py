"""A known rate against a measured one: decisions with small integers."""

from __future__ import annotations

import pytest

from proctor.errors import ConfigError
from proctor.results.reproduction import (
    KnownRate,
    KnownResult,
    Verdict,
    all_hold,
    compare_with,
    known_result,
    known_results,
)
from proctor.results.summary import summarize
from result_samples import SPECS, TASKS, broken, done


def known(*rates):
    return KnownResult("zoo", "feeding", "a paper", "four episodes", (), rates)


def measured(n_failures):
    """The twelve episodes of the samples, of which the first ``n_failures`` fail."""
    return summarize(TASKS, SPECS, [done(spec, success=i >= n_failures) for i, spec in enumerate(SPECS)])


@pytest.mark.parametrize(
    ("pc_success", "n_failures", "verdict"),
    [(100.0, 0, Verdict.AGREES), (95.0, 2, Verdict.AGREES), (95.0, 11, Verdict.LOWER), (5.0, 2, Verdict.HIGHER)],
)
def test_a_published_rate_is_compared_by_a_test(pc_success, n_failures, verdict):
    """And a difference is said only if it is shown."""
    (found,) = compare_with(known(KnownRate(pc_success=pc_success, n_episodes=200)), measured(n_failures))

    assert found.verdict is verdict
    assert (found.p_value > 0.05) == found.holds == (verdict is Verdict.AGREES)
    assert found.interval.low <= found.difference <= found.interval.high


def test_a_rate_of_unknown_size_is_taken_as_exact():
    """By the binomial test: eleven failures of twelve at a rate of one half have p = 13 / 2048."""
    (found,) = compare_with(known(KnownRate(pc_success=50.0)), measured(11))

    assert found.p_value == pytest.approx(13 / 2048)
    assert found.verdict is Verdict.LOWER


def test_a_recorded_number_is_to_be_equal():
    """To the episode; with another number of episodes a test decides."""
    recorded = KnownRate(n_successes=9, n_episodes=12)

    assert [compare_with(known(recorded), measured(n))[0].verdict for n in (2, 3, 4)] == [
        Verdict.DIFFERENT,
        Verdict.EQUAL,
        Verdict.DIFFERENT,
    ]
    (found,) = compare_with(known(KnownRate(n_successes=90, n_episodes=120)), measured(4))
    assert found.verdict is Verdict.AGREES


def test_suites_are_compared_one_by_one_and_adjusted():
    """A p value of a family is not smaller than alone."""
    rate = KnownRate("zoo", pc_success=95.0, n_episodes=200)
    (alone,) = compare_with(known(rate), measured(3))
    first, whole = compare_with(known(rate, KnownRate(pc_success=95.0, n_episodes=200)), measured(3))

    assert first.measured == (5, 8)
    assert whole.measured == (9, 12)
    assert first.p_value == pytest.approx(2 * alone.p_value)
    assert not compare_with(known(KnownRate("cellar", pc_success=95.0, n_episodes=200)), measured(3))


def test_nothing_compared_does_not_hold():
    """No rate, no agreement: the success of an episode that raised is not known, and not a failure."""
    assert not all_hold([])
    summary = summarize(TASKS, SPECS, [broken(spec) for spec in SPECS])
    assert compare_with(known(KnownRate(pc_success=0.0, n_episodes=200)), summary) == []


def test_the_catalogue_is_complete():
    """Each result has a source, a protocol, options and rates of which each can be compared."""
    for name, result in known_results().items():
        assert name == result.name
        assert result.source, name
        assert result.protocol, name
        for rate in result.rates:
            assert (rate.pc_success is None) == (rate.n_successes is not None), name
            assert rate.n_successes is None or rate.n_episodes, name
            assert 0 < rate.rate < 1, name
            assert result.recorded == (rate.n_successes is not None), name


def test_an_unknown_name_lists_the_known_ones():
    """And the nearest."""
    with pytest.raises(ConfigError, match=r"'pusht_difusion'\. Did you mean 'pusht_diffusion'"):
        known_result("pusht_difusion")
