"""Decides whether the success rate of a run is high enough for continuous integration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proctor.errors import ConfigError
from proctor.reports.text import count, percent, percent_range
from proctor.results.headline import headline_of
from proctor.results.summary import Summary
from proctor.statistics.intervals import LEVEL


class Basis(StrEnum):
    """The number that is compared with the threshold."""

    RATE = "rate"
    LOWER_BOUND = "lower_bound"


@dataclass(frozen=True, slots=True)
class Decision:
    """``passed`` is None if the run cannot be judged yet; ``sentence`` gives the numbers and the reason."""

    passed: bool | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A threshold between 0 and 1 for the success rate that every report gives first, or for the lower end of its
    interval.

    Raises:
        ConfigError: the threshold is not a rate, or the basis is unknown.
    """

    threshold: float
    basis: str = Basis.RATE

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:  # NaN is not either
            raise ConfigError(f"--fail_under is {self.threshold:g}; it is a rate above 0 and up to 1: 0.8 means 80 %.")
        if self.basis not in set(Basis):
            raise ConfigError(f"--fail_on is '{self.basis}'; it is one of {', '.join(Basis)}.")

    def decide(self, summary: Summary) -> Decision:
        """Compare the run with the threshold.

        Raises:
            ConfigError: the run has no success rate, because its environment does not report success.
        """
        if summary.overall.n_unknown:
            raise ConfigError(
                "--fail_under cannot be decided: the environment did not report for every episode whether it "
                "succeeded. Evaluate with --env.success_key or --env.success_threshold, or leave out --fail_under."
            )
        shown = headline_of(summary)
        if shown is None or summary.missing or summary.overall.n_errors:
            without = summary.overall.n_planned - summary.overall.n_completed
            return Decision(None, f"Not decided: {count(without, 'episode')} of the plan were not completed.")
        looked_at = shown.rate if self.basis == Basis.RATE else shown.interval.low
        passed, name = looked_at >= self.threshold, self.basis.replace("_", " ")
        relation = "at least" if passed else "below"
        return Decision(
            passed,
            f"{'Passed' if passed else 'Failed'}: the {name} {percent(looked_at)} is {relation} "
            f"{percent(self.threshold)} (success rate {percent(shown.rate)}, {LEVEL:.0%} interval "
            f"{percent_range(shown.interval)}).",
        )
