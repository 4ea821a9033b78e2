"""The audit itself: everything that a run's policy was given and gave, against all that is known of its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from proctor.evaluation.audit.actions import action_findings
from proctor.evaluation.audit.effects import effect_findings
from proctor.evaluation.audit.images import channel_findings, dataset_findings, odd_images
from proctor.evaluation.audit.observed import EpisodeInputs, Observed, observe
from proctor.evaluation.audit.pictures import histograms, pictures
from proctor.evaluation.audit.reference import Reference, reference_of
from proctor.evaluation.audit.statistics import begin_findings, other_statistics
from proctor.evaluation.audit.texts import text_findings
from proctor.evaluation.audit.vectors import odd_vector, vector_findings
from proctor.policies.training_data import TrainingData
from proctor.results.audit import Audit, Finding, Severity, TrainedFeature, Training, ranked

_NOTHING_KNOWN = Training({})
_ACTION = "action"


def examine(episodes: Sequence[EpisodeInputs], training: Training | None, data: TrainingData | None = None) -> Audit:
    """Audit a run's episodes.

    Args:
        episodes: the episodes that have a sketch.
        training: what the policy's files tell of its training; None if they tell nothing.
        data: the look at its dataset; None without one.
    """
    known = training or _NOTHING_KNOWN
    observed = observe(episodes, known.rename_map)
    findings = list(_findings(observed, known, data)) if episodes else []
    sources = ["environment", *["checkpoint"] * bool(known.features), *["dataset"] * (data is not None)]
    return Audit(
        len(episodes),
        sources,
        ranked(findings),
        list(_remarks(observed, training, data)),
        list(histograms(observed, known, data)),
        list(pictures(observed, data)),
        training,
    )


def _findings(observed: Observed, training: Training, data: TrainingData | None) -> Iterator[Finding]:
    for name, vector in observed.vectors.items():
        yield from odd_vector(name, vector)
        if vector.n_not_finite:
            continue  # no comparison means anything
        if (reference := _reference(name, vector.first.shape[1], training, data)) is not None:
            yield from vector_findings(name, vector, reference)
    for name, images in observed.images.items():
        yield from odd_images(name, images, training.features.get(name))
        if (feature := training.features.get(name)) is not None:
            yield from channel_findings(name, images, feature)
    reference = _reference(_ACTION, observed.actions.shape[1], training, data)
    yield from action_findings(observed, reference, training.n_action_steps, () if data is None else data.episodes)
    if data is not None:
        yield from _against_dataset(observed, training, data)


def _against_dataset(observed: Observed, training: Training, data: TrainingData) -> Iterator[Finding]:
    yield from other_statistics(training, data)
    keys = {name: key for key, name in training.rename_map.items()}
    for name, vector in observed.vectors.items():
        if vector.n_not_finite:
            continue
        yield from begin_findings(name, vector, data)
        yield from effect_findings(name, keys.get(name, name), observed.episodes, data.episodes)
    for name, images in observed.images.items():
        others = {camera: found for camera, found in data.images.items() if camera != name}
        yield from dataset_findings(name, images, data.images.get(name, ()), others)
    yield from text_findings(observed.instructions, data.tasks, reads_text=training.reads_text)
    if observed.fps and data.fps and not np.isclose(observed.fps, data.fps, rtol=0.05):
        sentence = (
            f"The environment makes {observed.fps:g} control steps per second, and the dataset has {data.fps:g} frames "
            "per second."
        )
        yield Finding("rate", Severity.NOTE, _ACTION, None, "dataset", sentence)


def _reference(name: str, size: int, training: Training, data: TrainingData | None) -> Reference | None:
    """Choose the training's statistics: the checkpoint's, or else those of the dataset."""
    feature = training.features.get(name, TrainedFeature("", None, {}))
    if feature.statistics and not feature.why_not:
        return reference_of(feature.statistics, size, "checkpoint")
    statistics: Mapping[str, Sequence[float]] = {} if data is None else data.statistics.get(name, {})
    return reference_of(statistics, size, "dataset")


def _remarks(observed: Observed, training: Training | None, data: TrainingData | None) -> Iterator[str]:
    """Say what could not be compared, and why."""
    if not observed.episodes:
        yield "No episode has a sketch of what the policy was given, so there is nothing to compare."
        return
    if training is None and data is None:
        yield "Nothing is known of the policy's training, so only values that are wrong anywhere can be seen."
    for name in [*observed.vectors, *observed.images]:
        feature = None if training is None else training.features.get(name)
        if feature is None and training is not None:
            yield f"{name} is given to the policy's processors, but it is none of the policy's inputs."
        elif feature is not None and feature.why_not:
            yield f"{name}: its statistics are not compared, as {feature.why_not}."
    if data is None and observed.images:
        yield (
            "A flip, a crop, bars, another camera and the effect of actions need the dataset: --dataset.repo_id=… "
            "--dataset.root=…"
        )
