"""The statistics of images as LeRobot defines them, computed from how often each value occurs.

Source: ``RunningQuantileStats`` and ``compute_episode_stats`` in ``lerobot/datasets/compute_stats.py`` of LeRobot
0.6.1: quantiles are interpolated in a histogram of 5000 bins between the smallest and the largest value. LeRobot adds
pixels up as float32, which rounds; here sums are exact.
"""

from __future__ import annotations

import numpy as np

from proctor.types import Array

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_N_BINS = 5000
_WIDENED = 1e-10
_LARGEST = 255.0


def image_statistics(counts: Array, n_images: int) -> dict[str, Array]:
    """Give the statistics of images whose values are counted in ``counts``, int64 ``(3, 256)``.

    Returns float64 ``(3, 1, 1)`` for each statistic, of values between 0 and 1; ``count`` is ``n_images``, int64
    ``(1,)``.
    """
    by_channel = [_statistics(channel) for channel in counts]
    statistics = {
        name: np.array([each[name] for each in by_channel]).reshape(-1, 1, 1) / _LARGEST for name in by_channel[0]
    }
    return {**statistics, "count": np.array([n_images])}


def _statistics(counts: Array) -> dict[str, float]:
    values, n = np.arange(len(counts), dtype=np.float64), counts.sum()
    low, high = values[counts > 0][[0, -1]]
    mean = (counts * values).sum() / n
    std = np.sqrt((counts * (values - mean) ** 2).sum() / n)
    edges = np.linspace(low - _WIDENED, high + _WIDENED, _N_BINS + 1)
    histogram, _ = np.histogram(values, bins=edges, weights=counts)
    quantiles = {name: _quantile(histogram, edges, share * n) for name, share in _QUANTILES.items()}
    return {"min": low, "max": high, "mean": mean, "std": std, **quantiles}


def _quantile(histogram: Array, edges: Array, wanted: float) -> float:
    """Find the value below which ``wanted`` values lie."""
    cumulated = np.cumsum(histogram)
    bin_number = int(np.searchsorted(cumulated, wanted))
    if bin_number == 0:
        return float(edges[0])
    if bin_number >= len(histogram):
        return float(edges[-1])
    share = (wanted - cumulated[bin_number - 1]) / histogram[bin_number]
    return float(edges[bin_number] + share * (edges[bin_number + 1] - edges[bin_number]))
