"""Counts of the complete rounds of a plan, which are the only ones that an unfinished run may show.

A *round* is the first episode of every task, the second of every task, and so on. Successful episodes are shorter and
finish first, so a rate of whatever has finished would be too high. A round counts once all its episodes and those of
every earlier round have a result, which does not depend on the order in which episodes finish.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from itertools import accumulate, takewhile

from proctor.statistics.counts import Counts
from proctor.types import EpisodeResult, EpisodeSpec, Outcome


class CompleteRounds:
    """Counts results, which may come in any order, by the rounds of ``plan``. If the plan is one task's, each of its
    episodes is a round.
    """

    def __init__(self, plan: Iterable[EpisodeSpec]) -> None:
        sizes = Counter(spec.episode_index for spec in plan)
        self.n_planned = sizes.total()
        self.n_rounds_planned = len(sizes)
        self.so_far = Counts()
        """The counts of the complete rounds."""
        self._sizes = deque(sorted(sizes.items()))
        self._waiting: dict[int, Counts] = {}

    @property
    def counts(self) -> Counts:
        """The counts of all results, those of incomplete rounds too."""
        return sum(self._waiting.values(), self.so_far)

    def add(self, result: EpisodeResult) -> list[tuple[int, Counts]]:
        """Count the result of an episode of the plan, once for each episode.

        Returns:
            For each round that is complete by now and was not before: the number of rounds that are complete with it,
            and their counts.
        """
        index, completed = result.spec.episode_index, []
        counts, before = Counts.of(result), self._waiting.get(index)
        self._waiting[index] = counts if before is None else before + counts
        while self._sizes and self._has_all_results(*self._sizes[0]):
            first, _ = self._sizes.popleft()
            self.so_far += self._waiting.pop(first)
            completed.append((self.n_rounds_planned - len(self._sizes), self.so_far))
        return completed

    def _has_all_results(self, index: int, size: int) -> bool:
        return index in self._waiting and self._waiting[index].n_planned == size


def counts_after_rounds(
    episodes: Iterable[EpisodeResult], missing: Iterable[EpisodeSpec], most: int = 400
) -> list[Counts]:
    """The counts after each complete round of a plan, without rewards and lengths.

    The anytime-valid intervals of these counts hold simultaneously (docs/statistics.md). The episodes are read once,
    and only numbers are kept of them, because there may be a million.

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
    """The counts of all complete rounds of a plan, without rewards and lengths."""
    return next(iter(counts_after_rounds(episodes, missing, most=1)), Counts())


def _evenly_spaced(n: int, most: int) -> list[int]:
    """Choose at most ``most`` of the numbers 0 to ``n`` - 1, the last among them."""
    return list(range(n)) if n <= most else [(i + 1) * n // most - 1 for i in range(most)]
