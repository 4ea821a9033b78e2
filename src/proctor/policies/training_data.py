"""A look at the dataset that a policy was trained on: a few of its episodes and frames, as the audit compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proctor.types import Array


@dataclass(frozen=True)
class TrainingEpisode:
    """The vectors and actions of one episode: float32 ``(length, size)``; ``vectors`` are by feature."""

    vectors: Mapping[str, Array]
    actions: Array


@dataclass(frozen=True)
class TrainingData:
    """A look at a dataset.

    ``fps`` are its frames per second and ``tasks`` its instructions. ``statistics`` are the dataset's own, flat, by
    feature and name, those of images of channels in [0, 1]. ``images`` are the first frames of some episodes by
    feature, uint8 ``(height, width, channels)``.
    """

    name: str
    fps: float
    tasks: tuple[str, ...]
    statistics: Mapping[str, Mapping[str, Sequence[float]]]
    episodes: Sequence[TrainingEpisode]
    images: Mapping[str, Sequence[Array]] = field(default_factory=dict)
