"""The training's side of a comparison, in one form whichever statistics there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proctor.types import Array

EPS = 1e-8
"""The number that LeRobot adds to what it divides by."""
_BEYOND_RANGE = 0.5
"""The part of the training's range by which a value may lie beyond its ends: datasets are finite."""
_BEYOND_QUANTILES = 2.0
_MOST_SIGMAS = 10.0
"""The most σ from the mean if no range is known. A value that each episode of 100 steps begins with may be 10 σ away,
however narrow the rest is (Chebyshev's inequality)."""


@dataclass(frozen=True)
class Reference:
    """Mean and σ of each element in training, and the interval in which values are not surprising.

    ``centre``, ``sigma``, ``low`` and ``high`` are float64 ``(size,)``; ``constant`` marks elements that never changed.
    ``range_low`` and ``range_high`` are the training's own extremes, None if they are not known. ``source`` is the kind
    of evidence, see :class:`~proctor.results.audit.Finding`.
    """

    centre: Array
    sigma: Array
    low: Array
    high: Array
    constant: Array
    range_low: Array | None
    range_high: Array | None
    source: str


def reference_of(statistics: Mapping[str, Sequence[float]], size: int, source: str) -> Reference | None:
    """Make the reference for a vector of ``size`` elements; None if the statistics are of another size or too few."""
    known = {name: np.asarray(values, np.float64) for name, values in statistics.items() if len(values) == size}
    ends = next(((known[a], known[b]) for a, b in (("min", "max"), ("q01", "q99")) if {a, b} <= known.keys()), None)
    centre, sigma = known.get("mean"), known.get("std")
    if centre is None or sigma is None:
        if ends is None:
            return None
        centre, sigma = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / np.sqrt(12)
    constant = sigma <= 1e-6 * np.maximum(1e-2, np.abs(centre))
    if ends is None:
        low, high = centre - _MOST_SIGMAS * sigma, centre + _MOST_SIGMAS * sigma
    else:
        beyond = (_BEYOND_RANGE if "min" in known else _BEYOND_QUANTILES) * (ends[1] - ends[0])
        low, high = ends[0] - beyond, ends[1] + beyond
    has_range = "min" in known and "max" in known
    return Reference(
        centre,
        sigma,
        low,
        high,
        constant,
        known["min"] if has_range else None,
        known["max"] if has_range else None,
        source,
    )


def sigmas(values: Array, reference: Reference) -> Array:
    """Give the distances of values ``(…, size)`` from the training's mean in its σ, as a policy's normaliser does."""
    distances: Array = np.abs(values - reference.centre) / (reference.sigma + EPS)
    return distances
