"""Simulate races between policies: how often the best one is eliminated, and how many episodes an early end saves.

    python bench/race.py [--races 2000] [--shared 0.3]

Two outcomes of a pair are correlated: with probability ``--shared`` both policies draw from the same uniform number.
docs/statistics.md has the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proctor.statistics.power import episodes_if_paired
from proctor.statistics.race import ERROR, eliminated, log_evidence
from proctor.types import Array


@dataclass(frozen=True)
class Case:
    """Success ``rates`` of each policy in each task, (k, tasks), and the number of rounds of the plan."""

    name: str
    rates: Array
    n_rounds: int

    @property
    def best(self) -> Array:
        """Which policies have the highest mean, (k,)."""
        means = self.rates.mean(axis=1)
        return np.asarray(means > means.max() - 1e-9)


@dataclass(frozen=True)
class Outcome:
    """What happened in races of a case.

    ``lost`` is the share of races in which one of the best policies was eliminated, ``decided`` the share with one
    policy left, ``episodes`` the mean number of episodes that all policies ran, relative to the plan.
    """

    lost: float
    decided: float
    episodes: float


def cases() -> Iterator[Case]:
    """Yield the cases: nothing to find, and something to find."""
    for rate in (0.1, 0.5, 0.9):
        for k in (2, 5, 20):
            yield Case(f"{k} equal policies, {rate:.0%}", np.full((k, 1), rate), 400 if k < 20 else 150)
    split = np.repeat([[0.9, 0.1], [0.1, 0.9]], 5, axis=1)
    yield Case("2 that win different tasks, 90 against 10 %", split, 100)
    yield Case("2 that win different tasks, 100 against 0 %", np.round(split), 100)
    yield Case("2 that win one hard and four easy tasks", np.array([[0.9, 0.4, 0.4, 0.4, 0.4], [0.1, *[0.6] * 4]]), 100)
    yield Case("5 of which the two best are equal", np.array([[0.7], [0.7], [0.5], [0.5], [0.3]]), 400)
    for low, high in ((0.5, 0.7), (0.8, 0.9), (0.9, 0.95)):
        yield Case(f"2, {low:.0%} against {high:.0%}", np.array([[low], [high]]), 1000)
    yield Case("5, 40 to 80 %", np.linspace(0.4, 0.8, 5)[:, None], 1000)
    yield Case("20, 5 to 81 %", np.linspace(0.05, 0.81, 20)[:, None], 500)


def simulate(case: Case, n_races: int, shared: float, seed: int = 0) -> Outcome:
    """Run races, all at once, and look after every round."""
    random = np.random.default_rng(seed)
    numbers = np.arange(case.rates.shape[1] * case.n_rounds + 1)
    table = log_evidence(numbers[:, None], numbers[None, :])
    k, n_tasks = case.rates.shape
    wins = np.zeros((n_races, k, k), np.int32)
    out = np.zeros((n_races, k), bool)
    ran = np.zeros(n_races, int)
    for _ in range(case.n_rounds):
        ran += np.where((~out).sum(axis=1) > 1, (~out).sum(axis=1), 0)
        own, common = random.random((n_races, k, n_tasks)), random.random((n_races, 1, n_tasks))
        draws = np.where(random.random((n_races, 1, n_tasks)) < shared, common, own)
        success = draws < case.rates
        both_run = ~out[:, :, None] & ~out[:, None, :]
        won = (success[:, :, None] & ~success[:, None, :]).sum(axis=-1)
        wins += (won * both_run).astype(np.int32)
        found = eliminated(table[wins, wins.swapaxes(1, 2)]) & ~out
        found[(out | found).all(axis=1)] = False
        out |= found
        if (out.sum(axis=1) == k - 1).all():
            break
    lost, decided = (out & case.best).any(axis=1), out.sum(axis=1) == k - 1
    return Outcome(lost.mean(), decided.mean(), (ran / (k * case.n_rounds)).mean())


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=2000)
    parser.add_argument("--shared", type=float, default=0.3)
    arguments = parser.parse_args()
    tolerance = 2 * np.sqrt(ERROR * (1 - ERROR) / arguments.races)
    print(f"{arguments.races} races each; a best policy is lost in at most {ERROR:.0%} (+ {tolerance:.1%} of chance)\n")
    print(f"{'case':46} {'rounds':>6} {'lost':>7} {'decided':>8} {'episodes of the plan':>21} {'of a fixed test':>16}")
    for case in cases():
        found = simulate(case, arguments.races, arguments.shared)
        fixed = ""
        if len(case.rates) == 2 and case.best.sum() == 1:
            needed = episodes_if_paired(*_discordant(case.rates[:, 0], arguments.shared))
            fixed = f"{found.episodes * case.n_rounds / needed:.0%} of {needed}"
        shares = f"{found.lost:7.1%} {found.decided:8.1%} {found.episodes:21.1%}"
        print(f"{case.name:46} {case.n_rounds:6} {shares} {fixed:>16}", flush=True)


def _discordant(rates: Array, shared: float) -> tuple[float, float]:
    """Give the probabilities that only the first policy succeeds, and only the second."""
    a, b = (float(rate) for rate in rates)
    together = shared * min(a, b) + (1 - shared) * a * b
    return a - together, b - together


if __name__ == "__main__":
    main()
