"""The one success rate of a run, and its interval: what the terminal, reports, pages, and files give first.

Whoever shows a run's success rate takes it from here, so that all of them show the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from proctor.results.summary import Summary
from proctor.statistics.counts import Counts, macro
from proctor.statistics.intervals import Interval, IntervalMethod
from proctor.statistics.rounds import counts_of_complete_rounds


class Basis(StrEnum):
    """What a headline's rate is of."""

    TASK = "task"
    TASKS = "mean over tasks"
    POOL = "completed episodes"
    ROUNDS = "complete rounds"


@dataclass(frozen=True, slots=True)
class Headline:
    """A success rate (0 to 1) with its interval, how that was computed (``method``), and the episodes it is of."""

    rate: float
    interval: Interval
    method: str
    basis: Basis
    counts: Counts


def headline_of(summary: Summary) -> Headline | None:
    """The success rate of a run; None before one can be given, and if the success of an episode is unknown.

    While episodes are missing it is over the rounds of the plan that are complete, because successful episodes are
    shorter and finish first, and its interval is the one that may be looked at however often.
    """
    if summary.overall.n_unknown:
        return None
    if summary.missing:
        return _pooled(
            counts_of_complete_rounds(summary.episodes, summary.missing), IntervalMethod.ANYTIME, Basis.ROUNDS
        )
    return headline_of_tasks([task.counts for task in summary.tasks], summary.method)


def headline_of_tasks(tasks: Sequence[Counts], method: IntervalMethod) -> Headline | None:
    """The success rate of tasks that have run to their end: the mean over them.

    If all episodes of a task ended in an error there is no such mean, and it is the rate of the completed episodes.
    """
    counts, mean = sum(tasks, Counts()), macro(tasks, method)
    if mean is None:
        return _pooled(counts, method, Basis.POOL)
    basis = Basis.TASK if mean.n_tasks == 1 else Basis.TASKS
    return Headline(mean.rate, mean.interval, mean.method, basis, counts)


def _pooled(counts: Counts, method: IntervalMethod, basis: Basis) -> Headline | None:
    rate, interval = counts.rate, counts.interval(method)
    return None if rate is None or interval is None else Headline(rate, interval, method.value, basis, counts)
