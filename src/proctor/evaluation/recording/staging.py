"""The folder in which a dataset is made, beside the place where the dataset will be.

::

    OUTPUT.part/
        proctor.json              the run that is recorded; a folder without it is not ours
        lock                      held by the process that records
        episodes/SUITE_TASK/N/    a recorded episode; ``N.part`` while it is recorded
        dataset/                  the dataset while it is written; complete once it holds ``meta/proctor.json``

A folder of an episode is complete if it has its name, and is used if the journal holds the same episode. So whatever
a crash leaves is either continued or removed by the next start, and ``OUTPUT`` itself is only ever a whole dataset: it
is made by renaming.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from proctor.engine import RolloutSpec
from proctor.engine.rollouts import RolloutIdentity, read_identity, sync_files
from proctor.engine.worker.messages import Codec
from proctor.errors import ConfigError, ResourceError
from proctor.machine.files import read_file
from proctor.results.files import sync_directory, write_json
from proctor.results.lock import FileLock
from proctor.results.run_dir import slug_of
from proctor.types import EpisodeResult, EpisodeSpec

FORMAT_VERSION = 1
CODEC = Codec(
    "libsvtav1",
    "yuv420p",
    {"g": "2", "crf": "30", "preset": "12", "svtav1-params": "fast-decode=0:lp=1"},
)
"""LeRobot's own: ``RGBEncoderConfig`` of ``lerobot/configs/video.py``, LeRobot 0.6.1, with one thread per video,
because the other cores are for other workers."""
_MARKER = "proctor.json"
_REPLACED = "replaced"
_LOCK = "lock"
_MARKER_IN_DATASET = Path("meta") / _MARKER


class RecordedEpisodes(msgspec.Struct, frozen=True):
    """The source of a dataset: the run, by the digest of its fingerprint, and the episodes in their order."""

    run: str
    episodes: tuple[RolloutIdentity, ...]
    format_version: int = FORMAT_VERSION


class Staging:
    """The folder beside ``output`` in which the dataset of a run is made; ``run`` is the digest of its fingerprint."""

    def __init__(self, output: Path, run: str) -> None:
        self.output, self._run = output, run
        self.path = output.with_name(f"{output.name}.part")

    @contextmanager
    def opened(self) -> Iterator[Staging]:
        """Hold the folder for this process; what a crash has left unfinished in it is removed.

        Raises:
            ConfigError: ``output`` or the folder holds something else.
            RunLockedError: another process records there.
            ResourceError: the folder cannot be made.
        """
        self._require_ours()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK)
            lock.acquire()
        except OSError as error:
            raise ResourceError(f"{self.path} cannot be made: {error.strerror or error}.") from error
        try:
            write_json(self.path / _MARKER, {"run": self._run, "format_version": FORMAT_VERSION})
            self._tidy()
            yield self
        finally:
            lock.release()
            self._remove_if_empty()

    def rollout_spec(self, spec: EpisodeSpec) -> RolloutSpec:
        """Describe the recording of an episode, whether it exists or not."""
        # A worker may have another working directory.
        return RolloutSpec(str(self.folder(spec).absolute()), CODEC)

    def folder(self, spec: EpisodeSpec) -> Path:
        """Name the folder of an episode, whether it exists or not."""
        suite = slug_of(spec.suite)
        return self.path / "episodes" / f"{suite}_{spec.task_id}" / str(spec.episode_index)

    def holds(self, result: EpisodeResult) -> bool:
        """Say whether the episode with this result is recorded."""
        return read_identity(self.folder(result.spec)) == RolloutIdentity.of(result)

    @property
    def dataset(self) -> Path:
        """The folder in which the dataset is written; it does not exist before."""
        return self.path / "dataset"

    def published(self) -> RecordedEpisodes | None:
        """Read what the dataset in ``output`` was made of; None if there is none."""
        return _read_marker(self.output)

    def wanted(self, results: list[EpisodeResult]) -> RecordedEpisodes:
        """Describe the dataset of these episodes."""
        return RecordedEpisodes(self._run, tuple(map(RolloutIdentity.of, results)))

    def publish(self, made_of: RecordedEpisodes) -> None:
        """Put the dataset that was written in the place of ``output``, and remove the folder's content.

        Raises:
            OSError: the disk is full.
        """
        sync_files(self.dataset)
        write_json(self.dataset / _MARKER_IN_DATASET, msgspec.to_builtins(made_of))
        self._move()

    def _move(self) -> None:
        if self.output.exists():
            shutil.rmtree(self.path / _REPLACED, ignore_errors=True)
            self.output.rename(self.path / _REPLACED)
        self.dataset.rename(self.output)
        sync_directory(self.output.parent)
        for name in ("episodes", _REPLACED):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def _tidy(self) -> None:
        """Finish what a crash has interrupted after a dataset was complete, and remove what is not complete."""
        if _read_marker(self.dataset) is not None:
            self._move()
        for folder in (self.dataset, self.path / _REPLACED, *self.path.glob("episodes/*/*.part")):
            shutil.rmtree(folder, ignore_errors=True)

    def _require_ours(self) -> None:
        if self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir())):
            published = self.published()
            if published is None:
                raise ConfigError(f"{self.output} is not a recording of Proctor's; choose another folder.")
            self._require_same_run(self.output, published.run)
        if self.path.exists():
            marker = _read_json(self.path / _MARKER)
            if marker is None and not all(map(_comes_before_marker, self.path.iterdir())):
                raise ConfigError(f"{self.path} is in the way and not Proctor's; remove it, or choose another folder.")
            if marker is not None:
                self._require_same_run(self.path, marker.get("run"))

    def _require_same_run(self, folder: Path, run: Any) -> None:
        if run != self._run:
            raise ConfigError(f"{folder} is a recording of another evaluation; remove it, or choose another folder.")

    def _remove_if_empty(self) -> None:
        """Remove the folder if no recorded episode waits in it."""
        if not any(self.path.glob("episodes/*/*")) and not self.dataset.exists():
            shutil.rmtree(self.path, ignore_errors=True)


def _read_marker(dataset: Path) -> RecordedEpisodes | None:
    try:
        return msgspec.json.decode(read_file(dataset / _MARKER_IN_DATASET), type=RecordedEpisodes)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def _comes_before_marker(path: Path) -> bool:
    """Say whether a file is one that is there before the marker is, and stays if the process is killed in between."""
    return path.name == _LOCK or path.name.startswith(f".{_MARKER}.")


def _read_json(path: Path) -> Mapping[str, Any] | None:
    try:
        content = msgspec.json.decode(read_file(path))
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    return content if isinstance(content, dict) else None
