"""Writes a LeRobotDataset (format v3.0) of recorded episodes.

LeRobot's own parts write the metadata (``LeRobotDatasetMetadata``), give the schema of the data, and compute the
statistics of all but images.
The videos of episodes are joined here: LeRobot's ``concatenate_video_files`` places each episode by durations that are
rounded to microseconds, so that after hundreds of episodes frames are found at the wrong time; and it copies a file
again for each episode that joins it. Here a frame's time is its number divided by the rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from proctor.engine.worker.rollout_file import PIXELS_PREFIX, RATE, SIZE_PREFIX, read_values, video_file
from proctor.engine.worker.rollout_recorder import DONE, SUCCESS, sampled
from proctor.errors import ConfigError
from proctor.evaluation.recording.statistics import image_statistics
from proctor.types import INSTRUCTION, Array, EpisodeResult, Task

_MB = 1 << 20
_BOOLS = (SUCCESS, DONE)


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode that was recorded into ``folder``."""

    folder: Path
    result: EpisodeResult
    task: Task

    def read(self) -> _Content:
        """Read all of it but the images."""
        values = read_values(self.folder)
        names = [key for key in values if not key.startswith((PIXELS_PREFIX, SIZE_PREFIX)) and key != RATE]
        sizes = {key.removeprefix(SIZE_PREFIX): tuple(values[key]) for key in values if key.startswith(SIZE_PREFIX)}
        pixels = {key: values[PIXELS_PREFIX + key] for key in sizes}
        return _Content(self, {key: values[key] for key in names}, sizes, pixels, int(values[RATE]))


@dataclass(frozen=True)
class _Content:
    """The content of a recorded episode: ``rows`` has an array per feature, with a row per step."""

    episode: RecordedEpisode
    rows: Mapping[str, Array]
    sizes: Mapping[str, tuple[int, ...]]
    pixels: Mapping[str, Array]
    fps: int

    @property
    def n_frames(self) -> int:
        return len(self.rows[DONE])

    @cached_property
    def texts(self) -> list[str]:
        """The instruction at each step; the task's name if the task has no instruction."""
        if INSTRUCTION in self.rows:
            return [row.tobytes().rstrip(b"\0").decode() for row in self.rows[INSTRUCTION]]
        return [self.episode.task.instruction or self.episode.task.name] * self.n_frames

    @cached_property
    def features(self) -> dict[str, dict[str, Any]]:
        """The features in LeRobot's form; images first, as LeRobot's environments have them."""
        names = ["height", "width", "channels"]
        images = {
            key: {"dtype": "video", "shape": (int(height), int(width), 3), "names": names}
            for key, (height, width) in sorted(self.sizes.items())
        }
        return images | {
            key: {"dtype": "bool" if key in _BOOLS else "float32", "shape": rows.shape[1:] or (1,), "names": None}
            for key, rows in self.rows.items()
            if key != INSTRUCTION
        }


@dataclass(frozen=True)
class _Place:
    """The place of an episode in the videos of one camera: a file, and the frame at which the episode begins there."""

    file_number: int
    first_frame: int


