"""Differences between two rates: published numbers, other libraries, and what must hold for any numbers."""

import functools
import itertools
import math

import numpy as np
import pytest

from proctor.statistics.differences import Pairs, Samples, Score, Strata, agreeing_interval, holm, pool

PAPER = Pairs(both=30, only_a=3, only_b=12, neither=5)


def samples(k_a, n_a, k_b, n_b):
    return Samples(Score(k_a, n_a), Score(k_b, n_b))


def ends(interval):
    return interval.low, interval.high


def test_pairs_give_the_reference_numbers():
    """McNemar's exact p and Newcombe's paired interval."""
    assert PAPER.difference == 0.18
    assert ends(PAPER.interval()) == pytest.approx((0.028019, 0.323852), abs=5e-7)
    assert PAPER.p_value() == 0.03515625
    assert PAPER.scores == (Score(33, 50), Score(42, 50))


def test_samples_give_the_reference_numbers():
    """Boschloo's p and Newcombe's interval."""
    contrast = samples(33, 50, 42, 50)

    assert contrast.difference == pytest.approx(0.18)
    assert ends(contrast.interval()) == pytest.approx((0.009615, 0.338250), abs=5e-7)
    assert contrast.p_value() == pytest.approx(0.042246, abs=5e-7)
    assert contrast.test == "Boschloo"


def test_many_samples_are_tested_by_fisher():
    """Boschloo's test would take seconds."""
    from scipy.stats import fisher_exact

    contrast = samples(330, 500, 360, 500)

    assert contrast.test == "Fisher"
    assert contrast.p_value() == fisher_exact([[330, 360], [170, 140]]).pvalue


