"""When enough is known: ``--eval.stop_at_ci_width``.

Two things make stopping early valid. The interval is anytime-valid, so looking after every episode costs nothing. And
the rule looks at the plan alone: at its *rounds*, the first episode of every task, the second of every task, and so on,
as far as they are complete. Which episodes happen to finish first, with how many workers, does not matter; those beyond
the round at which the rule stops are not counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from proctor.statistics.counts import Counts
from proctor.statistics.intervals import Interval, IntervalMethod, anytime
from proctor.types import EpisodeResult, EpisodeSpec


@dataclass(frozen=True, slots=True)
class Precision:
    """How uncertainty is stated, and from which width of the interval on (in 0 to 1) more episodes are not needed."""

    method: IntervalMethod = IntervalMethod.WILSON
    stop_at_width: float | None = None

    @classmethod
    def of(cls, eval_fields: Mapping[str, Any]) -> Self:
        """As the fields of :class:`~proctor.config.EvalConfig` say, those of an older ``run.json`` too."""
        width = eval_fields.get("stop_at_ci_width")
        usual = IntervalMethod.WILSON if width is None else IntervalMethod.ANYTIME
        return cls(IntervalMethod(eval_fields.get("ci") or usual), width)


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """The round at which the interval of the success rate over all tasks was narrow enough.

    ``episodes_per_task`` of ``planned_per_task`` count.
    """

    width: float
    episodes_per_task: int
    planned_per_task: int

    def reached_by(self, spec: EpisodeSpec) -> bool:
        """Whether an episode belongs to what counts."""
        return spec.episode_index < self.episodes_per_task


class StoppingRule:
    """Looks at the plan's rounds in order, each as soon as all its episodes have a result.

    An episode in error may yet be run and become a success or a failure, so the interval must be narrow whichever it
    will be: its low end counts errors as failures, its high end as successes. A later result can then only confirm the
    stop, or put it earlier. Once the success of an episode is unknown there is no rate to be sure of, and no stop.
    """

    def __init__(self, plan: Iterable[EpisodeSpec], width: float) -> None:
        rounds = Counter(spec.episode_index for spec in plan)
        self._sizes = deque(rounds[index] for index in sorted(rounds))
        self._planned, self._width = len(rounds), width
        self._waiting: dict[int, Counts] = {}
        self._counted = Counts()
        self._n_rounds = 0
        self.stop: EarlyStop | None = None

    def add(self, result: EpisodeResult) -> None:
        """Take in an episode's result, once for each episode."""
        index = result.spec.episode_index
        self._waiting[index] = self._waiting.get(index, Counts()) + Counts.of(result)
        while self.stop is None and self._sizes and self._is_complete():
            self._counted += self._waiting.pop(self._n_rounds)
            self._sizes.popleft()
            self._n_rounds += 1
            if _whatever_errors_become(self._counted).width <= self._width and self._sizes:
                self.stop = EarlyStop(self._width, self._n_rounds, self._planned)

    def _is_complete(self) -> bool:
        return self._waiting.get(self._n_rounds, Counts()).n_planned == self._sizes[0]


def find_stop(plan: Sequence[EpisodeSpec], results: Iterable[EpisodeResult], width: float | None) -> EarlyStop | None:
    """Where the rule stops, by what is known; None if it does not."""
    if width is None:
        return None
    rule = StoppingRule(plan, width)
    for result in results:
        rule.add(result)
    return rule.stop


def _whatever_errors_become(counts: Counts) -> Interval:
    n = counts.n_planned
    if counts.n_unknown:
        return Interval(0.0, 1.0)
    return Interval(anytime(counts.n_successes, n).low, anytime(counts.n_successes + counts.n_errors, n).high)
