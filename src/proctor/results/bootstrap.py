"""How sure one can be of mean rewards and lengths: they follow no known distribution, so episodes are resampled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from proctor.results.intervals import LEVEL, Interval
from proctor.types import Array, EpisodeResult, Outcome

RESAMPLES = 2000
_SEED = 0


class MeanIntervals(NamedTuple):
    """Of the means over completed episodes; None where there is none (:func:`bootstrap_means`)."""

    sum_reward: Interval | None = None
    max_reward: Interval | None = None
    length: Interval | None = None


def mean_intervals(tasks: Iterable[Iterable[EpisodeResult]]) -> MeanIntervals:
    """Of all tasks' completed episodes together."""
    strata = [np.array(rows) for episodes in tasks if (rows := _measured(episodes))]
    return MeanIntervals(*bootstrap_means(strata))


def bootstrap_means(strata: Sequence[Array], level: float = LEVEL) -> list[Interval | None]:
    """Percentile bootstrap intervals of the means over all episodes, one for each quantity.

    ``strata`` holds an array of floats (episodes, quantities) per task: each task's episodes are resampled among
    themselves, as the list of tasks is fixed. The generator is seeded, so equal results give equal intervals. None for
    a quantity that is not finite somewhere; an empty list where a task has fewer than two episodes, which say nothing
    of how much they vary.
    """
    if not strata or min(map(len, strata)) < 2:
        return []
    generator = np.random.default_rng(_SEED)
    n_quantities = strata[0].shape[1]
    sums = np.zeros((RESAMPLES, n_quantities))
    for values in strata:
        n = len(values)
        drawn = generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        # Not a matrix product: what that gives depends on a library's threads, to the last bit.
        sums += np.einsum("re,eq->rq", drawn, np.where(np.isfinite(values), values, 0.0))
    tail = 50 * (1 - level)
    low, high = np.percentile(sums / sum(map(len, strata)), [tail, 100 - tail], axis=0)
    known = np.isfinite(np.concatenate(strata)).all(axis=0)
    return [Interval(float(low[q]), float(high[q])) if known[q] else None for q in range(n_quantities)]


def _measured(episodes: Iterable[EpisodeResult]) -> list[tuple[float, float, float]]:
    return [
        (_number(result.sum_reward), _number(result.max_reward), float(result.length))
        for result in episodes
        if result.outcome is not Outcome.ERROR
    ]


def _number(reward: float | None) -> float:
    return math.nan if reward is None else reward
