"""Simulate the coverage and the width of the interval of a mean over tasks, on a grid.

    python bench/interval_coverage.py [--draws 20000] [--points 12] [--workers N]

The script compares the reported interval (``wilson-effective``) with the earlier one of Proctor (± 1.96 standard errors
of a stratified sample) and with Wilson's interval for the same number of episodes in one pool. docs/statistics.md has
the table.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from proctor.machine.resources import usable_cores
from proctor.statistics.intervals import z_score
from proctor.statistics.task_mean import effective_episodes, wilson_of_mean
from proctor.types import Array

TASKS = (2, 3, 5, 10, 13, 20, 40, 130)
EPISODES = (5, 8, 10, 20, 25, 50)
RATES = np.arange(1, 21) / 20
ENOUGH = 50
"""Tasks times episodes at which the coverage of an interval must be sufficient."""

Ends = tuple[Array, Array]


@dataclass(frozen=True)
class Point:
    """A point of the grid: ``numbers`` of episodes and success ``rates`` per task, (tasks,) each, and their names."""

    shape: str
    mix: str
    numbers: Array
    rates: Array

    @property
    def region(self) -> str:
        size = f">= {ENOUGH}" if self.numbers.sum() >= ENOUGH else f"< {ENOUGH}"
        return f"{self.shape}, {size}"

    def __str__(self) -> str:
        return f"{len(self.rates)} tasks of {self.numbers.min()}-{self.numbers.max()} episodes, rates {self.mix}"


def grid(seed: int = 0) -> Iterator[Point]:
    """Yield every number of tasks with every number of episodes, equal and unequal, and rates, equal and mixed."""
    random = np.random.default_rng(seed)
    for n_tasks in TASKS:
        for shape, numbers in shapes(n_tasks):
            for mix, rates in mixes(n_tasks, random):
                yield Point(shape, mix, numbers, rates)


def shapes(n_tasks: int) -> Iterator[tuple[str, Array]]:
    """Yield numbers of episodes per task: equal; somewhat unequal, as after errors; as unequal as the grid allows."""
    for n in EPISODES:
        yield "equal numbers", np.full(n_tasks, n)
    every = np.arange(n_tasks)
    for n in (10, 20, 50):
        yield "some missing", np.where(every % 2 == 0, n - n // 5, n)
        yield "some missing", np.where(every % 3 == 0, n // 2, n)
    yield "5 beside 50", np.where(every % 2 == 0, 5, 50)
    yield "5 beside 50", np.where(every % 3 == 0, 5, 50)
    yield "5 beside 50", np.where(every == 0, 5, 50)
    yield "5 beside 50", np.where(every == 0, 50, 5)
    yield "5 beside 50", np.linspace(5, 50, n_tasks).round().astype(int)


def mixes(n_tasks: int, random: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Yield rates per task. If one task differs from the others, it is the first, which has the fewest episodes."""
    every = np.arange(n_tasks)
    for rate in RATES[:-1]:  # if the rate is 1 for all tasks, every interval contains it
        yield f"all {rate:.2f}", np.full(n_tasks, rate)
    yield "from .05 to 1", np.round(np.linspace(1, 20, n_tasks)) / 20
    yield "from 1 to .05", np.round(np.linspace(20, 1, n_tasks)) / 20
    for rate in (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95):
        yield f"half {rate}, half 1", np.where(every % 2 == 0, rate, 1.0)
        yield f"one {rate}, others 1", np.where(every == 0, rate, 1.0)
    for rate in (0.3, 0.7, 0.8):
        yield f"a third {rate}, others 1", np.where(every % 3 == 0, rate, 1.0)
    for rate in (0.5, 0.95):
        yield f"half {rate}, half .05", np.where(every % 2 == 0, rate, 0.05)
    for rate in (0.05, 0.5, 0.9):
        yield f"one 1, others {rate}", np.where(every == 0, 1.0, rate)
    yield "drawn from .05 to 1", random.choice(RATES, n_tasks)
    yield "drawn from .75 to 1", random.choice(RATES[14:], n_tasks)


def new(successes: Array, episodes: Array) -> Ends:
    return wilson_of_mean((successes / episodes).mean(axis=-1), effective_episodes(successes, episodes))


def pool(successes: Array, episodes: Array) -> Ends:
    """Return Wilson's interval for the same number of episodes with the rate of the mean."""
    rate, n, z2 = (successes / episodes).mean(axis=-1), episodes.sum(), z_score(0.95) ** 2
    centre, half = rate + z2 / (2 * n), np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n)))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    return np.where(rate == 0, 0.0, low), np.where(rate == 1, 1.0, high)


def old(successes: Array, episodes: Array) -> Ends:
    """Return the interval up to version 0.1: a normal approximation, and Wilson's of the pool if no task varies."""
    rate = (successes / episodes).mean(axis=-1)
    variances = successes * (episodes - successes) / episodes**2 / (episodes - 1)
    error = np.sqrt(variances.sum(axis=-1)) / len(episodes)
    low, high = pool(successes, episodes)
    half = z_score(0.95) * error
    return (
        np.where(error > 0, np.maximum(rate - half, 0.0), low),
        np.where(error > 0, np.minimum(rate + half, 1.0), high),
    )


METHODS: dict[str, Callable[[Array, Array], Ends]] = {"old": old, "wilson of pool": pool, "new": new}


def measure(point: Point, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return by method the frequency with which its interval contains the mean of the rates, and its mean width."""
    successes = np.random.default_rng(seed).binomial(point.numbers, point.rates, (draws, len(point.rates)))
    mean, found = point.rates.mean(), {}
    for name, method in METHODS.items():
        low, high = method(successes, point.numbers)
        found[name] = float(((low <= mean + 1e-12) & (mean <= high + 1e-12)).mean()), float((high - low).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=20_000, help="simulated evaluations at each point")
    parser.add_argument("--points", type=int, default=12, help="how many of the worst points are listed")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes that simulate")
    asked = parser.parse_args()
    points = list(grid())
    with ProcessPoolExecutor(asked.workers) as workers:
        found_at = workers.map(measure, points, repeat(asked.draws), range(len(points)), chunksize=8)
        measured = list(zip(points, found_at, strict=True))
    regions: defaultdict[str, list[Any]] = defaultdict(list)
    for point, found in measured:
        regions[f"{point.region}; {'equal' if point.mix.startswith('all') else 'mixed'} rates"].append(found)
    print(f"{len(measured)} points, {asked.draws} draws each; coverage in %, width over that of Wilson's of the pool")
    print(f"{'region':44s} points " + "".join(f"{name + ': min, mean, width':>34s}" for name in METHODS))
    for region, rows in sorted(regions.items()):
        print(f"{region:44s} {len(rows):6d} " + "".join(_cell(rows, name) for name in METHODS))
    print("\nThe worst points of the new one:")
    for point, found in sorted(measured, key=lambda each: each[1]["new"][0])[: asked.points]:
        print(f"  {100 * found['new'][0]:.1f} (wilson of pool {100 * found['wilson of pool'][0]:.1f})  {point}")


def _cell(rows: list[dict[str, tuple[float, float]]], name: str) -> str:
    coverage = [row[name][0] for row in rows]
    width = np.mean([row[name][1] / row["wilson of pool"][1] for row in rows])
    return f"{100 * min(coverage):>20.1f} {100 * np.mean(coverage):>6.1f} {width:>6.2f}"


if __name__ == "__main__":
    main()
