"""Histograms of the lengths and rewards of episodes, with the same bins for several evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from proctor.statistics.bootstrap import number_or_nan
from proctor.types import Array, EpisodeResult, Outcome

MOST_BINS = 40
_SPLIT = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN)
"""The outcomes of completed episodes, in the order of the fields of :class:`Values`."""
_UNDRAWN = 1e300
"""A value from which on an axis has no end."""


@dataclass(frozen=True, eq=False)
class Values:
    """A quantity of one evaluation's completed episodes by their outcome, floats ``(episodes,)`` each.

    A value is not finite if it is unknown.
    """

    of_successes: Array
    of_failures: Array
    of_unknown: Array


@dataclass(frozen=True)
class Histogram:
    """The numbers of episodes of each outcome in each bin; there is one more of ``edges`` than of bins.

    If all values are equal, there is one bin, with the value in its middle. If ``whole`` is true, all values are whole
    numbers, and every bin holds equally many of them, between its edges.
    """

    whole: bool
    edges: tuple[float, ...]
    successes: tuple[int, ...]
    failures: tuple[int, ...]
    unknown: tuple[int, ...]


def lengths_and_rewards(episodes: Iterable[EpisodeResult]) -> tuple[Values, Values]:
    """Return the lengths of those episodes that are completed, in steps, and their sums of rewards."""
    rows = (
        (_SPLIT.index(result.outcome), number_or_nan(result.length), number_or_nan(result.sum_reward))
        for result in episodes
        if result.outcome is not Outcome.ERROR
    )
    outcome, length, reward = np.fromiter(rows, dtype=np.dtype((float, 3))).T
    lengths, rewards = (
        Values(*(values[outcome == kind] for kind in range(len(_SPLIT)))) for values in (length, reward)
    )
    return lengths, rewards


def joined(parts: Sequence[Values]) -> Values:
    """Join the values of several tasks."""
    return Values(
        np.concatenate([part.of_successes for part in parts]),
        np.concatenate([part.of_failures for part in parts]),
        np.concatenate([part.of_unknown for part in parts]),
    )


def histograms(evaluations: Sequence[Values]) -> list[Histogram]:
    """Make a histogram for each evaluation. Values that cannot be drawn are left out; the list is empty if all are."""
    known = [
        [part[np.abs(part) < _UNDRAWN] for part in (each.of_successes, each.of_failures, each.of_unknown)]
        for each in evaluations
    ]
    everything = np.concatenate([part for parts in known for part in parts])
    if not len(everything):
        return []
    whole = bool((everything % 1 == 0).all())
    edges = _edges(everything, whole=whole)
    return [Histogram(whole, tuple(edges.tolist()), *(_counts(part, edges) for part in parts)) for parts in known]


def _edges(values: Array, *, whole: bool) -> Array:
    """Compute the edges of as many bins as Sturges' rule gives, but at most :data:`MOST_BINS`."""
    if values.min() == values.max():
        return np.array([values.min() - 0.5, values.min() + 0.5])
    most = min(MOST_BINS, 1 + math.ceil(math.log2(len(values))))
    if not whole:
        return np.histogram_bin_edges(values, bins=most)
    n_values = values.max() - values.min() + 1
    width = math.ceil(n_values / most)
    edges: Array = values.min() - 0.5 + width * np.arange(math.ceil(n_values / width) + 1)
    return edges


def _counts(values: Array, edges: Array) -> tuple[int, ...]:
    return tuple(np.histogram(values, edges)[0].tolist())