def test_they_agree_with_statsmodels():
    """Newcombe's interval, McNemar's test, and that of Cochran, Mantel and Haenszel."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for k_a, k_b in itertools.product((0, 3, 17, 30), (1, 15, 29)):
        expected = proportion.confint_proportions_2indep(k_b, 30, k_a, 30, method="newcomb")
        assert ends(samples(k_a, 30, k_b, 30).interval()) == pytest.approx(expected, abs=1e-9)
    assert tables.mcnemar([[30, 3], [12, 5]], exact=True).pvalue == pytest.approx(PAPER.p_value())
    tasks = [samples(3, 10, 12, 20), samples(15, 40, 9, 10), samples(1, 5, 2, 30)]
    stratified = tables.StratifiedTable(
        [[[t.b.successes, t.b.n - t.b.successes], [t.a.successes, t.a.n - t.a.successes]] for t in tasks]
    )
    assert Strata(tasks).p_value() == pytest.approx(stratified.test_null_odds(correction=False).pvalue)


@pytest.mark.parametrize(
    ("contrast", "mirrored"),
    [
        (PAPER, Pairs(30, 12, 3, 5)),
        (Pairs(50, 0, 0, 0), Pairs(50, 0, 0, 0)),
        (Pairs(0, 0, 50, 0), Pairs(0, 50, 0, 0)),
        (samples(0, 5, 7, 9), samples(7, 9, 0, 5)),
        (samples(9, 9, 9, 9), samples(9, 9, 9, 9)),
        (
            Strata([samples(1, 5, 7, 9), samples(20, 20, 0, 3)]),
            Strata([samples(7, 9, 1, 5), samples(0, 3, 20, 20)]),
        ),
    ],
    ids=str,
)
def test_what_holds_for_every_contrast(contrast, mirrored):
    """The interval contains the difference, has a width, lies in -1 to 1; with A and B exchanged all is mirrored."""
    interval, other = contrast.interval(), mirrored.interval()

    assert -1 <= interval.low <= contrast.difference <= interval.high <= 1
    assert interval.low < interval.high
    assert ends(interval) == pytest.approx((-other.high, -other.low))
    assert contrast.p_value() == pytest.approx(mirrored.p_value())
    assert 0 <= contrast.p_value() <= 1
    assert contrast.episodes_needed() == mirrored.episodes_needed()
    assert (contrast.episodes_needed() is None) == (contrast.difference == 0)


@pytest.mark.parametrize("contrast", [Pairs(10, 0, 0, 10), samples(0, 9, 0, 5), samples(9, 9, 5, 5)], ids=str)
def test_nothing_that_differs_shows_nothing(contrast):
    """No pair that differs, no failure or no success anywhere: p is 1, and no number of episodes would tell."""
    assert contrast.p_value() == 1.0
    assert contrast.episodes_needed() is None


def test_pairs_tell_more_than_as_many_samples():
    """Where outcomes of the same episode go together, the interval is narrower."""
    together = Pairs(60, 4, 16, 20)

    assert together.interval().width < 0.8 * samples(*together.scores[0], *together.scores[1]).interval().width
    assert together.episodes_needed() < samples(*together.scores[0], *together.scores[1]).episodes_needed()


def test_one_task_alone_in_strata_is_that_task():
    """The interval; the test is another one."""
    task = samples(33, 50, 42, 50)

    assert ends(Strata([task]).interval()) == pytest.approx(ends(task.interval()))


def test_tasks_are_pooled_only_where_they_are_balanced():
    """With most of A's episodes in the easy task and most of B's in the hard one, the pool says A is better although
    B is, in both.
    """
    simpson = [samples(80, 100, 10, 10), samples(1, 10, 30, 100)]
    balanced = [samples(8, 10, 10, 10), samples(1, 10, 3, 10)]

    assert pool(balanced) == samples(9, 20, 13, 20)
    fair = pool(simpson)
    assert isinstance(fair, Strata)
    assert fair.difference == pytest.approx(0.2)
    assert samples(*fair.scores[0], *fair.scores[1]).difference < -0.3


def small_tables():
    """All outcomes of up to eight pairs, all of two samples of up to seven episodes, and strata of unequal numbers."""
    for n in (1, 3, 8):
        for both, only_a, only_b in itertools.product(range(n + 1), repeat=3):
            if both + only_a + only_b <= n:
                yield Pairs(both, only_a, only_b, n - both - only_a - only_b)
    for n_a, n_b in ((2, 2), (4, 7), (6, 6)):
        for k_a, k_b in itertools.product(range(n_a + 1), range(n_b + 1)):
            yield samples(k_a, n_a, k_b, n_b)
    generator = np.random.default_rng(5)
    for _ in range(300):
        sizes = generator.integers(2, 30, (3, 2))
        counts = zip(sizes, generator.integers(sizes + 1), strict=True)
        yield Strata([samples(k_a, n_a, k_b, n_b) for (n_a, n_b), (k_a, k_b) in counts])


def test_interval_and_test_say_the_same_of_every_small_table():
    """Alone, and as one of two, three or ten comparisons; the rest is what holds for every interval."""
    n_shown = 0
    for contrast in small_tables():
        p = contrast.p_value()
        for error in (0.05, 0.025, 0.05 / 3, 0.005):
            interval = agreeing_interval(contrast, p, error)

            assert (interval.low <= 0 <= interval.high) == (p > error), contrast
            assert -1 <= interval.low <= contrast.difference <= interval.high <= 1, contrast
            n_shown += p <= error
    assert n_shown > 100


def test_where_they_agree_it_is_newcombes():
    """Only the end next to 0 ever moves, and no farther than it must."""
    assert agreeing_interval(PAPER, PAPER.p_value(), 0.05) == PAPER.interval()
    lucky = Pairs(30, 0, 5, 15)

    moved = agreeing_interval(lucky, lucky.p_value(), 0.05)

    assert lucky.p_value() == 0.0625
    assert lucky.interval().low > 0 > moved.low > -0.01
    assert moved.high == lucky.interval().high


@pytest.mark.parametrize("rates", [(0.1, 0.1, 0.5), (0.3, 0.3, 0.2), (0.05, 0.15, 0.5), (0.02, 0.2, 0.6)])
def test_the_interval_of_a_comparison_contains_the_difference_no_less_often_than_newcombes(rates):
    """Twelve pairs of which A alone, B alone, and both succeed in these parts; computed over all outcomes."""
    n, (only_a, only_b, both) = 12, rates
    covered = dict.fromkeys(("tested", "newcombe"), 0.0)
    for b, c, both_n in itertools.product(range(n + 1), repeat=3):
        if (rest := n - b - c - both_n) < 0:
            continue
        table = Pairs(both_n, b, c, rest)
        ways = math.factorial(n) / math.prod(map(math.factorial, (b, c, both_n, rest)))
        chance = ways * only_a**b * only_b**c * both**both_n * (1 - only_a - only_b - both) ** rest
        intervals = {"tested": agreeing_interval(table, table.p_value(), 0.05), "newcombe": table.interval()}
        for name, interval in intervals.items():
            covered[name] += chance * (interval.low - 1e-12 <= only_b - only_a <= interval.high + 1e-12)

    assert covered["tested"] >= max(0.93, covered["newcombe"] - 1e-9)
    if only_a == only_b:
        assert covered["tested"] >= 0.95


def test_no_direction_is_shown_where_the_test_of_strata_points_to_the_other_policy():
    """The test weighs tasks by their episodes, the difference does not: B is far worse in the task with few episodes,
    and clearly better in the one with many.
    """
    opposed = Strata([samples(5, 5, 0, 5), samples(100, 400, 200, 400)])

    assert opposed.difference < -0.3
    assert opposed.p_value() == 1.0
    assert Strata([samples(0, 5, 5, 5), samples(100, 400, 200, 400)]).p_value() < 1e-9


def test_holm_gives_the_reference_numbers():
    """In the order they were given."""
    assert holm([0.001, 0.01, 0.02, 0.04, 0.2]) == pytest.approx([0.005, 0.04, 0.06, 0.08, 0.2])
    assert holm([0.2, 0.001, 0.04, 0.01, 0.02]) == pytest.approx([0.2, 0.005, 0.08, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_equal_policies_are_told_apart_in_at_most_5_percent_of_comparisons():
    """Pairs and samples, by their exact tests: computed over all outcomes, not simulated."""
    n, rate, rate_differs = 30, 0.6, 0.3

    def coin(k, n, rate):
        return math.comb(n, k) * rate**k * (1 - rate) ** (n - k)

    paired = sum(
        coin(differing, n, rate_differs) * coin(only_b, differing, 0.5)
        for differing in range(n + 1)
        for only_b in range(differing + 1)
        if Pairs(n - differing, differing - only_b, only_b, 0).p_value() <= 0.05
    )
    independent = sum(
        coin(k_a, 8, rate) * coin(k_b, 8, rate)
        for k_a, k_b in itertools.product(range(9), repeat=2)
        if samples(k_a, 8, k_b, 8).p_value() <= 0.05
    )

    assert 0.01 < paired <= 0.05
    assert 0.005 < independent <= 0.05


def simulated_pairs(n_runs, n_tasks, n_episodes, seed):
    """Outcomes of two equal policies that agree more often than chance: arrays (runs, tasks, 4) of counts."""
    generator = np.random.default_rng(seed)
    rates = np.linspace(0.1, 0.95, n_tasks)
    differ = rates * (1 - rates)
    probabilities = np.stack([rates - differ / 2, differ / 2, differ / 2, 1 - rates - differ / 2], axis=-1)
    return np.stack([generator.multinomial(n_episodes, p, n_runs) for p in probabilities], axis=1)


def test_over_many_tasks_the_paired_interval_misses_in_at_most_5_percent():
    """2000 comparisons of equal policies on ten tasks of 20 episodes, with rates from 10 to 95 %; tolerance three
    standard errors (1.5 points).
    """
    counts = simulated_pairs(2000, 10, 20, seed=3).sum(axis=1)

    missed = np.mean(
        [not interval.low <= 0 <= interval.high for interval in (Pairs(*map(int, c)).interval() for c in counts)]
    )

    assert 0.01 < missed <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_of_many_tasks_none_differs_falsely_after_holm():
    """2000 families of ten tasks of 200 episodes: one or more p below 5 % in at most 5 % of them, and in far more
    without Holm.
    """
    p_value = functools.cache(lambda only_a, only_b: Pairs(0, only_a, only_b, 0).p_value())
    counts = simulated_pairs(2000, 10, 200, seed=4)

    families = [[p_value(int(task[1]), int(task[2])) for task in family] for family in counts]

    assert np.mean([min(holm(family)) <= 0.05 for family in families]) <= 0.05
    assert np.mean([min(family) <= 0.05 for family in families]) > 0.2
