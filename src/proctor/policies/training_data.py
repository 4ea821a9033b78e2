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
    feature and name, those of images of channels in [0, 1]; ``shapes`` are as the dataset declares them. ``images``
    are uint8 ``(height, width, channels)``, the first frames of some episodes, and ``later_images`` frames from within
    these, by feature.
    """

    name: str
    fps: float
    tasks: tuple[str, ...]
    statistics: Mapping[str, Mapping[str, Sequence[float]]]
    shapes: Mapping[str, tuple[int, ...]]
    episodes: Sequence[TrainingEpisode]
    images: Mapping[str, Sequence[Array]] = field(default_factory=dict)
    later_images: Mapping[str, Sequence[Array]] = field(default_factory=dict)
