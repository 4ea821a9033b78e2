"""The one success rate of a run, and its interval: what the terminal, reports, pages, and files give first.

Everything that shows a run's success rate takes it from here, so that the same number is shown everywhere. The rule:

- If the success of a completed episode is unknown, a run has no success rate.
- If every planned episode has a result, the rate is the mean over tasks of their rates, with the interval that the run
  was asked for. If all episodes of a task ended in an error there is no such mean, and the rate is that of all
  completed episodes.
- If episodes are missing, the rate is that of the complete rounds of the plan (:mod:`proctor.statistics.rounds`), with
  the anytime-valid interval. Successful episodes are shorter and finish first, so a rate of whatever has finished would
  be too high; and an unfinished run is looked at again and again, which other intervals do not allow for.

The live display of a terminal is the exception. It shows the interval that the run was asked for while episodes are
missing, so that the interval shrinks steadily into the one of the result and does not jump at the end. That is no
reason to stop a run: once a run has been interrupted, the anytime-valid interval is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from proctor.results.summary import Summary
from proctor.statistics.counts import Counts, macro, pooled_interval
from proctor.statistics.intervals import Interval, IntervalMethod
from proctor.statistics.rounds import counts_of_complete_rounds


class Basis(StrEnum):
    """The episodes that a headline's rate is computed from, and how."""

    TASK = "task"
    TASKS = "mean over tasks"
    POOL = "completed episodes"
    ROUNDS = "complete rounds"


@dataclass(frozen=True, slots=True)
class Headline:
    """A success rate, 0 to 1.

    ``method`` names the method of its ``interval``; ``counts`` are of the episodes that the rate is computed from.
    """

    rate: float
    interval: Interval
    method: str
    basis: Basis
    counts: Counts


def headline_of(summary: Summary) -> Headline | None:
    """Return the success rate of a run; None if the rule above gives none."""
    if summary.overall.n_unknown:
        return None
    if summary.missing:
        return headline_so_far(counts_of_complete_rounds(summary.episodes, summary.missing))
    return headline_of_tasks([task.counts for task in summary.tasks], summary.method)


def headline_so_far(complete_rounds: Counts) -> Headline | None:
    """Return the success rate of an unfinished run, or of an unfinished task, whose rounds are its episodes."""
    return _pooled(complete_rounds, IntervalMethod.ANYTIME, Basis.ROUNDS)


def headline_while_running(tasks: Sequence[Counts], method: IntervalMethod) -> Headline | None:
    """Return what the live display shows of tasks that are not finished; ``tasks`` are of their complete rounds."""
    counts = sum(tasks, Counts())
    interval = pooled_interval([task for task in tasks if task.n_completed], method)
    rate = counts.rate
    return None if rate is None or interval is None else Headline(rate, interval, method.value, Basis.ROUNDS, counts)


def headline_of_tasks(tasks: Sequence[Counts], method: IntervalMethod) -> Headline | None:
    """Return the success rate of tasks of which every episode has a result."""
    counts, mean = sum(tasks, Counts()), macro(tasks, method)
    if mean is None:
        return _pooled(counts, method, Basis.POOL)
    basis = Basis.TASK if mean.n_tasks == 1 else Basis.TASKS
    return Headline(mean.rate, mean.interval, mean.method, basis, counts)


def _pooled(counts: Counts, method: IntervalMethod, basis: Basis) -> Headline | None:
    rate, interval = counts.rate, counts.interval(method)
    return None if rate is None or interval is None else Headline(rate, interval, method.value, basis, counts)
