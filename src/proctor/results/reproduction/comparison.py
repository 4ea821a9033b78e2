"""The comparison of a measured success rate with a known one: the difference, its interval, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from proctor.results.reproduction.catalogue import KnownRate, KnownResult
from proctor.results.summary import Summary
from proctor.statistics.counts import Counts
from proctor.statistics.differences import Samples, Score, holm
from proctor.statistics.intervals import LEVEL, Interval, wilson


class Verdict(StrEnum):
    """The outcome of a comparison."""

    AGREES = "agrees"
    HIGHER = "higher"
    LOWER = "lower"
    EQUAL = "equal"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A known rate beside the measured one.

    ``difference`` is the measured rate minus the known one, with its ``interval`` at 95 %; ``p_value`` is adjusted by
    Holm's method for all rates of a result. Both are None if the number of successes
    is expected to be equal.
    """

    known: KnownRate
    measured: Score
    verdict: Verdict
    interval: Interval | None = None
    p_value: float | None = None

    @property
    def difference(self) -> float:
        return self.measured.rate - self.known.rate

    @property
    def holds(self) -> bool:
        """True unless the measured rate is shown to be another one."""
        return self.verdict in (Verdict.AGREES, Verdict.EQUAL)

    @property
    def fields(self) -> dict[str, Any]:
        """The comparison as programs read it; rates are 0 to 1."""
        return {
            "suite": self.known.suite,
            "known_rate": self.known.rate,
            "known_n_episodes": self.known.n_episodes,
            "rate": self.measured.rate,
            "n_successes": self.measured.successes,
            "n_episodes": self.measured.n,
            "difference": self.difference,
            "interval": self.interval,
            "p_value": self.p_value,
            "verdict": self.verdict,
        }


def compare_with(known: KnownResult, summary: Summary) -> list[Reproduction]:
    """Compare a run with a known result, rate by rate; a rate that the run does not have is left out.

    The p value is that of Boschloo's or Fisher's test of two independent samples. If the number of episodes of the
    known rate is not known, the rate is taken as exact, and the p value is that of the exact binomial test. A recorded
    number of successes is expected to be equal if the number of episodes is.
    """
    counted = [(rate, _counts(summary, rate.suite)) for rate in known.rates]
    found = [
        _compare(rate, Score(counts.n_successes, counts.n_completed))
        for rate, counts in counted
        if counts.rate is not None
    ]
    adjusted = holm([1.0 if each.p_value is None else each.p_value for each in found])
    return [
        each if each.p_value is None else replace(each, p_value=p, verdict=_verdict(each.difference, p))
        for each, p in zip(found, adjusted, strict=True)
    ]


def _counts(summary: Summary, suite: str | None) -> Counts:
    return summary.overall if suite is None else summary.groups.get(suite, Counts())


def _compare(known: KnownRate, measured: Score) -> Reproduction:
    if known.n_successes is not None and known.n_episodes == measured.n:
        same = known.n_successes == measured.successes
        return Reproduction(known, measured, Verdict.EQUAL if same else Verdict.DIFFERENT)
    if known.n_episodes is None:
        from scipy.stats import binomtest

        own = wilson(*measured)
        interval = Interval(own.low - known.rate, own.high - known.rate)
        p_value = float(binomtest(measured.successes, measured.n, known.rate).pvalue)
    else:
        samples = Samples(Score(round(known.rate * known.n_episodes), known.n_episodes), measured)
        interval, p_value = samples.interval(), samples.p_value()
    return Reproduction(known, measured, Verdict.AGREES, interval, p_value)


def _verdict(difference: float, p_value: float) -> Verdict:
    if p_value > 1 - LEVEL:
        return Verdict.AGREES
    return Verdict.HIGHER if difference > 0 else Verdict.LOWER


def all_hold(reproductions: Sequence[Reproduction]) -> bool:
    """Return whether there is a comparison, and none shows another rate."""
    return bool(reproductions) and all(each.holds for each in reproductions)
