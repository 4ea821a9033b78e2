"""Which success rate is high enough for continuous integration."""

import pytest

from proctor.errors import ConfigError
from proctor.reports.gate import Gate
from proctor.results.summary import summarize
from proctor.types import EpisodeResult, Outcome
from result_samples import SPECS, TASKS, broken, done


def summary(results):
    return summarize(TASKS, SPECS, results)


THREE_OF_FOUR = [done(spec, success=spec.episode_index > 0) for spec in SPECS]


@pytest.mark.parametrize(("threshold", "passed"), [(0.75, True), (0.7500001, False), (1, False), (0.1, True)])
def test_the_rate_has_to_reach_the_threshold(threshold, passed):
    """It passes if it is equal."""
    assert Gate(threshold).decide(summary(THREE_OF_FOUR)).passed is passed


def test_the_lower_bound_asks_for_more_than_the_rate():
    """Twelve episodes with a rate of 75 % do not prove 60 %."""
    decision = Gate(0.6, "lower_bound").decide(summary(THREE_OF_FOUR))

    assert decision.passed is False
    assert decision.sentence.startswith("Failed: the lower bound ")
    assert "is below 60.0 % (success rate 75.0 %, 95% interval " in decision.sentence
    assert Gate(0.6).decide(summary(THREE_OF_FOUR)).sentence.startswith("Passed: the rate 75.0 % is at least 60.0 %")


@pytest.mark.parametrize("results", [THREE_OF_FOUR[:-1], [*THREE_OF_FOUR[:-1], broken(SPECS[-1])], []])
def test_an_unfinished_run_and_one_with_errors_are_not_judged(results):
    """Whatever the rate of the completed episodes is."""
    decision = Gate(0.1).decide(summary(results))

    assert decision.passed is None
    n = 12 if not results else 1
    assert f"Not decided: {n} episode" in decision.sentence


def test_a_run_without_success_is_refused():
    """No rate is known, so that none can be high enough."""
    unknown = EpisodeResult(SPECS[0], Outcome.of_completed(None), 1.0, 1.0, 9)

    with pytest.raises(ConfigError, match=r"--fail_under cannot be decided.*env\.success_key"):
        Gate(0.1).decide(summary([unknown, *THREE_OF_FOUR[1:]]))


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, 80, float("nan")])
def test_a_threshold_that_is_no_rate_is_refused(threshold):
    """80 could mean 80 %, and 1 could mean 1 %: only rates are accepted."""
    with pytest.raises(ConfigError, match=r"0\.8 means 80 %"):
        Gate(threshold)


def test_an_unknown_basis_is_refused():
    """The message names those that there are."""
    with pytest.raises(ConfigError, match="it is one of rate, lower_bound"):
        Gate(0.5, "mean")
