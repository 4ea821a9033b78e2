"""Looks at a LeRobotDataset through LeRobot's own reader. Calling it imports torch and lerobot."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from proctor.config import DatasetConfig
from proctor.errors import note
from proctor.policies.lerobot.conversion import require_readable_format
from proctor.policies.lerobot.recordings import indexed_dataset, reading
from proctor.policies.training_data import TrainingData, TrainingEpisode
from proctor.types import Array

_MOST_EPISODES = 64
_MOST_EPISODES_WITH_IMAGES = 16
_ACTION, _OBSERVED = "action", "observation."


def read_training_data(config: DatasetConfig) -> TrainingData:
    """Look at a dataset: the vectors of up to 64 episodes, the first images of up to 16, evenly spread over it.

    Raises:
        ConfigError: the dataset cannot be read; the message says why.
        MissingExtraError: lerobot's part for datasets is not installed.
    """
    if config.streaming:
        note(
            "The audit reads episodes from all over the dataset, which is downloaded first if it is not here; "
            "--dataset.streaming does not change that, and --dataset.episodes chooses some."
        )
    dataset = _open(config)
    columns = _columns(dataset)
    ranges = _ranges(columns["episode_index"])
    chosen = _spread(ranges, _MOST_EPISODES)
    seen = _spread(ranges, _MOST_EPISODES_WITH_IMAGES)
    first = [_images(dataset, begin) for begin, _ in seen]
    return TrainingData(
        config.repo_id,
        float(dataset.meta.fps),
        _tasks(dataset.meta.tasks),
        {key: dict(_flat(values)) for key, values in (dataset.meta.stats or {}).items()},
        [_episode(columns, begin, end) for begin, end in chosen],
        _by_feature(first),
    )


def _open(config: DatasetConfig) -> Any:
    logging.getLogger("lerobot").setLevel(logging.ERROR)  # it warns of every codec that it does not find
    root = require_readable_format(config, None)
    with reading(config):
        return indexed_dataset(config, root)


def _columns(dataset: Any) -> dict[str, Array]:
    """Read the columns of numbers, by their name: ``(frames, size)``, or ``(frames,)`` for the episodes' indices."""
    features = dataset.meta.features.items()
    names = [name for name, fields in features if name.startswith((_OBSERVED, _ACTION)) and _is_vector(fields)]
    table = dataset.hf_dataset.select_columns([*names, "episode_index"]).with_format("numpy")[:]
    columns = {name: np.stack(list(table[name])).astype(np.float32) for name in names}
    columns = {name: values.reshape(len(values), -1) for name, values in columns.items()}
    return {**columns, "episode_index": np.asarray(table["episode_index"]).ravel()}


def _is_vector(fields: Mapping[str, Any]) -> bool:
    return str(fields["dtype"]).startswith(("float", "int"))


def _ranges(episode_of_frame: Array) -> list[tuple[int, int]]:
    """Find the first frame of each episode, and the one after its last."""
    starts = np.flatnonzero(np.diff(episode_of_frame, prepend=-1)).tolist()
    return list(zip(starts, [*starts[1:], len(episode_of_frame)], strict=True))


def _spread(ranges: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    places = np.linspace(0, len(ranges) - 1, min(most, len(ranges))).round().astype(int)
    return [ranges[place] for place in places]


def _episode(columns: Mapping[str, Array], begin: int, end: int) -> TrainingEpisode:
    vectors = {name: values[begin:end] for name, values in columns.items() if name.startswith(_OBSERVED)}
    return TrainingEpisode(vectors, columns.get(_ACTION, np.zeros((len(columns["episode_index"]), 0)))[begin:end])


def _images(dataset: Any, frame: int) -> dict[str, Array]:
    item = dataset[frame]
    return {key: _to_bytes(item[key]) for key in dataset.meta.camera_keys}


def _to_bytes(image: Any) -> Array:
    """Convert LeRobot's float32 ``(channels, height, width)`` in [0, 1] to uint8 ``(height, width, channels)``."""
    array: Array = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    return array


def _by_feature(frames: list[dict[str, Array]]) -> dict[str, list[Array]]:
    return {key: [frame[key] for frame in frames] for key in frames[0]} if frames else {}


def _tasks(tasks: Any) -> tuple[str, ...]:
    """Give the instructions: LeRobot keeps them as the index of a table."""
    return () if tasks is None else tuple(str(task) for task in tasks.index)


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, list[float]]]:
    for name, value in values.items():
        yield name, np.asarray(value, np.float64).ravel().tolist()
