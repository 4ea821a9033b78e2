"""Races between policies: who is eliminated, and when."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln

from proctor.statistics.race import Race, eliminated, log_evidence


def evidence(wins, losses):
    return float(np.exp(log_evidence(np.array(wins), np.array(losses))))


@pytest.mark.parametrize(("wins", "losses", "value"), [(12, 3, 3.627441), (15, 3, 14.503098), (20, 4, 54.125780)])
def test_the_mean_of_both_directions_is_the_two_sided_e_value(wins, losses, value):
    """These numbers were computed independently."""
    assert (evidence(wins, losses) + evidence(losses, wins)) / 2 == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 7), (9, 2), (30, 30)])
def test_evidence_is_the_mean_likelihood_ratio_over_the_upper_half(wins, losses):
    """By numerical integration."""

    def weighted(angle):  # theta = sin(angle) ** 2 removes the singularity of Beta(1/2, 1/2)
        theta = np.sin(angle) ** 2
        return 2 * (2 * theta) ** wins * (2 * (1 - theta)) ** losses

    expected = 2 * quad(weighted, np.pi / 4, np.pi / 2)[0] / np.exp(betaln(0.5, 0.5))

    assert evidence(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_much_evidence_stays_finite():
    """Nothing is lost for ever, either: the evidence falls as slowly as the number of losses grows."""
    found = log_evidence(np.array([100_000, 0]), np.array([0, 100_000]))

    assert np.isfinite(found).all()
    assert found[0] > 100
    assert -13 < found[1] < -11


def closed_testing(against, error):
    """Every set of policies that holds one has a mean of at least 1 / error: by looking at all sets."""
    k = len(against)
    sets = [[i for i in range(k) if mask >> i & 1] for mask in range(1, 1 << k)]
    reached = [np.mean([against[i] for i in chosen]) * error >= 1 for chosen in sets]
    return [all(ok for chosen, ok in zip(sets, reached, strict=True) if i in chosen) for i in range(k)]


def test_elimination_is_closed_testing_over_all_sets():
    """For five policies with random evidence, and for the whole array at once."""
    random = np.random.default_rng(0)
    log = random.normal(2, 3, (200, 5, 5))

    found = eliminated(log)

    assert found.any()
    assert not found.all()
    for one, out in zip(log, found, strict=True):
        off_diagonal = np.exp(one) * (1 - np.eye(5))
        assert list(out) == closed_testing(off_diagonal.sum(axis=0) / 4, 0.05)


def test_a_clearly_better_policy_wins_and_the_loser_stops():
    """After as few rounds as that takes."""
    race = Race(2)

    for _ in range(20):
        if race.winner is None:
            race.add_round({0: [True, True], 1: [False, True]})

    assert race.winner == 0
    assert race.eliminated_after == [None, race.n_rounds]
    assert (evidence(6, 0) + evidence(0, 6)) / 2 < 20 <= (evidence(7, 0) + evidence(0, 7)) / 2
    assert race.n_rounds == 7


def test_pairs_with_the_same_outcome_are_no_evidence():
    """However many there are."""
    race = Race(3)
    for number in range(500):
        assert race.add_round({policy: [number % 3 == 0] for policy in range(3)}) == []
    assert race.running == [0, 1, 2]


def test_those_that_cannot_win_any_more_are_eliminated_first():
    """The others go on; an eliminated policy gives no more outcomes."""
    random, race, rates = np.random.default_rng(1), Race(4), [0.1, 0.6, 0.9, 0.3]

    while race.winner is None:
        race.add_round({policy: list(random.random(5) < rates[policy]) for policy in race.running})

    ends = race.eliminated_after
    assert race.winner == 2
    assert ends[0] <= ends[3] <= ends[1]


def test_an_error_counts_as_what_is_worse_for_the_evidence():
    """Whatever the episodes in error become, the race would have ended no later."""
    random = np.random.default_rng(2)
    for _ in range(50):
        with_errors, resolved = Race(2), Race(2)
        for _ in range(200):
            first, second = random.random() < 0.7, random.random() < 0.3
            errors = random.random(2) < 0.2
            if with_errors.winner is None:
                with_errors.add_round(
                    {0: [None if errors[0] else bool(first)], 1: [None if errors[1] else bool(second)]}
                )
            if resolved.winner is None:
                resolved.add_round({0: [bool(first)], 1: [bool(second)]})
        if with_errors.winner is not None:
            assert resolved.winner == with_errors.winner
            assert resolved.n_rounds <= with_errors.n_rounds


@pytest.mark.parametrize(
    "rates",
    [[[0.5], [0.5]], [[0.5], [0.5], [0.5], [0.5]], [[0.9, 0.1], [0.1, 0.9]], [[1.0, 0.0], [0.0, 1.0]]],
    ids=["two equal", "four equal", "each wins one task", "each always wins one task"],
)
def test_equal_policies_are_seldom_told_apart(rates):
    """In at most 5 % of races, with a look after every round. bench/race.py simulates more cases, and longer races."""
    random, rates = np.random.default_rng(3), np.array(rates)
    k, n_races = len(rates), 400
    wins, out = np.zeros((n_races, k, k), int), np.zeros((n_races, k), bool)
    numbers = np.arange(100 * rates.shape[1] + 1)
    table = log_evidence(numbers[:, None], numbers[None, :])
    for _ in range(100):
        success = random.random((n_races, *rates.shape)) < rates
        wins += (success[:, :, None] & ~success[:, None, :]).sum(axis=-1)
        out |= eliminated(table[wins, wins.swapaxes(1, 2)])

    chance = 3 * np.sqrt(0.05 * 0.95 / n_races)
    assert out.any(axis=1).mean() <= 0.05 + chance
