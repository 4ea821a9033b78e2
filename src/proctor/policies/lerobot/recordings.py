"""Recorded episodes of a LeRobotDataset, as an environment would show them, and the actions that were recorded.

The dataset is read by LeRobot's own classes: ``LeRobotDataset``, or ``StreamingLeRobotDataset`` for
``--dataset.streaming=true``. Images become uint8 ``(height, width, channels)``, which loses nothing of a decoded frame.
torch and lerobot are imported when a dataset is opened.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from proctor.config import DatasetConfig, structure
from proctor.errors import ConfigError, MissingExtraError
from proctor.policies.lerobot.conversion import converted, refusing_failures, require_readable_format
from proctor.streams import RandomStream
from proctor.types import Array, ArraySpec, EpisodeSpec, Features

ACTION = "action"
_OBSERVATION = "observation."
_IMAGES = ("image", "video")
_CHANNELS = ("channel", "channels", "c")
_OLD_FORMAT = "BackwardCompatibilityError"
"""LeRobot's error for a dataset of the Hub that has the v2.1 format."""
_NOT_READ = ("string", "language")
"""The dtypes of features that are not numbers."""

Frame = tuple[dict[str, Array], str]
"""The arrays of one step by their key, without a time axis, and the instruction."""


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode of a dataset: its index, its number of steps, and the sentences of its tasks."""

    index: int
    length: int
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class RecordedActions:
    """The recorded actions of a dataset: the names of their numbers, and the mean and standard deviation of each.

    ``mean`` and ``std`` are float64 ``(action_size,)``, of the whole dataset; None if the dataset does not hold them.
    """

    names: tuple[str, ...]
    mean: Array | None
    std: Array | None


class EpisodeReader(Protocol):
    """Reads one recorded episode. Steps must be asked for in ascending order, but for those of the history."""

    def frame(self, step: int) -> Frame:
        """Read the observation of a step."""

    def actions(self) -> Array:
        """Read the actions of all steps, ``(length, action_size)``. No frame may be asked for afterwards."""


class Recordings:
    """An open dataset.

    Attributes:
        directory: the directory that holds it.
        features: what it records of each step, in the form of an environment's.
        actions: what is known of its actions.
        fps: steps per second.
        episodes: the episodes that ``config`` selects, ascending.
        identity: what identifies the dataset: its name, and a digest of its metadata, the statistics included.
        in_order: true if an episode can be read only once those before it have been.
    """

    def __init__(self, config: DatasetConfig, root: Path | None, seed: int) -> None:
        """Open the dataset in ``root``; if that is None, LeRobot finds it in its cache or on the Hub."""
        metadata = _metadata(config, root)
        self._config, self._root = config, root
        self.directory = Path(metadata.root)
        self.features = _features(config.repo_id, metadata)
        self.actions = _actions(metadata)
        self.fps = float(metadata.fps)
        self.episodes = _episodes(config, metadata)
        self.in_order = config.streaming
        self.identity = {"repo_id": config.repo_id, "sha256": _digest(self.directory / "meta")}
        self._transform = _transform(config, seed)

    def readers(self, episodes: Sequence[RecordedEpisode], history: int) -> Iterator[EpisodeReader]:
        """Give a reader of each of the episodes, which are ascending.

        ``history`` is the number of steps before the latest one whose frames may still be asked for. If the dataset is
        :attr:`in_order`, a reader is used up before the next one is taken.

        Raises:
            ConfigError: the dataset cannot be read.
        """
        with reading(self._config):
            if self.in_order:
                yield from self._streamed(episodes, history)
            else:
                yield from self._indexed(episodes)

    def _indexed(self, episodes: Sequence[RecordedEpisode]) -> Iterator[EpisodeReader]:
        config = self._config
        dataset = indexed_dataset(config, self._root)
        names = ["episode_index", "frame_index", ACTION]
        columns = dataset.hf_dataset.with_format("numpy", columns=names)[:]
        for episode in episodes:
            rows = np.flatnonzero(columns["episode_index"] == episode.index)
            rows = rows[np.argsort(columns["frame_index"][rows], kind="stable")]
            _require_length(config, episode, len(rows))
            yield _Indexed(dataset, rows, columns[ACTION][rows], self._convert(episode))

    def _streamed(self, episodes: Sequence[RecordedEpisode], history: int) -> Iterator[EpisodeReader]:
        from lerobot.datasets.streaming_dataset import StreamingLeRobotDataset

        config, wanted = self._config, {episode.index for episode in episodes}
        dataset = StreamingLeRobotDataset(
            config.repo_id,
            root=self._root,
            revision=config.revision,
            shuffle=False,
            buffer_size=1,  # with one shard this gives the frames in their order
            max_num_shards=1,
        )
        dataset.hf_dataset = dataset.hf_dataset.filter(lambda index: index in wanted, input_columns=["episode_index"])
        items = iter(dataset)
        for episode in episodes:
            yield _Streamed(items, episode, history, self._convert(episode))

    def _convert(self, episode: RecordedEpisode) -> Callable[[Any, int], Frame]:
        """Make the function from an item of LeRobot's and its step to a frame."""

        def convert(item: Any, step: int) -> Frame:
            arrays = {key: _array(item[key], spec) for key, spec in self.features.observation.items()}
            if self._transform is not None:
                arrays = self._transform(arrays, episode.index, step)
            return arrays, str(item.get("task", ""))

        return convert


