"""Findings that compare a dataset's own statistics with a checkpoint's, and the beginnings of episodes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proctor.evaluation.audit.observed import ObservedVector
from proctor.evaluation.audit.wording import named, number
from proctor.policies.training_data import TrainingData
from proctor.results.audit import Evidence, Finding, Severity, Training
from proctor.types import Array

_MOST_SHIFT, _MOST_RATIO = 0.5, 2.0
"""The difference of means in σ, and the ratio of σ, up to which two parts of one dataset may differ."""
_MOST_AWAY = 8.0
_LEAST_SPREAD = 0.15
"""The least spread of beginnings, as a part of σ over all steps: simulators differ by millimetres from version to
version."""


def other_statistics(training: Training, data: TrainingData) -> Iterator[Finding]:
    """Report features that the checkpoint normalises by other statistics than the dataset's."""
    for name, feature in training.features.items():
        theirs, ours = data.statistics.get(name, {}), feature.statistics
        if feature.type == "VISUAL" or feature.why_not or not {"mean", "std"} <= theirs.keys() & ours.keys():
            continue
        (mean, std), (here, spread) = ((np.asarray(each["mean"]), np.asarray(each["std"])) for each in (theirs, ours))
        if not mean.shape == std.shape == here.shape == spread.shape:
            sentence = f"The checkpoint's {name} has {here.size} elements, the dataset's {mean.size}."
            yield Finding("other statistics", Severity.SEVERE, name, None, "dataset", sentence)
            continue
        floor = 1e-6 * np.maximum(np.abs(mean), 1e-2)
        shift = np.abs(mean - here) / np.maximum(std, floor)
        ratio = np.maximum(spread, floor) / np.maximum(std, floor)
        differ = (shift > _MOST_SHIFT) | (ratio > _MOST_RATIO) | (ratio < 1 / _MOST_RATIO)
        if (indices := np.flatnonzero(differ).tolist()) and not _is_constant(std, spread, indices):
            index = indices[0]
            sentence = (
                f"The checkpoint normalises {named(name, index)} by {number(here[index])} ± {number(spread[index])}, "
                f"in the dataset it is {number(mean[index])} ± {number(std[index])} ({len(indices)} of {mean.size} "
                "elements differ): it was trained on other data."
            )
            yield Finding("other statistics", Severity.SEVERE, name, index, "dataset", sentence)


def _is_constant(one: Array, other: Array, indices: list[int]) -> bool:
    """Say whether the elements hardly change on either side, so that the ratio of their σ says nothing."""
    return bool((np.maximum(one, other)[indices] < 1e-5).all())


def begin_findings(name: str, observed: ObservedVector, data: TrainingData) -> Iterator[Finding]:
    """Report elements whose first value lies far from where the dataset's episodes begin."""
    rows = [
        episode.vectors[name] for episode in data.episodes if name in episode.vectors and len(episode.vectors[name])
    ]
    if len(rows) < 3 or rows[0].shape[1:] != observed.first.shape[1:]:
        return
    first, every = np.stack([each[0] for each in rows]).astype(np.float64), np.concatenate(rows).astype(np.float64)
    centre = np.median(first, axis=0)
    spread = np.maximum(first.std(axis=0), _LEAST_SPREAD * every.std(axis=0))
    spread = np.maximum(spread, 1e-4 * np.maximum(np.abs(centre), 1e-2))
    beyond = np.maximum(np.maximum(first.min(axis=0) - observed.first, observed.first - first.max(axis=0)), 0) / spread
    away = np.median(beyond, axis=0)
    for index in np.flatnonzero(away > _MOST_AWAY).tolist():
        sentence = (
            f"{named(name, index)} begins at {number(float(np.median(observed.first[:, index])))}; the dataset's "
            f"episodes begin at {number(first[:, index].min())} to {number(first[:, index].max())}."
        )
        evidence: Evidence = {"away": float(away[index])}
        yield Finding("other beginning", Severity.SEVERE, name, index, "dataset", sentence, evidence)
