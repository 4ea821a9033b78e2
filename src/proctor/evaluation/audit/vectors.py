"""Findings about a vector that the policy is given, most often its state.

The first look of an episode is the clearest evidence: it depends on the environment and not on the policy. At later
looks a bad policy may have led the robot to places that no demonstration shows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proctor.evaluation.audit.observed import ObservedVector
from proctor.evaluation.audit.reference import Reference, sigmas
from proctor.evaluation.audit.wording import named, number, share_of_episodes
from proctor.results.audit import Evidence, Finding, Severity
from proctor.types import Array

_MOST_EPISODES = 0.9
"""The share of episodes from which a finding holds for the environment."""
_MOST_LOOKS = 0.5
_LEAST_SIGMAS = 5.0
"""The least distance from the training's mean that is worth a sentence, whatever its range is."""
_SEEN_AS_FAR = 50.0
"""The number of σ from which a value that never changed in training disturbs the policy."""
_LEAST_ROWS = 20
_USUAL_SIGMAS = 1.5
"""The distance up to which an element may rightly keep a value: a gripper that stays open in one of several tasks."""
_FACTORS = {
    180 / np.pi: "it looks like degrees in place of radians",
    np.pi / 180: "it looks like radians in place of degrees",
    1000.0: "it looks like millimetres in place of metres",
    0.001: "it looks like metres in place of millimetres",
    100.0: "it looks like centimetres in place of metres",
    0.01: "it looks like metres in place of centimetres",
    -1.0: "its sign looks reversed",
}
_WITHIN = 3.0
"""The number of σ within which a value counts as explained by a factor."""


def vector_findings(name: str, observed: ObservedVector, reference: Reference) -> Iterator[Finding]:
    """Compare a vector with its training."""
    far = list(_far_at_first(name, observed, reference))
    yield from far
    indices = [finding.index for finding in far if finding.index is not None]
    yield from _drifted(name, observed, reference, indices)
    yield from _constant(name, observed, reference)
    swapped = list(_swapped(name, observed, reference))
    yield from swapped or _scaled(name, observed, reference, indices)


def odd_vector(name: str, observed: ObservedVector) -> Iterator[Finding]:
    """Look for what is wrong with a vector whatever the training was."""
    if observed.n_not_finite:
        sentence = f"{name} holds {observed.n_not_finite} values that are NaN or infinite."
        evidence: Evidence = {"n": float(observed.n_not_finite)}
        yield Finding("not finite", Severity.SEVERE, name, None, "environment", sentence, evidence)
    if len(observed.rows) >= _LEAST_ROWS and (observed.low == observed.high).all():
        sentence = f"{name} never changes, in no element, at no look of any episode."
        yield Finding("constant", Severity.SEVERE, name, None, "environment", sentence)


def _far_at_first(name: str, observed: ObservedVector, reference: Reference) -> Iterator[Finding]:
    distances = sigmas(observed.first, reference)
    outside = (observed.first < reference.low) | (observed.first > reference.high)
    is_far = np.where(reference.constant, distances > _SEEN_AS_FAR, outside & (distances > _LEAST_SIGMAS))
    shares = is_far.mean(axis=0)
    for index in np.flatnonzero(shares >= _MOST_EPISODES).tolist():
        value, distance = float(np.median(observed.first[:, index])), float(np.median(distances[:, index]))
        evidence: Evidence = {"sigmas": distance, "value": value, "share": float(shares[index])}
        where = f"at the first step of {share_of_episodes(shares[index])}"
        if reference.constant[index]:
            sentence = (
                f"{named(name, index)} never changed in training ({number(reference.centre[index])}) and is "
                f"{number(value)} {where}: the policy sees {number(distance)} σ."
            )
        else:
            sentence = (
                f"{named(name, index)} is {number(distance)} σ from training {where} "
                f"({number(value)}; training {_training(reference, index)})."
            )
        yield Finding("far", Severity.SEVERE, name, index, reference.source, sentence, evidence)


def _training(reference: Reference, index: int) -> str:
    spread = f"{number(reference.centre[index])} ± {number(reference.sigma[index])}"
    if reference.range_low is None or reference.range_high is None:
        return spread
    return f"{spread}, {number(reference.range_low[index])} to {number(reference.range_high[index])}"


