"""Puts the sketches of a run's episodes together: everything that its policy was given and gave, by feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from proctor.engine.input_sketch import NAME, ImageSketch, InputSketch, VectorSketch
from proctor.errors import ConfigError
from proctor.results.journal import EpisodeRecord, read_actions, read_array
from proctor.types import Array, Outcome, TaskKey

MOST_EPISODES = 2000
"""The most episodes that are looked at; they are spread evenly over the tasks."""
MOST_ROWS = 200_000


@dataclass(frozen=True)
class EpisodeInputs:
    """An episode: its sketch and the actions that it executed, ``(length, size)``, as the policy gave them."""

    task: TaskKey
    sketch: InputSketch
    actions: Array


@dataclass(frozen=True)
class ObservedVector:
    """A vector over all episodes: ``first`` is float64 ``(episodes, size)``, ``rows`` ``(looks, size)``.

    ``low`` and ``high`` are over all looks; NaN if no value is finite.
    """

    first: Array
    rows: Array
    low: Array
    high: Array
    n_not_finite: int


@dataclass(frozen=True)
class ObservedImages:
    """Images over all episodes, as thumbnails ``(n, height, width, channels)`` of the policy's own dtype.

    ``first`` are those of the first look, ``every`` those of all looks that were kept. ``shape`` is that of the whole
    image; ``whole`` are whole first images, by task.
    """

    shape: tuple[int, ...]
    first: Array
    every: Array
    whole: Mapping[TaskKey, Array]


@dataclass(frozen=True)
class Observed:
    """Everything that a run's policy was given and gave, under the policy's names.

    ``actions`` is float64 ``(n, size)``; ``action_low`` and ``action_high`` are the bounds, empty if they are not
    known. ``instructions`` counts the episodes of each. ``steps_per_look`` is the usual number of steps between two
    looks, None if no episode has two, and ``fps`` the control steps per simulated second, 0 if they are not known.
    """

    episodes: Sequence[EpisodeInputs]
    vectors: Mapping[str, ObservedVector] = field(default_factory=dict)
    images: Mapping[str, ObservedImages] = field(default_factory=dict)
    actions: Array = field(default_factory=lambda: np.zeros((0, 0)))
    action_low: Array = field(default_factory=lambda: np.zeros(0))
    action_high: Array = field(default_factory=lambda: np.zeros(0))
    instructions: Mapping[str, int] = field(default_factory=dict)
    steps_per_look: float | None = None
    fps: float = 0.0


def read_episodes(records: Iterable[EpisodeRecord], n_tasks: int) -> Iterator[EpisodeInputs]:
    """Read the sketches of a run, in the order of the episodes, whatever the order of the records is.

    Episodes without a sketch, and those whose arrays are damaged, are left out.
    """
    most = max(1, MOST_EPISODES // max(1, n_tasks))
    chosen = (record for record in records if record.key.episode_index < most and record.outcome is not Outcome.ERROR)
    for record in sorted(chosen, key=lambda record: record.key):
        try:
            packed, actions = read_array(record, NAME), read_actions(record)
            if packed is not None and actions is not None:
                task = TaskKey(record.key.suite, record.key.task_id)
                yield EpisodeInputs(task, InputSketch.from_array(packed), actions)
        except (ConfigError, ValueError):  # the result stands without them
            continue


def observe(episodes: Sequence[EpisodeInputs], rename_map: Mapping[str, str]) -> Observed:
    """Put episodes together. ``rename_map`` maps the environment's names to the policy's."""
    if not episodes:
        return Observed(())
    sketches = [episode.sketch for episode in episodes]
    size = Counter(episode.actions.shape[1:] for episode in episodes).most_common(1)[0][0]
    alike = [episode for episode in episodes if episode.actions.shape[1:] == size]
    actions = np.concatenate([episode.actions for episode in alike]).astype(np.float64)
    first = alike[0].sketch
    return Observed(
        episodes,
        {rename_map.get(key, key): _vector(key, sketches) for key in _keys(each.vectors for each in sketches)},
        {rename_map.get(key, key): _images(key, episodes) for key in _keys(each.images for each in sketches)},
        _thinned(actions.reshape(len(actions), -1)),
        np.asarray(first.action_low, np.float64),
        np.asarray(first.action_high, np.float64),
        Counter(sketch.instruction for sketch in sketches),
        _steps_per_look(sketches),
        first.fps,
    )


def _keys(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _vector(key: str, sketches: Sequence[InputSketch]) -> ObservedVector:
    """Put a vector together; tasks in which it has another shape than usual are left out."""
    found = [sketch.vectors[key] for sketch in sketches if key in sketch.vectors]
    usual = Counter(each.shape for each in found).most_common(1)[0][0]
    alike = [each for each in found if each.shape == usual]
    rows = [each.rows.unpack().astype(np.float64) for each in alike]
    return ObservedVector(
        np.stack([each[0] for each in rows]),
        _thinned(np.concatenate(rows)),
        _over(alike, "low", np.fmin),
        _over(alike, "high", np.fmax),
        sum(each.n_not_finite for each in alike),
    )


def _over(found: Sequence[VectorSketch], name: str, choose: np.ufunc) -> Array:
    values: Array = choose.reduce([getattr(each, name).unpack() for each in found])
    return values


def _images(key: str, episodes: Sequence[EpisodeInputs]) -> ObservedImages:
    found = [(episode.task, episode.sketch.images[key]) for episode in episodes if key in episode.sketch.images]
    usual = Counter((each.shape, each.dtype) for _, each in found).most_common(1)[0][0]
    alike = [(task, each) for task, each in found if (each.shape, each.dtype) == usual]
    thumbnails = [each.thumbnails.unpack() for _, each in alike]
    whole = {task: _whole(each) for task, each in reversed(alike) if each.first}
    first, every = np.stack([each[0] for each in thumbnails]), np.concatenate(thumbnails)
    return ObservedImages(usual[0], first, every, dict(reversed(whole.items())))


def _whole(image: ImageSketch) -> Array:
    import zlib

    return np.frombuffer(zlib.decompress(image.first), image.dtype).reshape(image.shape)


def _steps_per_look(sketches: Sequence[InputSketch]) -> float | None:
    per_look = [
        (sketch.steps[1] - sketch.steps[0]) / -(-sketch.n_looks // len(sketch.steps))
        for sketch in sketches
        if len(sketch.steps) > 1
    ]
    return float(np.median(per_look)) if per_look else None


def _thinned(rows: Array) -> Array:
    return rows[:: max(1, -(-len(rows) // MOST_ROWS))]