def open_recordings(config: DatasetConfig, *, seed: int, convert_into: Path | None = None) -> Recordings:
    """Open a dataset of the v3 format; imports torch and lerobot.

    A dataset of the v2.1 format is converted into the directory ``convert_into`` if that is given: the original stays
    as it is. ``seed`` seeds the random numbers of ``config.image_transforms``.

    Raises:
        ConfigError: the dataset is not found, has another format, or lacks what ``config`` selects.
    """
    root = require_readable_format(config, convert_into)
    with reading(config):
        try:
            return Recordings(config, root, seed)
        except Exception as error:
            if type(error).__name__ != _OLD_FORMAT or convert_into is None:
                raise
            return Recordings(config, converted(config.repo_id, None, convert_into), seed)


def indexed_dataset(config: DatasetConfig, root: Path | None) -> Any:
    """Open the episodes that ``config`` selects, in ``root``, as LeRobot's reader with frames in any order.

    Raises:
        MissingExtraError: lerobot's part for datasets is not installed.
    """
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as error:
        raise MissingExtraError(error.name or "datasets", "lerobot") from error
    return LeRobotDataset(
        config.repo_id,
        root=root,
        episodes=None if config.episodes is None else sorted(config.episodes),
        revision=config.revision,
        video_backend=config.video_backend,
    )


def _metadata(config: DatasetConfig, root: Path | None) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    is_new = root is not None and not root.exists()
    try:
        return LeRobotDatasetMetadata(config.repo_id, root=root, revision=config.revision)
    finally:
        if is_new and root is not None and not any(path.is_file() for path in root.rglob("*")):
            shutil.rmtree(root, ignore_errors=True)  # LeRobot makes it before it knows whether there is a dataset


def reading(config: DatasetConfig) -> AbstractContextManager[None]:
    """Refuse the dataset if the block fails.

    Raises:
        ConfigError: the block raised.
    """
    where = f" ({config.root})" if config.root else ""
    return refusing_failures(f"The dataset {config.repo_id}{where} cannot be read, on this disk or from the Hub")


# ------------------------------------------------------------------------------------------------- reading one episode


class _Indexed:
    """Reads an episode of a dataset whose rows can be read in any order."""

    def __init__(self, dataset: Any, rows: Array, actions: Array, convert: Callable[[Any, int], Frame]) -> None:
        self._dataset, self._rows, self._actions, self._convert = dataset, rows, actions, convert

    def frame(self, step: int) -> Frame:
        with refusing_failures(f"Step {step} of the dataset cannot be read"):
            item = self._dataset[int(self._rows[step])]
        return self._convert(item, step)

    def actions(self) -> Array:
        return self._actions.reshape(len(self._rows), -1)


class _Streamed:
    """Reads an episode from a stream of frames, and keeps the frames of the history."""

    def __init__(
        self, items: Iterator[Any], episode: RecordedEpisode, history: int, convert: Callable[[Any, int], Frame]
    ) -> None:
        self._items, self._episode, self._history, self._convert = items, episode, history, convert
        self._kept: dict[int, Any] = {}
        self._actions: list[Array] = []

    def frame(self, step: int) -> Frame:
        while len(self._actions) <= step:
            self._read()
        return self._convert(self._kept[step], step)

    def actions(self) -> Array:
        while len(self._actions) < self._episode.length:
            self._read()
        return np.stack(self._actions)

    def _read(self) -> None:
        step = len(self._actions)
        with refusing_failures("The stream cannot be read (LeRobot decodes streamed videos by torchcodec)"):
            item = next(self._items, None)
        found = None if item is None else (int(item["episode_index"]), int(item["frame_index"]))
        if found != (self._episode.index, step):
            raise ConfigError(
                f"The stream of the dataset has {found} (episode, step) where {(self._episode.index, step)} was "
                "expected; leave out --dataset.streaming."
            )
        self._actions.append(np.atleast_1d(np.asarray(item[ACTION])).reshape(-1))  # type: ignore[index]
        self._kept[step] = item
        self._kept.pop(step - self._history - 1, None)


