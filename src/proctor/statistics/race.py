"""A race decides which of several policies is the best, as early as the episodes allow, however often one looks.

All policies run the same episodes, round by round (:mod:`proctor.statistics.rounds`). For two policies, the *evidence*
that B is better than A after ``b`` pairs of which only B succeeded and ``a`` pairs of which only A succeeded is an
e-value: the likelihood of these pairs, averaged over all probabilities above 1/2 that B wins such a pair, relative to
1/2. The average is over the upper half of Beta(1/2, 1/2). If B is not better, in the mean over the tasks, the evidence
is a supermartingale over rounds, also if the two win different tasks: in a round it grows by factors ``1 + l * d`` with
a mean of ``d`` over the tasks that is not positive, and the product of ``1 + l * mean(d_i)`` is then at most 1, since
the logarithm is concave. By Ville's inequality it ever reaches ``1 / error`` with a probability of at most ``error``.

The evidence that a policy is *not among the best* is the mean of the evidence of all others against it. A policy is
eliminated by closed testing: if the mean evidence of every set of policies that contains it reaches ``1 / error``. So
the probability that any of the best policies is ever eliminated is at most ``error``, for any number of policies. For
two policies the rule is the two-sided test: the mean of both directions is the e-value
``B(1/2 + b, 1/2 + a) / B(1/2, 1/2) * 2 ** (a + b)``. An eliminated policy stops, and its pairs stay as they are.

An episode in error may yet become a success or a failure. It counts as what is worse for the evidence in question.

Sources: Ramdas, Grünwald, Vovk and Shafer 2023, *Game-theoretic statistics and safe anytime-valid inference*; Vovk and
Wang 2021, *E-values: calibration, combination and applications* (closed testing with means of e-values).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from proctor.types import Array

ERROR = 0.05
"""The largest probability with which any of the best policies is eliminated."""
_PRIOR = 0.5
_LOG_LIMIT = 600.0
"""Evidence beyond ``exp`` of this is not distinguished, so that means of evidence stay finite."""


def log_evidence(wins: Array, losses: Array) -> Array:
    """Give the logarithm of the evidence for a better policy.

    Args:
        wins: numbers of pairs of which only the policy in question succeeded, any shape.
        losses: numbers of pairs of which only the other one succeeded, the same shape.
    """
    from scipy.special import betaincc, betaln

    b, a = _PRIOR + np.asarray(wins, float), _PRIOR + np.asarray(losses, float)
    with np.errstate(divide="ignore"):  # far behind, the upper half underflows to 0
        above_half = np.log(betaincc(b, a, 0.5))
    log = betaln(b, a) - math.log(math.pi) + (b + a) * math.log(2) + above_half
    # The evidence is never below the first term of the series of the upper half.
    bounded: Array = np.clip(log, -np.log(math.pi * a), _LOG_LIMIT)
    return bounded


def eliminated(log_evidence_of_pairs: Array, error: float = ERROR) -> Array:
    """Say which policies are shown not to be among the best.

    Args:
        log_evidence_of_pairs: ``[..., i, j]`` is the logarithm of the evidence that i is better than j, (..., k, k).
        error: the largest probability of a false elimination.

    Returns:
        Truth values, (..., k).
    """
    k = log_evidence_of_pairs.shape[-1]
    evidence = np.exp(log_evidence_of_pairs)
    evidence[..., np.arange(k), np.arange(k)] = 0.0
    against = evidence.sum(axis=-2) / (k - 1)
    order = np.argsort(against, axis=-1)
    ascending = np.take_along_axis(against, order, axis=-1)
    # The mean over a set with policy i is smallest if the set holds the policies with the least evidence besides i.
    sums = np.concatenate([np.zeros((*ascending.shape[:-1], 1)), np.cumsum(ascending, axis=-1)[..., :-1]], axis=-1)
    means = (ascending[..., :, None] + sums[..., None, :]) / np.arange(1, k + 1)
    means = np.where(np.arange(k)[:, None] >= np.arange(k), means, np.inf)
    rejected = means.min(axis=-1) * error >= 1
    out = np.empty(rejected.shape, bool)
    np.put_along_axis(out, order, rejected, axis=-1)
    return out


Outcomes = Sequence[bool | None]
"""The outcomes of one policy's episodes of a round, in the order of the tasks; None for an episode in error."""


@dataclass
class Race:
    """The state of a race between ``n_policies``, which are numbered from 0.

    ``eliminated_after`` has for each policy the number of rounds after which it was eliminated, None if it still runs.
    """

    n_policies: int
    error: float = ERROR
    n_rounds: int = 0
    eliminated_after: list[int | None] = field(init=False)

    def __post_init__(self) -> None:
        self.eliminated_after = [None] * self.n_policies
        self._wins = np.zeros((self.n_policies, self.n_policies), int)
        self._losses = np.zeros_like(self._wins)

    @property
    def running(self) -> list[int]:
        """The policies that may still be the best."""
        return [policy for policy, end in enumerate(self.eliminated_after) if end is None]

    @property
    def winner(self) -> int | None:
        """The best policy, None as long as several may be."""
        return self.running[0] if len(self.running) == 1 else None

    def add_round(self, outcomes: Mapping[int, Outcomes]) -> list[int]:
        """Take one round into account, and give the policies that it eliminates.

        Args:
            outcomes: those of every policy that still runs. All have equally many episodes, in the same order.
        """
        running = self.running
        for i in running:
            for j in (other for other in running if other != i):
                pairs = [(bool(x), y is None or bool(y)) for x, y in zip(outcomes[i], outcomes[j], strict=True)]
                self._wins[i, j] += sum(certain and not possible for certain, possible in pairs)
                self._losses[i, j] += sum(possible and not certain for certain, possible in pairs)
        self.n_rounds += 1
        out = eliminated(log_evidence(self._wins, self._losses), self.error)
        found = [policy for policy in running if out[policy]]
        if len(found) == len(running):
            return []  # one of them is the best, so this evidence contradicts itself
        for policy in found:
            self.eliminated_after[policy] = self.n_rounds
        return found