def write_dataset(target: Path, episodes: Sequence[RecordedEpisode], repo_id: str) -> int:
    """Write a dataset into ``target``, which does not exist, with ``episodes`` in their order.

    Returns the number of its frames.

    Raises:
        ConfigError: the episodes have different features or rates, so that one dataset cannot hold them.
        OSError: the disk is full.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    first = episodes[0].read()
    lengths = [_checked(episode.read(), first).n_frames for episode in episodes]
    meta = LeRobotDatasetMetadata.create(repo_id, first.fps, first.features, root=target, use_videos=bool(first.sizes))
    places = {camera: _join_videos(meta, camera, episodes, lengths) for camera in sorted(first.sizes)}
    with _DataFiles(meta) as data:
        for index, episode in enumerate(episodes):
            content = episode.read()
            videos = {camera: places[camera][index] for camera in places}
            _add_episode(meta, data, index, content, videos)
    meta._close_writer()  # noqa: SLF001 - LeRobot 0.4.4 has no other way
    _add_columns(target, episodes)
    return sum(lengths)


def _checked(content: _Content, first: _Content) -> _Content:
    """See that an episode fits into the dataset that another one begins.

    Raises:
        ConfigError: it does not; the message names the first difference.
    """
    for name in {**first.features, **content.features}:
        there, here = (each.features.get(name, {}).get("shape") for each in (first, content))
        if there != here:
            raise ConfigError(
                f"One dataset cannot hold both {first.episode.task.name} and {content.episode.task.name}: {name} has "
                f"shape {there} in the one and {here} in the other; record tasks apart, with --task and --output."
            )
    if content.fps != first.fps:
        raise ConfigError(
            f"One dataset cannot hold both {first.episode.task.name} and {content.episode.task.name}: the one has "
            f"{first.fps} steps per second and the other {content.fps}; record tasks apart, with --task and --output."
        )
    return content


# ------------------------------------------------------------------------------------------------------------- videos


def _join_videos(meta: Any, camera: str, episodes: Sequence[RecordedEpisode], lengths: Sequence[int]) -> list[_Place]:
    """Join the videos of one camera into files of the size that LeRobot wants; gives each episode's place."""
    paths = [video_file(episode.folder, camera) for episode in episodes]
    places: list[_Place] = []
    for number, group in enumerate(_groups([path.stat().st_size for path in paths], meta.video_files_size_in_mb * _MB)):
        file = meta.root / meta.video_path.format(video_key=camera, **_file_indices(meta, number))
        file.parent.mkdir(parents=True, exist_ok=True)
        members = [(paths[index], lengths[index]) for index in group]
        places += [_Place(number, first_frame) for first_frame in join_videos(members, file, meta.fps)]
    meta.update_video_info(camera, *_encoder())
    return places


def _encoder() -> Sequence[Any]:
    """Describe the encoder as LeRobot does in ``info.json``; LeRobot 0.4.4 does not describe it."""
    try:
        from lerobot.configs import RGBEncoderConfig
    except ImportError:
        return ()
    return (RGBEncoderConfig(),)