def _array(value: Any, spec: ArraySpec) -> Array:
    """Convert what LeRobot gives of a feature: a tensor, an image with channels first, or a Pillow image."""
    array = np.asarray(value)
    if spec.dtype != "uint8":
        return array.reshape(spec.shape)
    if array.dtype != np.uint8:
        array = np.rint(np.clip(array, 0.0, 1.0) * 255).astype(np.uint8)
    return array if array.shape == spec.shape else np.ascontiguousarray(array.transpose(1, 2, 0))


# ------------------------------------------------------------------------------------------------- what a dataset holds


def _features(repo_id: str, metadata: Any) -> Features:
    if ACTION not in metadata.features:
        raise ConfigError(f"The dataset {repo_id} records no '{ACTION}', so there is nothing to compare with.")
    depth = getattr(metadata, "depth_keys", ())
    observation = {
        key: _spec(feature)
        for key, feature in metadata.features.items()
        if key.startswith(_OBSERVATION) and key not in depth and not feature["dtype"].startswith(_NOT_READ)
    }
    return Features(observation, _spec(metadata.features[ACTION]))


def _spec(feature: Mapping[str, Any]) -> ArraySpec:
    shape = tuple(feature["shape"])
    if feature["dtype"] not in _IMAGES:
        return ArraySpec(shape, str(feature["dtype"]))
    names = feature.get("names") or ()
    if names and next(iter(names)) in _CHANNELS:
        shape = (*shape[1:], shape[0])
    return ArraySpec(shape, "uint8")


def _actions(metadata: Any) -> RecordedActions:
    feature = metadata.features[ACTION]
    size = int(np.prod(feature["shape"]))
    statistics = (metadata.stats or {}).get(ACTION, {})
    mean, std = (_statistic(statistics.get(name), size) for name in ("mean", "std"))
    return RecordedActions(_names(feature.get("names"), size), mean, std)


def _names(given: Any, size: int) -> tuple[str, ...]:
    """List the names of an action's numbers; LeRobot's datasets hold a list, or lists by kind: ``{"motors": […]}``."""
    if isinstance(given, Mapping):
        given = [name for names in given.values() for name in (names if isinstance(names, list) else [names])]
    names = [str(name) for name in given or ()]
    return tuple(names) if len(names) == size else tuple(map(str, range(size)))


def _statistic(value: Any, size: int) -> Array | None:
    array = None if value is None else np.asarray(value, np.float64).reshape(-1)
    return array if array is not None and array.shape == (size,) else None


def _episodes(config: DatasetConfig, metadata: Any) -> tuple[RecordedEpisode, ...]:
    n = int(metadata.total_episodes)
    chosen = range(n) if config.episodes is None else sorted(config.episodes)
    if not chosen:
        raise ConfigError(f"The dataset {config.repo_id} has no episodes, or dataset.episodes is an empty list.")
    if missing := [index for index in chosen if index >= n]:
        raise ConfigError(
            f"dataset.episodes contains {missing}, but {config.repo_id} has {n} episodes: 0 to {n - 1}; leave them out."
        )
    rows = metadata.episodes.select_columns(["episode_index", "length", "tasks"])
    known = {int(row["episode_index"]): row for row in rows}
    return tuple(RecordedEpisode(index, int(known[index]["length"]), tuple(known[index]["tasks"])) for index in chosen)


def _require_length(config: DatasetConfig, episode: RecordedEpisode, found: int) -> None:
    if found != episode.length:
        raise ConfigError(
            f"Episode {episode.index} of {config.repo_id} has {found} steps where its metadata say {episode.length}; "
            "the dataset is not whole: copy or download it again."
        )


def _digest(folder: Path) -> str:
    """Digest the metadata, of which the statistics change with any number of the data."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl", ".parquet")):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


# ---------------------------------------------------------------------------------------------------- image transforms


class _Transform:
    """LeRobot's random image transforms. A frame's random numbers follow from seed, episode and step alone."""

    def __init__(self, transform: Any, seed: int) -> None:
        self._transform, self._seed = transform, seed

    def __call__(self, arrays: dict[str, Array], episode: int, step: int) -> dict[str, Array]:
        import torch

        changed = dict(arrays)
        with RandomStream(EpisodeSpec("image_transforms", step, episode, self._seed)).swapped_in():
            for key, array in arrays.items():
                if array.dtype == np.uint8 and array.ndim == 3:
                    image = torch.tensor(array).permute(2, 0, 1).float() / 255
                    changed[key] = _array(self._transform(image), ArraySpec(array.shape, "uint8"))
        return changed


def _transform(config: DatasetConfig, seed: int) -> _Transform | None:
    if not config.image_transforms:
        return None
    try:
        from lerobot.transforms import ImageTransforms, ImageTransformsConfig
    except ModuleNotFoundError:  # LeRobot 0.4
        from lerobot.datasets.transforms import ImageTransforms, ImageTransformsConfig
    chosen = structure(ImageTransformsConfig, config.image_transforms, "dataset.image_transforms")
    return _Transform(ImageTransforms(chosen), seed) if chosen.enable else None
