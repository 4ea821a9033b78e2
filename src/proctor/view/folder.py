"""A folder of runs: finds them, and makes the entry of each for the index.

A run's id is a digest of its path in the folder, and requests name runs by this id alone, so no path comes from a
request. A link that leads out of the folder is not followed, and a run that holds one is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from proctor.errors import ConfigError, ProctorError
from proctor.reports.text import mean_reward, policy_name
from proctor.results.headline import headline_of
from proctor.results.run_dir import RUN_FILE, RunDirectory
from proctor.results.run_info import RunInfo
from proctor.results.run_status import RunStatus
from proctor.results.summary import Summary, load_summary
from proctor.statistics.intervals import Interval
from proctor.types import EpisodeSpec

_DEEPEST = 6
"""The depth of subfolders in which runs are looked for; ``outputs/eval/<date>/<time>_<job>`` is four."""

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class RunEntry:
    """A run as the index shows it.

    ``reward`` is its mean reward if the success of an episode is unknown, else "". ``rate`` is in 0 to 1. ``problem``
    is the reason why the run cannot be read, else "".
    """

    id: str
    name: str
    date: str = ""
    benchmark: str = ""
    tasks: str = ""
    policy: str = ""
    state: str = ""
    n_completed: int = 0
    n_planned: int = 0
    n_errors: int = 0
    rate: float | None = None
    interval: Interval | None = None
    reward: str = ""
    problem: str = ""


class RunFolder:
    """The runs in the folder ``root`` and its subfolders."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._directories: dict[str, Path] = {}
        self._entries: dict[str, tuple[Stamp, RunEntry]] = {}
        self._lock = Lock()

    def entries(self) -> list[RunEntry]:
        """Return all runs, the newest first. Runs that have not changed since the last call are not read again."""
        with self._lock:
            self._directories = {self._id(directory): directory for directory in self._find()}
            found = [self._entry(run_id, directory) for run_id, directory in self._directories.items()]
        return sorted(found, key=lambda entry: (entry.date, entry.name), reverse=True)

    def directory(self, run_id: str) -> Path:
        """Return the directory of a run.

        Raises:
            KeyError: there is no such run.
            ConfigError: the run holds a link out of the folder, or something that is neither file nor folder.
        """
        if run_id not in self._directories:
            self._directories = {self._id(directory): directory for directory in self._find()}
        self._check_files(self._directories[run_id])
        return self._directories[run_id]

    def name(self, directory: Path) -> str:
        """Return the path of a run relative to the folder."""
        relative = directory.relative_to(self.root).as_posix()
        return self.root.name if relative == "." else relative

    def video(self, directory: Path, spec: EpisodeSpec) -> Path | None:
        """Return the video of an episode; None if it does not exist, or if it is a link out of the folder."""
        path = RunDirectory(directory).video_file(spec).resolve()
        return path if path.is_relative_to(self.root) and path.is_file() else None

    def _find(self) -> Iterator[Path]:
        for place, folders, files in os.walk(self.root):
            directory = Path(place)
            if RUN_FILE in files:
                yield directory
                folders.clear()
            elif len(directory.relative_to(self.root).parts) >= _DEEPEST:
                folders.clear()
            else:
                folders[:] = [name for name in folders if not name.startswith(".")]

    def _id(self, directory: Path) -> str:
        place = os.fsencode(directory.relative_to(self.root))
        return hashlib.sha256(place).hexdigest()[:16]

    def _check_files(self, directory: Path) -> None:
        for path in directory.iterdir():
            if not path.resolve().is_relative_to(self.root):
                raise ConfigError(f"{self.name(directory)} is not shown: its {path.name} is a link out of the folder.")
            if path.exists() and not path.is_file() and not path.is_dir():
                raise ConfigError(f"{self.name(directory)} is not shown: its {path.name} is neither file nor folder.")

    def _entry(self, run_id: str, directory: Path) -> RunEntry:
        current = stamp(directory)
        if run_id not in self._entries or self._entries[run_id][0] != current:
            self._entries[run_id] = current, self._read(run_id, directory)
        return self._entries[run_id][1]

    def _read(self, run_id: str, directory: Path) -> RunEntry:
        name = self.name(directory)
        try:
            self._check_files(directory)
            run, summary = load_summary(directory)
        except ProctorError as error:
            return RunEntry(run_id, name, problem=str(error))
        return _entry_of(run_id, name, run, summary, live=RunStatus.of(directory).is_live)


def _entry_of(run_id: str, name: str, run: RunInfo, summary: Summary, *, live: bool) -> RunEntry:
    policy, env = run.config.get("policy", {}), run.config.get("env", {})
    counts = summary.overall
    shown = headline_of(summary)
    return RunEntry(
        run_id,
        name,
        date=run.provenance.date,
        benchmark=str(env.get("type", "")),
        tasks=str(env.get("task") or ""),
        policy=policy_name(policy),
        state="running" if live else "finished" if summary.complete else "unfinished",
        n_completed=counts.n_completed,
        n_planned=counts.n_planned,
        n_errors=counts.n_errors,
        rate=shown.rate if shown else None,
        interval=shown.interval if shown else None,
        reward=mean_reward(counts) if counts.n_unknown else "",
    )


def stamp(directory: Path) -> Stamp:
    """Return a value that changes whenever files change that a page depends on: results, videos, locks."""
    return tuple(_state_of(path) for path in RunDirectory(directory).shown_files())


def _state_of(path: Path) -> tuple[str, int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return path.name, -1, -1
    return path.name, state.st_size, state.st_mtime_ns
