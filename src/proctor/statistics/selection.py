"""The rate of the best of several policies, which was chosen because its observed rate is the highest.

The observed rate of the best of many is too high on average, because the choice favours luck. Its interval allows for
that: the low end is an exact one whose error is divided by the number of policies, so that with the usual probability
the low ends of *all* policies hold at once, whichever is chosen. The high end needs no allowance: if the chosen
policy's rate lies above it, then so does the rate of the truly best policy above its own, lower one, and that is a
single event.
"""

from __future__ import annotations

from collections.abc import Sequence

from proctor.statistics.counts import Counts, macro
from proctor.statistics.intervals import LEVEL, Interval, IntervalMethod


def interval_of_best(tasks: Sequence[Counts], n_policies: int) -> Interval | None:
    """Return the interval of the mean over tasks of the best of ``n_policies``; None if a task has no rate.

    Args:
        tasks: the counts of the best policy, for each task.
        n_policies: the number of policies that it was chosen from.
    """
    usual = macro(tasks, IntervalMethod.WILSON)
    if usual is None or n_policies == 1:
        return None if usual is None else usual.interval
    careful = macro(tasks, IntervalMethod.EXACT, 1 - (1 - LEVEL) / n_policies)
    assert careful is not None  # because there is the usual one
    return Interval(min(careful.interval.low, usual.interval.low), usual.interval.high)
