"""The errors of predictions: by dimension, position in the chunk, task and episode, in three units, with intervals.

A mean is over steps: the errors of all episodes are added up and divided by the number of steps. Its interval resamples
episodes (bootstrap, percentiles), because the steps of one episode resemble each other. A unit divides each number of
an action by its scale; an error of several numbers is the mean over those that have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from proctor.evaluation.open_loop.predictions import Predictions
from proctor.policies.lerobot.recordings import RecordedActions, RecordedEpisode
from proctor.results.open_loop import (
    DimensionErrors,
    Error,
    Errors,
    OpenLoopEpisode,
    PositionErrors,
    TaskErrors,
)
from proctor.statistics.bootstrap import resample
from proctor.statistics.intervals import LEVEL, Interval
from proctor.types import Array

_CONSTANT = 1e-6
"""A standard deviation below this, relative to the mean if that exceeds 1, is the rounding of a constant."""
_SEED = crc32(b"open loop")
"""The resamples are the same for every evaluation with as many episodes."""


@dataclass(frozen=True)
class Units:
    """The scales of the actions' numbers: ``std`` of the dataset, ``network`` of the checkpoint.

    Each is float64 ``(action_size,)``, NaN if a number has none. ``mean`` is the dataset's mean action, or NaN.
    """

    mean: Array
    std: Array
    network: Array

    @classmethod
    def of(cls, actions: RecordedActions, network: Array | None) -> Units:
        """Collect the scales; ``network`` are the checkpoint's, None if they are not known."""
        nothing = np.full(len(actions.names), np.nan)
        mean = nothing if actions.mean is None else actions.mean
        std = nothing if actions.std is None else actions.std
        is_constant = ~(std > _CONSTANT * np.maximum(1.0, np.abs(mean)))  # true for NaN
        scale = nothing if network is None or network.shape != nothing.shape else network
        return cls(mean, np.where(is_constant, np.nan, std), np.where(scale > 0, scale, np.nan))

    @property
    def scales(self) -> tuple[Array, Array, Array]:
        """The scales of :class:`~proctor.results.open_loop.Errors`: physical, std, network."""
        return np.ones(len(self.std)), self.std, self.network


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over steps, float64: of absolute, squared and signed errors, and of the constant prediction's errors.

    The arrays of an episode are ``(action_size,)`` and ``n`` is a number; those by position have an axis before it.
    """

    n: Array
    absolute: Array
    squared: Array
    signed: Array
    constant: Array


@dataclass(frozen=True, eq=False)
class EpisodeSums:
    """The errors of one episode, added up: of what would be executed, and by position in the chunk."""

    episode: RecordedEpisode
    n_inferences: int
    executed: _Sums
    positions: _Sums

    @classmethod
    def of(cls, episode: RecordedEpisode, found: Predictions, units: Units) -> EpisodeSums:
        """Add the errors up."""
        truth = found.truth.astype(np.float64)
        errors = found.executed.astype(np.float64) - truth
        executed = _Sums(
            np.array(len(truth)),
            np.abs(errors).sum(axis=0),
            np.square(errors).sum(axis=0),
            errors.sum(axis=0),
            np.abs(truth - units.mean).sum(axis=0),
        )
        return cls(episode, len(found.starts), executed, _by_position(found, truth))


def _by_position(found: Predictions, truth: Array) -> _Sums:
    n, shape = np.zeros(found.longest, np.int64), (found.longest, truth.shape[1])
    absolute, squared = np.zeros(shape), np.zeros(shape)
    for start, chunk in zip(found.starts, found.chunks, strict=True):
        known = truth[start : start + len(chunk)]  # nothing was recorded beyond the episode's end
        errors = chunk[: len(known)].astype(np.float64) - known
        n[: len(known)] += 1
        absolute[: len(known)] += np.abs(errors)
        squared[: len(known)] += np.square(errors)
    return _Sums(n, absolute, squared, np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Numbers:
    """All errors of :class:`~proctor.results.open_loop.OpenLoopResult`, and the steps between two looks."""

    n_action_steps: int
    overall: Errors
    constant_std: float | None
    dimensions: tuple[DimensionErrors, ...]
    positions: tuple[PositionErrors, ...]
    tasks: tuple[TaskErrors, ...]
    episodes: tuple[OpenLoopEpisode, ...]


def compute_numbers(
    predictions: Iterable[tuple[RecordedEpisode, Predictions]], actions: RecordedActions, units: Units
) -> Numbers:
    """Compute the errors of at least one episode."""
    sums, n_action_steps = [], 0
    for episode, found in predictions:
        sums.append(EpisodeSums.of(episode, found, units))
        n_action_steps = max(n_action_steps, *np.diff(found.starts, append=episode.length).tolist())
    executed = [each.executed for each in sums]
    return Numbers(
        n_action_steps=n_action_steps,
        overall=_errors(executed, units),
        constant_std=_constant(executed, units),
        dimensions=tuple(_dimensions(executed, actions, units)),
        positions=tuple(_positions(sums, units, n_action_steps)),
        tasks=tuple(_tasks(sums, units)),
        episodes=tuple(_episode(each, units) for each in sums),
    )


def _episode(sums: EpisodeSums, units: Units) -> OpenLoopEpisode:
    episode, errors = sums.episode, _errors([sums.executed], units)
    return OpenLoopEpisode(episode.index, task_of(episode), episode.length, sums.n_inferences, errors)


def _positions(sums: Sequence[EpisodeSums], units: Units, n_action_steps: int) -> Iterator[PositionErrors]:
    for position in range(max(len(each.positions.n) for each in sums)):
        here = [_at(each.positions, position) for each in sums]
        if any(each.n for each in here):
            yield PositionErrors(position, position < n_action_steps, _errors(here, units))


def task_of(episode: RecordedEpisode) -> str:
    """Name the task of an episode; a recording of several tasks in a row has all of their names."""
    return "; ".join(episode.tasks)


def _dimensions(executed: Sequence[_Sums], actions: RecordedActions, units: Units) -> Iterator[DimensionErrors]:
    n = sum(int(each.n) for each in executed)
    for index, name in enumerate(actions.names):
        yield DimensionErrors(
            index,
            name,
            _errors(executed, units, [index]),
            float(sum(each.signed[index] for each in executed)) / n,
            _known(units.std[index]),
            _known(units.network[index]),
        )


def _tasks(sums: Sequence[EpisodeSums], units: Units) -> Iterator[TaskErrors]:
    for task in sorted({task_of(each.episode) for each in sums}):
        those = [each.executed for each in sums if task_of(each.episode) == task]
        yield TaskErrors(task, len(those), _errors(those, units))


def _constant(executed: Sequence[_Sums], units: Units) -> float | None:
    """Compute the mean absolute error of the dataset's mean action, in its standard deviations."""
    known = np.isfinite(units.std) & np.isfinite(units.mean)
    if not known.any():
        return None
    total = np.sum([each.constant for each in executed], axis=0)[known] / units.std[known]
    return float(total.mean() / sum(int(each.n) for each in executed))


