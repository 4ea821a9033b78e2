"""A folder of runs and sweeps: finds them, and makes their entries for the index.

The id of a run or a sweep is a digest of its path in the folder, and requests name them by this id alone, so no path
comes from a request. A link that leads out of the folder is not followed, and a run that holds one is refused.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import thread_time

from proctor.errors import ConfigError, ProctorError
from proctor.results.run_dir import RUN_FILE, RunDirectory
from proctor.types import EpisodeSpec
from proctor.view.entries import RunEntry, read_entry
from proctor.view.sweeps import SWEEP_FILE, SweepEntry, read_sweep

_DEEPEST = 6
"""The depth of subfolders in which runs are looked for; ``outputs/eval/<date>/<time>_<job>`` is four."""

_READING_S = 0.15
"""The seconds of a core for which one index reads runs. The page of a folder with many runs is complete a moment later,
when it asks again: whoever opens it sees the newest runs at once.
"""

Stamp = tuple[tuple[str, int, int], ...]


@dataclass
class _Found:
    """The directories of the runs and the sweeps in the folder, by their ids."""

    runs: dict[str, Path] = field(default_factory=dict)
    sweeps: dict[str, Path] = field(default_factory=dict)


class RunFolder:
    """The runs and sweeps in the folder ``root`` and its subfolders. The folder need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._found = _Found()
        self._entries: dict[str, tuple[Stamp, RunEntry]] = {}
        self._lock = Lock()

    def entries(self) -> list[RunEntry | SweepEntry]:
        """Return all sweeps, and all runs that belong to none, the newest first.

        Runs that have not changed since the last call are not read again. If there are too many to be read at once,
        the state of those that began first is "unread".
        """
        with self._lock:
            found, until = self._look(), thread_time() + _READING_S
            newest_first = sorted(found.runs.items(), key=lambda item: _began(item[1]), reverse=True)
            runs = {directory: self._entry(run_id, directory, until) for run_id, directory in newest_first}
        sweeps = [self._sweep(sweep_id, directory, runs) for sweep_id, directory in found.sweeps.items()]
        swept = {run.id for sweep in sweeps for run in sweep.runs}
        shown: list[RunEntry | SweepEntry] = [*sweeps, *(run for run in runs.values() if run.id not in swept)]
        return sorted(shown, key=lambda entry: (entry.date, entry.name), reverse=True)

    def sweep(self, sweep_id: str) -> SweepEntry:
        """Return a sweep.

        Raises:
            KeyError: there is no such sweep.
        """
        with self._lock:
            found = self._found if sweep_id in self._found.sweeps else self._look()
            directory = found.sweeps[sweep_id]
            inside = {each: self._entry(self._id(each), each) for each in self._runs_in(directory)}
        return self._sweep(sweep_id, directory, inside)

    def directory(self, run_id: str) -> Path:
        """Return the directory of a run.

        Raises:
            KeyError: there is no such run.
            ConfigError: the run holds a link out of the folder, or something that is neither file nor folder.
        """
        found = self._found if run_id in self._found.runs else self._look()
        self._check_files(found.runs[run_id])
        return found.runs[run_id]

    def sweep_of(self, directory: Path) -> tuple[str, str] | None:
        """Return the id and the name of the sweep to which a run belongs, None if it belongs to none."""
        parent = directory.parent
        return (self._id(parent), self.name(parent)) if self._id(parent) in self._found.sweeps else None

    def entry(self, run_id: str, directory: Path) -> RunEntry:
        """Return the entry of a run."""
        with self._lock:
            return self._entry(run_id, directory)

    def name(self, directory: Path) -> str:
        """Return the path of a run or a sweep relative to the folder."""
        relative = directory.relative_to(self.root).as_posix()
        return self.root.name if relative == "." else relative

    def video(self, directory: Path, spec: EpisodeSpec) -> Path | None:
        """Return the video of an episode; None if it does not exist, or if it is a link out of the folder."""
        path = Path(os.path.realpath(RunDirectory(directory).video_file(spec)))  # pathlib raises if links go round
        return path if path.is_relative_to(self.root) and path.is_file() else None

    def _look(self) -> _Found:
        """Find everything anew."""
        found = _Found()
        for directory, is_run in self._walk():
            (found.runs if is_run else found.sweeps)[self._id(directory)] = directory
        self._found = found
        return found

    def _walk(self) -> Iterator[tuple[Path, bool]]:
        """Find the directories of runs (true) and of sweeps (false)."""
        for place, folders, files in os.walk(self.root):
            directory = Path(place)
            if RUN_FILE in files:
                yield directory, True
                folders.clear()
                continue
            if SWEEP_FILE in files:
                yield directory, False
            if len(directory.relative_to(self.root).parts) >= _DEEPEST:
                folders.clear()
            else:
                folders[:] = [name for name in folders if not name.startswith(".")]

    def _runs_in(self, sweep: Path) -> list[Path]:
        """Find the runs of a sweep, among them those that began a moment ago."""
        found = [each for each in sweep.iterdir() if not each.is_symlink() and (each / RUN_FILE).exists()]
        self._found.runs.update({self._id(each): each for each in found})
        return found

    def _id(self, directory: Path) -> str:
        place = os.fsencode(directory.relative_to(self.root))
        return hashlib.sha256(place).hexdigest()[:16]

    def _check_files(self, directory: Path) -> None:
        for path in directory.iterdir():
            self._check_file(directory, path)

    def _check_file(self, directory: Path, path: Path) -> None:
        if not Path(os.path.realpath(path)).is_relative_to(self.root):  # as above
            raise ConfigError(f"{self.name(directory)} is not shown: its {path.name} is a link out of the folder.")
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"{self.name(directory)} is not shown: its {path.name} is neither file nor folder.")

    def _entry(self, run_id: str, directory: Path, until: float = math.inf) -> RunEntry:
        current, (before, known) = stamp(directory), self._entries.get(run_id, (None, None))
        if thread_time() > until:
            date = datetime.fromtimestamp(_began(directory), UTC).isoformat(timespec="seconds")
            return known or RunEntry(run_id, self.name(directory), str(directory), date, state="unread")
        was_running = known is not None and known.state == "running"
        if known is None or before != current or was_running:  # a writer that is killed changes no file
            known = self._read(run_id, directory)
            self._entries[run_id] = current, known
        return known

    def _read(self, run_id: str, directory: Path) -> RunEntry:
        name = self.name(directory)
        try:
            self._check_files(directory)
            return read_entry(run_id, name, directory)
        except ProctorError as error:
            return RunEntry(run_id, name, str(directory), problem=str(error))
        except Exception as error:  # noqa: BLE001 - whatever its files hold, the other runs are shown
            return RunEntry(
                run_id, name, str(directory), problem=f"It cannot be read ({type(error).__name__}: {error})."
            )

    def _sweep(self, sweep_id: str, directory: Path, runs: dict[Path, RunEntry]) -> SweepEntry:
        name, file = self.name(directory), directory / SWEEP_FILE
        inside = [(path.name, entry) for path, entry in runs.items() if path.parent == directory]
        try:
            self._check_file(directory, file)
        except ProctorError as error:
            return SweepEntry(sweep_id, name, directory, runs=tuple(entry for _, entry in inside), problem=str(error))
        return read_sweep(SweepEntry(sweep_id, name, directory), file, inside)


def stamp(directory: Path) -> Stamp:
    """Return a value that changes whenever files change that a page depends on: results, videos, locks."""
    return tuple(_state_of(path) for path in RunDirectory(directory).shown_files())


def _began(directory: Path) -> float:
    """Return the time at which a run was begun or continued, in seconds since the epoch; 0 if it is gone."""
    try:
        return (directory / RUN_FILE).stat().st_mtime
    except OSError:
        return 0.0


def _state_of(path: Path) -> tuple[str, int, int]:
    try:
        state = path.stat()
    except OSError:
        return path.name, -1, -1
    return path.name, state.st_size, state.st_mtime_ns
