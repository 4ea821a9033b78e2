"""Findings about the actions that a policy gave, before the environment cuts them to its bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from proctor.evaluation.audit.observed import Observed
from proctor.evaluation.audit.reference import Reference
from proctor.evaluation.audit.wording import named, number
from proctor.policies.training_data import TrainingEpisode
from proctor.results.audit import Evidence, Finding, Severity

_ACTION = "action"
_MARGIN = 0.05
"""The part of the bounds' range by which an action may lie outside: policies overshoot a little."""
_MOST_OUTSIDE = 0.2
_LEAST_SIZE_WITH_GRIPPER = 3
_LEAST_ACTIONS = 100
_BOTH_SIDES = 0.9
"""The most that the training's mean may be away from zero, in its σ, if the last number was often on either side."""
_FAR_BEYOND = 3.0
"""The number of the bounds' ranges that the training's actions span if they are of another unit or kind."""
_ONE_AND_A_HALF = 1.5
_SOME = 0.1
"""The share of a dataset's episodes from which a gripper's keeping still is usual."""


def action_findings(
    observed: Observed, reference: Reference | None, n_action_steps: int | None, training: Sequence[TrainingEpisode]
) -> Iterator[Finding]:
    """Compare the actions with the environment's bounds and, as far as they are known, with the training's.

    ``n_action_steps`` is the number that the checkpoint was saved with, and ``training`` are a dataset's episodes.
    """
    if not len(observed.actions):
        return
    yield from _outside(observed)
    if reference is not None:
        yield from _unlike_training(observed, reference)
        yield from _scale_of_training(observed, reference)
        yield from _gripper(observed, reference, training)
    if n_action_steps and (per_look := observed.steps_per_look) and per_look > _ONE_AND_A_HALF * n_action_steps:
        sentence = (
            f"{per_look:.0f} actions of each chunk are executed; the checkpoint was saved with {n_action_steps}, and a "
            "longer chunk is less sure at its end."
        )
        evidence: Evidence = {"executed": per_look, "saved": float(n_action_steps)}
        yield Finding("chunk", Severity.WARNING, _ACTION, None, "checkpoint", sentence, evidence)


def _outside(observed: Observed) -> Iterator[Finding]:
    """Report the elements that are often outside of the environment's bounds."""
    low, high = observed.action_low, observed.action_high
    if low.shape != observed.actions.shape[1:]:
        return
    with np.errstate(invalid="ignore"):
        margin = np.where(np.isfinite(high - low), _MARGIN * (high - low), np.inf)
        outside = (observed.actions < low - margin) | (observed.actions > high + margin)
    for index in np.flatnonzero(outside.mean(axis=0) > _MOST_OUTSIDE).tolist():
        values, share = observed.actions[:, index], float(outside[:, index].mean())
        sentence = (
            f"{named(_ACTION, index)} is outside of the environment's bounds in {share:.0%} of the actions: "
            f"{number(values.min())} to {number(values.max())}, bounds {number(low[index])} to {number(high[index])}."
        )
        evidence: Evidence = {"share": share}
        yield Finding("outside of bounds", Severity.WARNING, _ACTION, index, "environment", sentence, evidence)


def _unlike_training(observed: Observed, reference: Reference) -> Iterator[Finding]:
    """Report elements whose actions are mostly beyond everything in training."""
    if reference.centre.shape != observed.actions.shape[1:]:
        return
    outside = (observed.actions < reference.low) | (observed.actions > reference.high)
    for index in np.flatnonzero((outside.mean(axis=0) > 0.5) & ~reference.constant).tolist():
        sentence = (
            f"{named(_ACTION, index)} is {number(float(np.median(observed.actions[:, index])))} at most steps; in "
            f"training it was {number(reference.centre[index])} ± {number(reference.sigma[index])}."
        )
        yield Finding("action far", Severity.WARNING, _ACTION, index, reference.source, sentence)


def _scale_of_training(observed: Observed, reference: Reference) -> Iterator[Finding]:
    """Report elements whose training had a scale that the environment's bounds exclude: degrees, absolute positions."""
    low, high = observed.action_low, observed.action_high
    if not low.shape == high.shape == reference.centre.shape:
        return
    with np.errstate(invalid="ignore"):
        middle, half = (low + high) / 2, (high - low) / 2
        beyond = np.abs(reference.centre - middle) + reference.sigma > _FAR_BEYOND * half
    for index in np.flatnonzero(beyond & np.isfinite(half)).tolist():
        sentence = (
            f"{named(_ACTION, index)} was {number(reference.centre[index])} ± {number(reference.sigma[index])} in "
            f"training, but the environment takes {number(low[index])} to {number(high[index])}: another unit, or "
            "absolute in place of relative?"
        )
        yield Finding("action scale", Severity.WARNING, _ACTION, index, reference.source, sentence)


def _gripper(observed: Observed, reference: Reference, training: Sequence[TrainingEpisode]) -> Iterator[Finding]:
    """Report a last number, often the gripper, that never changes its sign although it did in training.

    That is only worth a note if whole episodes of the dataset do without a change.
    """
    size = observed.actions.shape[1]
    if size < _LEAST_SIZE_WITH_GRIPPER or reference.centre.shape != (size,) or len(observed.actions) < _LEAST_ACTIONS:
        return
    centre, sigma, values = reference.centre[-1], reference.sigma[-1], observed.actions[:, -1]
    if reference.constant[-1] or abs(centre) > _BOTH_SIDES * sigma or values.min() < 0 < values.max():
        return
    never = "negative" if values.min() >= 0 else "positive"
    sentence = (
        f"{named(_ACTION, size - 1)}, which often is the gripper, is never {never} in {len(values)} actions; in "
        f"training it was {number(centre)} ± {number(sigma)}, on both sides of zero."
    )
    ends = [(each.actions[:, -1].min(), each.actions[:, -1].max()) for each in training if each.actions.size]
    usual = sum(low >= 0 or high <= 0 for low, high in ends) > _SOME * len(ends)
    severity = Severity.NOTE if usual else Severity.WARNING
    yield Finding("gripper", severity, _ACTION, size - 1, reference.source, sentence)
