"""The verdict of a sweep says which checkpoint is the best, and how sure that is after looking at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from proctor.errors import ConfigError
from proctor.evaluation.sweep.record import SweptCheckpoint
from proctor.results.compare import compare
from proctor.results.headline import headline_of
from proctor.results.measured import measured_run
from proctor.statistics.differences import holm
from proctor.statistics.intervals import LEVEL, Interval
from proctor.statistics.selection import interval_of_best


@dataclass(frozen=True)
class SweepVerdict:
    """The best checkpoint: the one with the highest success rate, of equal ones the later.

    Attributes:
        best: the checkpoint.
        interval: the interval of its rate, which allows for its having been chosen among ``n_compared``.
        like_best: the others that cannot be told from it: no difference to it is shown, with p values that are adjusted
            by Holm's method for all pairs of checkpoints.
        n_compared: the number of checkpoints with a rate.
    """

    best: SweptCheckpoint
    interval: Interval
    like_best: tuple[SweptCheckpoint, ...]
    n_compared: int

    def as_values(self) -> dict[str, Any]:
        """Give the verdict as plain values; rates are in percent."""
        rate = self.best.rate
        return {
            "best": self.best.checkpoint.name,
            "step": self.best.checkpoint.step,
            "path": self.best.checkpoint.path,
            "pc_success": None if rate is None else 100 * rate,
            "pc_success_interval": [100 * self.interval.low, 100 * self.interval.high],
            "like_best": [each.checkpoint.name for each in self.like_best],
            "n_compared": self.n_compared,
        }


def verdict_of(swept: Sequence[SweptCheckpoint]) -> SweepVerdict | None:
    """Compare all checkpoints of which every planned episode was completed; None if none has a success rate."""
    rated = [each for each in swept if each.rate is not None]
    if not rated:
        return None
    best = max(rated, key=lambda each: (each.rate or 0.0, each.checkpoint.step or 0))
    assert best.summary is not None  # it has a rate
    interval = interval_of_best([task.counts for task in best.summary.tasks], len(rated))
    if interval is None:
        shown = headline_of(best.summary)
        assert shown is not None  # it has a rate
        interval = shown.interval
    return SweepVerdict(best, interval, _like(best, rated), len(rated))


def _like(best: SweptCheckpoint, rated: Sequence[SweptCheckpoint]) -> tuple[SweptCheckpoint, ...]:
    """Choose the checkpoints that cannot be told from the best one."""
    pairs = list(combinations(range(len(rated)), 2))
    adjusted = dict(zip(pairs, holm([_p_value(rated[i], rated[j]) for i, j in pairs]), strict=True))
    position = rated.index(best)
    return tuple(
        other
        for number, other in enumerate(rated)
        if number != position and adjusted[min(number, position), max(number, position)] > 1 - LEVEL
    )


def _p_value(a: SweptCheckpoint, b: SweptCheckpoint) -> float:
    """Return the p value of the difference over all tasks; 1 if the two have nothing in common."""
    assert a.summary is not None
    assert b.summary is not None
    try:
        (compared,) = compare([measured_run(each.directory, each.run, each.summary) for each in (a, b)])  # type: ignore[arg-type]
    except ConfigError:
        return 1.0
    return compared.overall.p_value
