"""Intervals of mean rewards and lengths. These follow no known distribution, so episodes are resampled (bootstrap)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np

from proctor.statistics.intervals import LEVEL, Interval
from proctor.types import Array, EpisodeResult, Outcome, TaskKey

RESAMPLES = 2000
_DRAWS_AT_ONCE = 1 << 20
"""The most indices that are drawn at once: 4 MB of memory, unless a single resample takes more."""
_EPISODES_AT_ONCE = 128
"""The number of episodes of each resample that are added at once: few enough for the cache."""
_COLUMNS = 4
"""The width of a row of quantities that numpy gathers: it copies rows of 32 bytes several times as fast as of 24."""


class MeanIntervals(NamedTuple):
    """Intervals of the means over completed episodes, each None if there is none (:func:`mean_intervals`)."""

    sum_reward: Interval | None = None
    max_reward: Interval | None = None
    length: Interval | None = None


@dataclass(frozen=True, eq=False)
class Resampled:
    """Resamples of one task's completed episodes, each as large as the task.

    ``sums`` holds the sum of each resample, floats (RESAMPLES, quantities), and ``n`` the numbers of episodes in a
    resample, ints (quantities,). An episode whose quantity is not finite is left out of that quantity's resamples.
    """

    n: Array
    sums: Array


def quantities(episodes: Iterable[EpisodeResult]) -> Array:
    """Return the quantities of :class:`MeanIntervals`, floats (completed episodes, quantities); no reward gives NaN."""
    rows = [
        (number_or_nan(result.sum_reward), number_or_nan(result.max_reward), number_or_nan(result.length))
        for result in episodes
        if result.outcome is not Outcome.ERROR
    ]
    return np.array(rows).reshape(-1, len(MeanIntervals._fields))


def resample_task(task: TaskKey, values: Array) -> Resampled:
    """Resample a task's :func:`quantities`. The draw is seeded by the task, so equal results give equal resamples."""
    return resample(values, seed=crc32(f"{task.suite}/{task.task_id}".encode(errors="backslashreplace")))


def resample(values: Array, seed: int) -> Resampled:
    """Resample ``values``, floats (episodes, quantities)."""
    known = np.isfinite(values)
    if known.all():  # one draw for all quantities: several times as fast
        sums = _resampled_sums(values, seed)
    else:
        columns = zip(values.T, known.T, strict=True)
        sums = np.hstack([_resampled_sums(column[there][:, None], seed) for column, there in columns])
    return Resampled(known.sum(axis=0), sums)


def _resampled_sums(values: Array, seed: int) -> Array:
    """Return the sums of the resamples of ``values``, floats (RESAMPLES, quantities)."""
    generator, n = np.random.default_rng(seed), len(values)
    if not n:
        return np.zeros((RESAMPLES, values.shape[1]))
    width = 1 if values.shape[1] == 1 else max(values.shape[1], _COLUMNS)
    rows = np.pad(values, ((0, 0), (0, width - values.shape[1])))
    sums = np.full((RESAMPLES, width), -0.0)  # -0.0 is the only number to which adding -0.0 gives -0.0
    for part in np.array_split(sums, min(RESAMPLES, 1 + RESAMPLES * n // _DRAWS_AT_ONCE)):
        # The draws do not depend on the width of the integers, nor on how many are drawn at once.
        with np.errstate(over="ignore", invalid="ignore"):  # the sum of the largest floats overflows
            _add_resamples(rows, generator.integers(n, size=(len(part), n), dtype=np.int32), part)
    return sums[:, : values.shape[1]]


def _add_resamples(rows: Array, drawn: Array, sums: Array) -> None:
    """Add the drawn ones of ``rows`` to ``sums``.

    Args:
        rows: floats (episodes, columns).
        drawn: indices of rows, integers (resamples, episodes in each).
        sums: floats (resamples, columns).
    """
    space = np.empty((1 + _EPISODES_AT_ONCE, *sums.shape))
    for first in range(0, drawn.shape[1], _EPISODES_AT_ONCE):
        # The draw is transposed because adding whole rows is several times as fast as adding along a resample. The
        # sums so far are the first row, so the order of additions is that of the draw, and the sums are equal to the
        # bit however many are added at once.
        indices = drawn[:, first : first + _EPISODES_AT_ONCE].T
        taken = space[: 1 + len(indices)]
        taken[0] = sums
        rows.take(indices, axis=0, out=taken[1:], mode="clip")  # "raise" would need a copy; no index is out of range
        taken.sum(axis=0, out=sums)


def mean_intervals(tasks: Sequence[Resampled], level: float = LEVEL) -> MeanIntervals:
    """Compute percentile bootstrap intervals of the means over all tasks' episodes (docs/statistics.md).

    Each task's episodes are resampled among themselves, because the list of tasks is fixed. A quantity has no interval
    if a task has a single episode with it, because one episode does not show how much they vary.
    """
    if not tasks:
        return MeanIntervals()
    n = np.array([task.n for task in tasks])
    vary = n.any(axis=0) & (n != 1).all(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        means = sum(task.sums for task in tasks) / np.maximum(n.sum(axis=0), 1)
    vary &= np.isfinite(means).all(axis=0)
    tail = 50 * (1 - level)
    low, high = np.percentile(np.where(vary, means, 0.0), [tail, 100 - tail], axis=0)
    return MeanIntervals(
        *(Interval(float(a), float(b)) if known else None for known, a, b in zip(vary, low, high, strict=True))
    )


def number_or_nan(value: float | None) -> float:
    """Return ``value``, or NaN if it is not known."""
    return math.nan if value is None else value