def _at(sums: _Sums, position: int) -> _Sums:
    """Take the sums at one position; an episode without so long a chunk has none."""
    if position >= len(sums.n):
        nothing = np.zeros(sums.absolute.shape[1])
        return replace(sums, n=np.array(0), absolute=nothing, squared=nothing)
    return replace(sums, n=sums.n[position], absolute=sums.absolute[position], squared=sums.squared[position])


def _errors(sums: Sequence[_Sums], units: Units, dimensions: Sequence[int] = ()) -> Errors:
    """Compute the errors of some numbers of the actions, all if none are given, from the sums of each episode."""
    dimensions = dimensions or range(len(units.std))
    columns = [np.array([float(each.n) for each in sums])]
    known = []
    for scale in (scale[list(dimensions)] for scale in units.scales):
        there = np.isfinite(scale)
        known.append(bool(there.any()))
        for sign, power in (("absolute", 1), ("squared", 2)):
            total = np.array([getattr(each, sign)[list(dimensions)] for each in sums])
            scaled = total[:, there] / scale[there] ** power
            columns.append(scaled.mean(axis=1) if known[-1] else np.zeros(len(sums)))
    values = np.stack(columns, axis=1)
    means, intervals = _ratios(values)
    parts = [
        Error(means[2 * unit], means[2 * unit + 1], intervals[2 * unit], intervals[2 * unit + 1])
        if known[unit]
        else None
        for unit in range(len(known))
    ]
    assert parts[0] is not None  # every number has a physical unit
    return Errors(int(values[:, 0].sum()), parts[0], parts[1], parts[2])


def _ratios(values: Array) -> tuple[list[float], list[Interval | None]]:
    """Divide the sums of all columns by that of the first; ``values`` is ``(episodes, columns)``."""
    totals = values.sum(axis=0)
    means = (totals[1:] / totals[0]).tolist()
    drawn = resample(values, _SEED).sums if len(values) > 1 else np.zeros((1, len(totals)))
    if not drawn[:, 0].all():  # one episode does not show how much they vary; nor do resamples without a step
        return means, [None] * len(means)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(drawn[:, 1:] / drawn[:, :1], [tail, 100 - tail], axis=0)
    return means, [Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
