"""The rule by which an evaluation stops early: ``--eval.stop_at_ci_width``.

Two things make stopping early valid. The interval is anytime-valid, so it holds however often one looks. And the rule
looks at the complete rounds of the plan alone (:mod:`proctor.statistics.rounds`), so it does not matter which episodes
happen to finish first, with how many workers. Episodes beyond the round at which the rule stops are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from proctor.errors import ConfigError
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import Interval, IntervalMethod, anytime
from proctor.statistics.rounds import CompleteRounds
from proctor.types import EpisodeResult, EpisodeSpec


@dataclass(frozen=True, slots=True)
class Precision:
    """The method of a success rate's interval, and the width (0 to 1) at which the run stops.

    ``stop_at_width`` is None for a run that does not stop early.
    """

    method: IntervalMethod = IntervalMethod.WILSON
    stop_at_width: float | None = None

    @classmethod
    def of(cls, eval_fields: Mapping[str, Any]) -> Self:
        """Read it from fields of :class:`~proctor.config.EvalConfig`, of which an older ``run.json`` may lack some.

        Raises:
            ConfigError: the fields name no method.
        """
        width = eval_fields.get("stop_at_ci_width")
        usual = IntervalMethod.WILSON if width is None else IntervalMethod.ANYTIME
        if (named := eval_fields.get("ci") or usual) not in list(IntervalMethod):
            raise ConfigError(f"eval.ci is {named!r}; it must be one of {', '.join(IntervalMethod)}.")
        return cls(IntervalMethod(named), width)


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """The round at which the interval of the success rate over all tasks was narrow enough.

    ``width`` is the width that was asked for. Of the ``planned_per_task`` episodes of each task, the first
    ``episodes_per_task`` count.
    """

    width: float
    episodes_per_task: int
    planned_per_task: int

    def reached_by(self, spec: EpisodeSpec) -> bool:
        """Return whether an episode counts: it belongs to the rounds up to the stop."""
        return spec.episode_index < self.episodes_per_task


class StoppingRule:
    """Looks at the plan's rounds in order, each as soon as all its episodes have a result.

    An episode in error may yet be run and become a success or a failure, so the interval must be narrow whichever it
    will be: its low end counts errors as failures, its high end as successes. A later result can then only confirm the
    stop, or put it earlier. If the success of an episode is unknown, the rule never stops, because there is no rate.
    """

    def __init__(self, plan: Iterable[EpisodeSpec], width: float) -> None:
        self._rounds, self._width = CompleteRounds(plan), width
        self.stop: EarlyStop | None = None

    def add(self, result: EpisodeResult) -> None:
        """Take an episode's result into account, once for each episode."""
        for n_rounds, counts in self._rounds.add(result):
            # A run that is narrow enough only after its last round has not stopped early.
            is_last = n_rounds == self._rounds.n_rounds_planned
            if self.stop is None and not is_last and _widest_interval(counts).width <= self._width:
                self.stop = EarlyStop(self._width, n_rounds, self._rounds.n_rounds_planned)


def find_stop(plan: Sequence[EpisodeSpec], results: Iterable[EpisodeResult], width: float | None) -> EarlyStop | None:
    """The stop that the rule finds in the results so far; None if it finds none, or no ``width`` was asked for."""
    if width is None:
        return None
    rule = StoppingRule(plan, width)
    for result in results:
        rule.add(result)
    return rule.stop


def _widest_interval(counts: Counts) -> Interval:
    """An interval that holds the rate's interval whatever the episodes in error become; all of 0 to 1 if a success is
    unknown.
    """
    if counts.n_unknown:
        return Interval(0.0, 1.0)
    n = counts.n_planned
    return Interval(anytime(counts.n_successes, n).low, anytime(counts.n_successes + counts.n_errors, n).high)
