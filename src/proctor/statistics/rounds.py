"""The success rate after each complete round of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import accumulate, takewhile

from proctor.statistics.counts import Counts
from proctor.types import EpisodeResult, EpisodeSpec, Outcome


def counts_after_rounds(
    episodes: Iterable[EpisodeResult], missing: Iterable[EpisodeSpec], most: int = 400
) -> list[Counts]:
    """The counts after each *round* of the plan: the first episode of every task, the second of every task, …

    Only complete rounds count. Successful episodes are shorter and finish first, so counting in order of completion
    would overestimate the rate. The anytime-valid intervals of these counts hold simultaneously (docs/statistics.md).

    Args:
        episodes: the results that are known.
        missing: the planned episodes that have no result yet.
        most: the largest number of rounds to return; if there are more, evenly spaced ones, the last among them.
    """
    found: dict[Outcome, Counter[int]] = {outcome: Counter() for outcome in Outcome}
    for result in episodes:
        found[result.outcome][result.spec.episode_index] += 1
    gaps = {spec.episode_index for spec in missing}
    rounds = list(takewhile(lambda index: index not in gaps, sorted(gaps.union(*found.values()))))
    so_far = {outcome: list(accumulate(found[outcome][index] for index in rounds)) for outcome in Outcome}
    return [
        Counts(
            n_planned=sum(so_far[outcome][position] for outcome in Outcome),
            n_successes=so_far[Outcome.SUCCESS][position],
            n_failures=so_far[Outcome.FAILURE][position],
            n_errors=so_far[Outcome.ERROR][position],
            n_unknown=so_far[Outcome.UNKNOWN][position],
        )
        for position in _evenly_spaced(len(rounds), most)
    ]


def counts_of_complete_rounds(episodes: Iterable[EpisodeResult], missing: Iterable[EpisodeSpec]) -> Counts:
    """The counts that may be shown while a run is unfinished: those of its complete rounds."""
    return next(iter(counts_after_rounds(episodes, missing, most=1)), Counts())


def _evenly_spaced(n: int, most: int) -> list[int]:
    """At most ``most`` of the numbers 0 to ``n`` - 1, the last among them."""
    return list(range(n)) if n <= most else [(i + 1) * n // most - 1 for i in range(most)]