def _drifted(name: str, observed: ObservedVector, reference: Reference, known: list[int]) -> Iterator[Finding]:
    """Look for elements that are far away at most looks, though not at the first one."""
    outside = (observed.rows < reference.low) | (observed.rows > reference.high)
    shares = (outside & (sigmas(observed.rows, reference) > _LEAST_SIGMAS) & ~reference.constant).mean(axis=0)
    for index in np.flatnonzero(shares >= _MOST_LOOKS).tolist():
        if index not in known:
            sentence = (
                f"{named(name, index)} is outside of the training's values at {shares[index]:.0%} of all looks, but "
                f"not at the first ones ({number(float(np.median(observed.rows[:, index])))}; training "
                f"{_training(reference, index)})."
            )
            evidence: Evidence = {"share": float(shares[index])}
            yield Finding("drifted", Severity.WARNING, name, index, reference.source, sentence, evidence)


def _constant(name: str, observed: ObservedVector, reference: Reference) -> Iterator[Finding]:
    if len(observed.rows) < _LEAST_ROWS or len(observed.first) < 2:
        return
    still = (observed.low == observed.high) & ~reference.constant
    if still.all():
        return  # that is a finding of its own
    for index in np.flatnonzero(still).tolist():
        value = float(observed.low[index])
        distance = float(sigmas(observed.low, reference)[index])
        is_odd = distance > _USUAL_SIGMAS or (value == 0 and distance > 1)  # what is not filled in is most often zero
        severity = Severity.WARNING if is_odd else Severity.NOTE
        sentence = (
            f"{named(name, index)} is always {number(value)}, while it changed in training "
            f"({_training(reference, index)})."
        )
        yield Finding(
            "constant", severity, name, index, reference.source, sentence, {"value": value, "sigmas": distance}
        )


# ------------------------------------------------------------------------------------------- what would explain it


def _swapped(name: str, observed: ObservedVector, reference: Reference) -> Iterator[Finding]:
    """Look for an order of the elements in which they fit much better."""
    if len(observed.rows) < _LEAST_ROWS or len(reference.centre) < 2:
        return
    from scipy.optimize import linear_sum_assignment  # which takes as long to import as the rest of Proctor

    costs = _misfits(observed.rows, reference)
    rows, columns = linear_sum_assignment(costs)
    moved = np.flatnonzero(rows != columns)
    if not len(moved):
        return
    now, then = costs[moved, moved], costs[moved, columns[moved]]
    if now.sum() - then.sum() < _LEAST_GAIN * len(moved) or then.max() > _MOST_MISFIT or now.max() < _LEAST_MISFIT:
        return
    places = moved.tolist()
    sentence = (
        f"The elements {', '.join(map(str, places))} of {name} look swapped: they fit the training far better in the "
        f"order {', '.join(str(int(columns[index])) for index in places)}."
    )
    evidence: Evidence = {
        "order": [int(column) for column in columns],
        "misfit": float(now.sum()),
        "after": float(then.sum()),
    }
    yield Finding("swapped", Severity.SEVERE, name, None, reference.source, sentence, evidence)


_LEAST_MISFIT, _LEAST_GAIN, _MOST_MISFIT = 4.0, 2.0, 2.5
"""In σ: the least misfit of the worst element as it is, the least mean gain by the other order, and the most misfit
that may be left then."""


def _misfits(rows: Array, reference: Reference) -> Array:
    """Say how badly each element ``i`` of the rows fits the training's element ``j``: ``(size, size)``, in σ."""
    centre, spread = np.median(rows, axis=0), rows.std(axis=0)
    sigma = np.maximum(reference.sigma, 1e-3 * np.maximum(np.abs(reference.centre), 1e-2))
    apart = np.minimum(np.abs(centre[:, None] - reference.centre) / sigma, 20.0)
    wider = np.clip(np.log(np.maximum(spread[:, None], 1e-12) / sigma), 0.0, 5.0)
    misfits: Array = apart + wider
    return misfits


def _scaled(name: str, observed: ObservedVector, reference: Reference, indices: list[int]) -> Iterator[Finding]:
    """Look for a factor that brings all elements that are far away back to where they were in training."""
    usable = [index for index in indices if not reference.constant[index]]
    if not usable:
        return
    values = np.median(observed.first, axis=0)[usable]
    centre, sigma = reference.centre[usable], reference.sigma[usable]
    for factor, guess in _FACTORS.items():
        if len(usable) < 2 and factor > 0:
            continue  # a single element may fit by chance
        if (np.abs(values / factor - centre) < _WITHIN * sigma).all():
            by = f"divided by {number(factor)}" if factor > 0 else "with the other sign"
            sentence = f"{name} at {', '.join(map(str, usable))} would be where it was in training {by}: {guess}."
            yield Finding("scaled", Severity.SEVERE, name, None, reference.source, sentence, {"factor": float(factor)})
            return
