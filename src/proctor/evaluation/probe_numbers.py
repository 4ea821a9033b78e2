"""Numbers of a first look at a policy: what arrays hold, which actions came back, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from proctor.types import Array

_MOST_OUTSIDE = 0.05
"""The share of actions outside of the bounds above which a sentence says so."""
_LEAST_SIZE_WITH_GRIPPER = 3
"""The smallest action whose last number may be a gripper: a smaller one moves a point, or a cart."""
_ROUNDING = 1e-6
_IMAGE_DIMENSIONS = 3


@dataclass(frozen=True)
class ArrayNumbers:
    """The arrays of one key, over all observations.

    ``shape`` and ``dtype`` are those of the first array. ``low``, ``high`` and ``mean`` are over all finite numbers;
    None if there are none. ``n_flat`` arrays hold the same number everywhere; ``changes`` is true if two arrays differ.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str
    n: int
    low: float | None
    high: float | None
    mean: float | None
    n_not_finite: int
    n_flat: int
    changes: bool

    @property
    def is_image(self) -> bool:
        """True if the array has a height, a width and channels; axes of time and of episodes do not count."""
        return sum(side > 1 for side in self.shape) >= _IMAGE_DIMENSIONS


class ArrayCounter:
    """Adds up the numbers of the arrays of one key, of which it keeps the first one only."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._first: Array | None = None
        self._n = self._n_not_finite = self._n_flat = self._n_finite = 0
        self._low, self._high, self._sum = np.inf, -np.inf, 0.0
        self._changes = False

    def add(self, array: Array) -> None:
        """Take in one array of booleans or real numbers."""
        finite = array[np.isfinite(array)]
        self._n += 1
        self._n_not_finite += array.size - finite.size
        self._n_finite += finite.size
        if finite.size:
            self._low, self._high = min(self._low, finite.min()), max(self._high, finite.max())
            self._sum += float(finite.sum(dtype=np.float64))
        self._n_flat += int(array.size > 1 and bool((array == array.flat[0]).all()))
        if self._first is None:
            self._first = array.copy()
        self._changes |= not np.array_equal(array, self._first)

    def numbers(self) -> ArrayNumbers:
        """Give the numbers of the arrays so far, of which there is at least one."""
        assert self._first is not None
        known = self._n_finite > 0
        return ArrayNumbers(
            self._key,
            self._first.shape,
            str(self._first.dtype),
            self._n,
            float(self._low) if known else None,
            float(self._high) if known else None,
            self._sum / self._n_finite if known else None,
            self._n_not_finite,
            self._n_flat,
            self._changes,
        )


@dataclass(frozen=True)
class DimensionNumbers:
    """One number of the actions, over all actions that came back.

    ``low``, ``high`` and ``mean`` are over the finite values; None if there are none. ``bounds`` are those of the
    environment's action space, None if they are not known. ``outside`` is the share of the actions (0 to 1) that lie
    outside of ``bounds``.
    """

    index: int
    low: float | None
    high: float | None
    mean: float | None
    bounds: tuple[float, float] | None
    outside: float | None

    @property
    def excess(self) -> float:
        """The largest distance of a value from the bounds, 0 if all are inside or the bounds are not known."""
        if self.bounds is None or self.low is None or self.high is None:
            return 0.0
        return max(0.0, self.bounds[0] - self.low, self.high - self.bounds[1])


@dataclass(frozen=True)
class ActionNumbers:
    """All actions that came back, executed or not.

    ``chunks`` are the different shapes of chunks, in the order of their arrival. ``outside`` is the share of actions of
    which at least one number is outside of the bounds; None if the bounds are not known. ``last_changes_sign`` is true
    if the last number, which often is the gripper, was both above and below zero.
    """

    n_chunks: int
    n_actions: int
    chunks: tuple[tuple[int, ...], ...]
    dtype: str
    dimensions: tuple[DimensionNumbers, ...]
    outside: float | None
    n_not_finite: int
    last_changes_sign: bool


def action_numbers(chunks: Sequence[Array], low: Sequence[float] = (), high: Sequence[float] = ()) -> ActionNumbers:
    """Compute the numbers of chunks ``(steps, *action shape)``, of which there is at least one.

    ``low`` and ``high`` are the bounds of each number of an action, flat; empty if they are not known. A chunk whose
    width is not that of the first one counts only in ``chunks``.
    """
    flat = [np.asarray(chunk, np.float64).reshape(len(chunk), -1) for chunk in chunks if chunk.ndim and chunk.size]
    alike = [chunk for chunk in flat if chunk.shape[1] == flat[0].shape[1]]
    actions = np.concatenate(alike) if alike else np.empty((0, 0))
    bounds = list(zip(low, high, strict=True)) if len(low) == len(high) == actions.shape[1] else []
    outside = _outside(actions, np.array(bounds).T) if bounds else None
    return ActionNumbers(
        len(chunks),
        len(actions),
        tuple(dict.fromkeys(chunk.shape for chunk in chunks)),
        str(chunks[0].dtype),
        tuple(
            _dimension(
                index,
                column,
                bounds[index] if bounds else None,
                None if outside is None else float(outside[:, index].mean()),
            )
            for index, column in enumerate(actions.T)
        ),
        None if outside is None else float(outside.any(axis=1).mean()),
        int((~np.isfinite(actions)).sum()),
        bool(actions.size and (actions[:, -1] > 0).any() and (actions[:, -1] < 0).any()),
    )


def _outside(actions: Array, bounds: Array) -> Array:
    """Mark the numbers that are outside of their bounds by more than rounding; a number that is NaN is not marked."""
    low, high = bounds
    slack = _ROUNDING * np.maximum(1.0, np.where(np.isfinite(bounds), np.abs(bounds), 0.0))
    outside: Array = (actions < low - slack[0]) | (actions > high + slack[1])
    return outside


def _dimension(
    index: int, column: Array, bounds: tuple[float, float] | None, outside: float | None
) -> DimensionNumbers:
    finite = column[np.isfinite(column)]
    if not finite.size:
        return DimensionNumbers(index, None, None, None, bounds, outside)
    return DimensionNumbers(index, float(finite.min()), float(finite.max()), float(finite.mean()), bounds, outside)


def odd_arrays(arrays: Sequence[ArrayNumbers], verb: str) -> Iterator[str]:
    """Yield a sentence for each array that looks wrong; ``verb`` says what was done with the arrays: "given"."""
    for each in arrays:
        if each.n_not_finite:
            yield f"{each.key} holds numbers that are NaN or infinite ({each.n_not_finite} of them), as {verb}."
        if each.is_image and each.n_flat:
            kind = "black" if each.high == 0 else "of one value"
            yield f"{each.key} is an image that is all {kind} in {each.n_flat} of {each.n} observations, as {verb}."
        elif each.n > 1 and not each.changes:
            yield f"{each.key} is the same in all {each.n} observations, as {verb}."


def odd_actions(actions: ActionNumbers, n_action_steps: int | None) -> Iterator[str]:
    """Yield a sentence for each thing about the actions that looks wrong.

    ``n_action_steps`` is the number of actions that are executed before the policy looks again; None for all.
    """
    if actions.n_not_finite:
        yield f"The actions hold numbers that are NaN or infinite ({actions.n_not_finite} of them)."
    yield from _odd_range(actions)
    if actions.n_actions > 1:
        yield from _odd_constants(actions)
    shortest = min((chunk[0] for chunk in actions.chunks if chunk), default=0)
    if n_action_steps is not None and shortest < n_action_steps:
        yield (
            f"A chunk has {shortest} actions, but n_action_steps is {n_action_steps}: the policy looks again after "
            f"{shortest}."
        )


def _odd_range(actions: ActionNumbers) -> Iterator[str]:
    if actions.outside is None or actions.outside <= _MOST_OUTSIDE:
        return
    which = ", ".join(str(each.index) for each in actions.dimensions if each.outside)
    excess = max(each.excess for each in actions.dimensions)
    yield (
        f"{100 * actions.outside:.0f} % of the actions are outside of the environment's bounds, by up to {excess:.3g} "
        f"(dimensions {which}). A network overshoots a little; if it is much, the policy was trained for another "
        "action space, or its actions are not un-normalised."
    )


def _odd_constants(actions: ActionNumbers) -> Iterator[str]:
    for each in actions.dimensions:
        if each.low is not None and each.low == each.high:
            yield f"Dimension {each.index} of the actions is {each.low:.4g} in all {actions.n_actions} actions."
    if len(actions.dimensions) < _LEAST_SIZE_WITH_GRIPPER or actions.last_changes_sign:
        return
    last = actions.dimensions[-1]
    if last.bounds is None or last.bounds[0] < 0 < last.bounds[1]:
        yield (
            f"Dimension {last.index}, the last one of the actions, never changes its sign; if it is the gripper, the "
            "gripper never opens or never closes in these steps."
        )