def _groups(sizes: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Put consecutive indices into groups whose sizes add up to less than ``limit``, if a single one does."""
    group, total = list[int](), 0
    for index, size in enumerate(sizes):
        if group and total + size >= limit:
            yield group
            group, total = [], 0
        group.append(index)
        total += size
    yield group


def join_videos(videos: Sequence[tuple[Path, int]], target: Path, fps: int) -> list[int]:
    """Copy ``videos`` (path, number of frames) one after another into ``target``, without encoding them again.

    Returns the number of the frame with which each begins there: a frame is shown at its number divided by ``fps``.
    """
    import av

    av.logging.set_libav_level(av.logging.WARNING)  # FFmpeg describes on standard error what it does, otherwise
    first_frames, n_frames, stream = [], 0, None
    with av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as joined:
        for path, length in videos:
            first_frames.append(n_frames)
            with av.open(str(path)) as video:
                source = video.streams.video[0]
                if stream is None:
                    stream = joined.add_stream_from_template(source, opaque=True)
                    stream.time_base = source.time_base
                ticks = n_frames / (fps * source.time_base)
                for packet in video.demux(source):
                    if packet.dts is not None:  # the last one is empty
                        packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                        joined.mux(packet)
            n_frames += length
    return first_frames


def _file_indices(meta: Any, number: int) -> dict[str, int]:
    chunk, file = divmod(number, meta.chunks_size)
    return {"chunk_index": chunk, "file_index": file}


# --------------------------------------------------------------------------------------------------------------- data


class _DataFiles:
    """The Parquet files with a row per frame, a row group per episode; a context manager."""

    def __init__(self, meta: Any) -> None:
        self._meta = meta
        self._number = -1
        self._file: BinaryIO
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, columns: Mapping[str, Array]) -> dict[str, int]:
        """Append an episode, in a new file if the present one is large; gives the indices of the file."""
        import datasets

        features = _schema()(self._meta.features)
        rows = datasets.Dataset.from_dict({key: columns[key] for key in features}, features=features, split="train")
        table = rows.with_format("arrow")[:]
        if self._writer is None or self._file.tell() + table.nbytes >= self._meta.data_files_size_in_mb * _MB:
            self._open(table.schema)
        self._writer.write_table(table)
        return _file_indices(self._meta, self._number)

    def _open(self, schema: Any) -> None:
        import pyarrow.parquet as pq

        self._close()
        self._number += 1
        path = self._meta.root / self._meta.data_path.format(**_file_indices(self._meta, self._number))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(self._file, schema=schema, compression="snappy", use_dictionary=True)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._file.close()
            self._writer = None


def _schema() -> Any:
    """Find LeRobot's function from features to columns; it moved between versions."""
    try:
        from lerobot.datasets.feature_utils import get_hf_features_from_features
    except ImportError:
        from lerobot.datasets.utils import get_hf_features_from_features
    return get_hf_features_from_features


def _add_episode(meta: Any, data: _DataFiles, index: int, content: _Content, videos: Mapping[str, _Place]) -> None:
    texts = list(dict.fromkeys(content.texts))
    meta.save_episode_tasks(texts)
    n_frames, begin = content.n_frames, meta.total_frames
    task_numbers = {text: meta.get_task_index(text) for text in texts}
    frame_numbers = np.arange(n_frames)
    columns = {
        **{key: rows for key, rows in content.rows.items() if key != INSTRUCTION},
        "timestamp": (frame_numbers / meta.fps).astype(np.float32),
        "frame_index": frame_numbers,
        "episode_index": np.full(n_frames, index),
        "index": begin + frame_numbers,
        "task_index": np.array([task_numbers[text] for text in content.texts]),
    }
    files = data.add(columns)
    place = {f"data/{name}": number for name, number in files.items()}
    place |= {"dataset_from_index": begin, "dataset_to_index": begin + n_frames}
    for camera, where in videos.items():
        indices = _file_indices(meta, where.file_number)
        place |= {f"videos/{camera}/{name}": number for name, number in indices.items()}
        place[f"videos/{camera}/from_timestamp"] = where.first_frame / meta.fps
        place[f"videos/{camera}/to_timestamp"] = (where.first_frame + n_frames) / meta.fps
    meta.save_episode(index, n_frames, texts, _statistics(meta, columns, content), place)


def _statistics(meta: Any, columns: Mapping[str, Array], content: _Content) -> dict[str, dict[str, Array]]:
    from lerobot.datasets.compute_stats import compute_episode_stats

    # LeRobot 0.4.4 computes none of bool, and 0.6.1 as of float32.
    numbers = {key: rows.astype(np.float32) if rows.dtype == np.bool_ else rows for key, rows in columns.items()}
    statistics: dict[str, dict[str, Array]] = compute_episode_stats(numbers, meta.features)
    n_sampled = len(sampled(content.n_frames))
    return {key: image_statistics(counts, n_sampled) for key, counts in content.pixels.items()} | statistics


# ----------------------------------------------------------------------------------------------------------- episodes


def _add_columns(target: Path, episodes: Sequence[RecordedEpisode]) -> None:
    """Add to the table of episodes what Proctor knows of each: seed, initial state, outcome, task.

    LeRobot's writer takes the type of a column from the first episodes; a column of which these have no value, such as
    a success that was not reported, would get none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    begin = 0
    for path in sorted((target / "meta" / "episodes").rglob("*.parquet")):
        table = pq.read_table(path)
        part = episodes[begin : begin + table.num_rows]
        begin += table.num_rows
        columns = {
            "episode_seed": ([each.result.spec.seed for each in part], pa.int64()),
            "init_state_id": ([each.result.spec.init_state_id for each in part], pa.int64()),
            "success": ([each.result.success for each in part], pa.bool_()),
            "sum_reward": ([each.result.sum_reward for each in part], pa.float64()),
            "suite": ([each.task.suite for each in part], pa.string()),
            "task_id": ([each.task.task_id for each in part], pa.int64()),
            "task_name": ([each.task.name for each in part], pa.string()),
            "task_episode": ([each.result.spec.episode_index for each in part], pa.int64()),
            "final_state_hash": ([each.result.final_state_hash for each in part], pa.string()),
        }
        for name, (values, kind) in columns.items():
            table = table.append_column(name, pa.array(values, kind))
        pq.write_table(table, path, compression="snappy", use_dictionary=True)
