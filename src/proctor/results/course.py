"""How the success rate came about, episode by episode in the order of the plan."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate, takewhile

from proctor.results.stats import Counts
from proctor.results.summary import Summary
from proctor.types import Outcome


def course(summary: Summary, most: int = 400) -> list[Counts]:
    """What was known after each *round* of the plan: the first episode of every task, the second of every task, …

    Rounds are looked at as far as they are complete: of the episodes that finish first too many are successes. So the
    anytime-valid intervals of these counts hold all together (docs/statistics.md). Of more than ``most`` rounds evenly
    spaced ones are given, the last among them.
    """
    found: dict[Outcome, Counter[int]] = {outcome: Counter() for outcome in Outcome}
    for result in summary.episodes:
        found[result.outcome][result.spec.episode_index] += 1
    gaps = {spec.episode_index for spec in summary.missing}
    rounds = list(takewhile(lambda index: index not in gaps, sorted(gaps.union(*found.values()))))
    so_far = {outcome: list(accumulate(found[outcome][index] for index in rounds)) for outcome in Outcome}
    return [
        Counts(
            sum(so_far[outcome][position] for outcome in Outcome),
            so_far[Outcome.SUCCESS][position],
            so_far[Outcome.FAILURE][position],
            so_far[Outcome.ERROR][position],
            unknown=so_far[Outcome.UNKNOWN][position],
        )
        for position in _spread(len(rounds), most)
    ]


def so_far(summary: Summary) -> Counts:
    """What may be said of a run that goes on: the counts of its complete rounds."""
    return next(iter(course(summary, 1)), Counts())


def _spread(n: int, most: int) -> list[int]:
    """At most so many of the first ``n`` numbers, the last among them."""
    return list(range(n)) if n <= most else [(i + 1) * n // most - 1 for i in range(most)]
