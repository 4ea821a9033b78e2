"""How the success rate came about, episode by episode in the order of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, takewhile

from proctor.results.stats import Counts
from proctor.results.summary import Summary


def course(summary: Summary, most: int = 400) -> list[Counts]:
    """What was known after each *round* of the plan: the first episode of every task, the second of every task, …

    Rounds are looked at as far as they are complete: of the episodes that finish first too many are successes. So the
    anytime-valid intervals of these counts hold all together (docs/statistics.md). Of more than ``most`` rounds evenly
    spaced ones are given, the last among them.
    """
    counts = list(accumulate(_complete_rounds(summary)))
    if len(counts) <= most:
        return counts
    return [counts[round((i + 1) * len(counts) / most) - 1] for i in range(most)]


def _complete_rounds(summary: Summary) -> Iterator[Counts]:
    planned: dict[int, int] = {}
    found: dict[int, Counts] = {}
    for spec in summary.missing:
        planned[spec.episode_index] = planned.get(spec.episode_index, 0) + 1
    for result in summary.episodes:
        index = result.spec.episode_index
        found[index] = found.get(index, Counts()) + Counts.of(result)
    complete = takewhile(lambda index: index not in planned, sorted(planned.keys() | found.keys()))
    return (found[index] for index in complete)
