"""The journal: every finished episode, one line each, in a file that is only ever appended to. This module reads it.

Each session of writing begins with a ``header`` (format version, fingerprint). The arrays of an episode, such as the
actions that it executed, are appended to a second file, and reach the disk before the line that refers to them does; so
a line that can be read can be replayed. The frame of a line is in :mod:`~proctor.results.journal_lines`, what lines
hold in :mod:`~proctor.results.journal_records`, the writing in :mod:`~proctor.results.journal_writer`.

What may happen to the file, and what follows:

- If the writer is killed while it appends, the last line is unfinished. Readers ignore that line; the next writer cuts
  it off.
- Damage costs the lines it touches and no others: each line is checked by itself. Damaged lines are counted.
- A disk that fills up takes the first part of a line *without an error*. The writer goes on writing until the error
  comes, then cuts both files back to the last complete record.

A line is never changed. Therefore a reader checks every line once, remembers its offset, and decodes the episode again
when it is asked for (:class:`EpisodeRecord`): a journal may hold a million episodes, which need not be in memory.

If an episode has several lines, :mod:`proctor.results.merge` decides which of them counts.
"""

from __future__ import annotations

import gc
import sys
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, overload

import msgspec
import numpy as np

from proctor.errors import ConfigError
from proctor.machine.files import open_to_read
from proctor.results.journal_lines import RECORD_END, read_lines
from proctor.results.journal_records import (
    FORMAT_VERSION,
    ArrayRef,
    EpisodeKey,
    EpisodeLine,
    Header,
    actions_file_of,
    decode,
)
from proctor.types import Array, EpisodeResult, Outcome


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the garbage collector while many objects are made that all stay.

    It looks at all objects again and again as their number grows, and finds none to free.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class JournalFile:
    """A journal that is open for reading single episodes, at any offset; opened when the first one is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _file(self) -> BinaryIO:
        file = open_to_read(self.path)
        weakref.finalize(self, file.close)
        return file

    def episode_at(self, offset: int) -> EpisodeLine:
        """Decode the episode whose record begins at ``offset``; the record was checked when the journal was read."""
        self._file.seek(offset)
        record = decode(self._file.readline().removesuffix(RECORD_END))
        assert isinstance(record, EpisodeLine)
        return record


class EpisodeRecord(msgspec.Struct, frozen=True, gc=False):
    """An episode of a journal: which one, how it ended, and the offset in ``journal`` at which the rest is recorded.

    There may be a million records, none of which refers to another one, so the garbage collector does not look at them.
    """

    key: EpisodeKey
    outcome: Outcome
    journal: JournalFile
    offset: int

    @property
    def result(self) -> EpisodeResult:
        """The result of the episode, read from the file each time."""
        return self.journal.episode_at(self.offset).result

    @property
    def arrays(self) -> dict[str, ArrayRef]:
        """The places of its arrays in :attr:`actions_file`, by name, read from the file each time."""
        line = self.journal.episode_at(self.offset)
        return line.arrays if line.actions is None else {"actions": line.actions, **line.arrays}

    @property
    def actions_file(self) -> Path:
        """The file that holds the arrays of the journal's episodes."""
        return actions_file_of(self.journal.path)


class RecordedResults(Sequence[EpisodeResult]):
    """The results of records, each read from its file when it is asked for."""

    def __init__(self, records: Sequence[EpisodeRecord]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> EpisodeResult: ...
    @overload
    def __getitem__(self, index: slice) -> RecordedResults: ...
    def __getitem__(self, index: int | slice) -> EpisodeResult | RecordedResults:
        found = self._records[index]
        return found.result if isinstance(found, EpisodeRecord) else RecordedResults(found)

    def __iter__(self) -> Iterator[EpisodeResult]:
        return (record.journal.episode_at(record.offset).result for record in self._records)


@dataclass(frozen=True, slots=True)
class Journal:
    """The content of a journal file, in the order it was written.

    ``headers`` has one entry per session. ``wall_s`` is the duration of all sessions together, each up to its last
    episode, and ``worker_s`` the same summed over the workers of each session; None if the number of workers of a
    session is not known. ``n_corrupt`` counts the damaged lines; an unfinished last line is not counted, because it may
    be being written at this moment. ``intact_bytes`` is the offset at which the last intact line ends. ``measured_by``
    are the headers of the sessions that ran an episode to its end.
    """

    path: Path
    headers: tuple[Header, ...] = ()
    episodes: tuple[EpisodeRecord, ...] = ()
    wall_s: float = 0.0
    n_corrupt: int = 0
    intact_bytes: int = 0
    worker_s: float | None = 0.0
    measured_by: tuple[Header, ...] = ()

    @property
    def header(self) -> Header | None:
        """The header of the last session; None if the file is empty or every header is damaged."""
        return self.headers[-1] if self.headers else None

    @property
    def measured(self) -> bool:
        """An episode was run to its end. An error is run again, so it binds no later session to its evaluation."""
        return any(episode.outcome is not Outcome.ERROR for episode in self.episodes)


def read_journal(path: Path) -> Journal:
    """Read everything in ``path`` that is intact; an empty journal if there is no such file.

    Damage is counted in the journal, never raised.

    Raises:
        ConfigError: the file cannot be read, or a newer version of Proctor wrote it.
    """
    headers: list[Header] = []
    episodes: list[EpisodeRecord] = []
    sessions: list[EpisodeLine | None] = []
    measured_by: list[Header] = []
    n_corrupt = intact_bytes = 0
    file = JournalFile(path)
    for line in read_lines(path):
        record = None if line.record is None else decode(line.record)
        intact_bytes = intact_bytes if line.record is None else line.end
        match record:
            case Header():
                headers.append(record)
                sessions.append(None)
            case EpisodeLine():
                spec, outcome = record.result.spec, record.result.outcome
                # The name of a suite is in memory once, however many episodes it has.
                key = EpisodeKey(sys.intern(spec.suite), spec.task_id, spec.episode_index)
                episodes.append(EpisodeRecord(key, outcome, file, line.begin))
                sessions[-1:] = [record]
                measured = outcome is not Outcome.ERROR  # an error is run again, and binds no session
                if measured and headers and measured_by[-1:] != headers[-1:]:
                    measured_by.append(headers[-1])
            case None:
                n_corrupt += 1
    _require_known_format(path, headers)
    return Journal(
        path,
        tuple(headers),
        tuple(episodes),
        sum(last.elapsed_s for last in sessions if last is not None),
        n_corrupt,
        intact_bytes,
        _worker_seconds(headers, sessions),
        tuple(measured_by),
    )


def _require_known_format(path: Path, headers: Sequence[Header]) -> None:
    if newer := [header for header in headers if header.format_version > FORMAT_VERSION]:
        raise ConfigError(
            f"{path} has format version {newer[0].format_version}, this Proctor reads up to {FORMAT_VERSION}: "
            "update Proctor to read it."
        )


def _worker_seconds(headers: Sequence[Header], last_lines: Sequence[EpisodeLine | None]) -> float | None:
    """Return the duration of the sessions, each up to its last line, summed over the workers of each session."""
    if len(headers) != len(last_lines) or not all(header.n_workers for header in headers):
        return None
    lasts = zip(headers, last_lines, strict=True)
    return sum(last.elapsed_s * (last.n_workers or header.n_workers) for header, last in lasts if last is not None)


def read_actions(record: EpisodeRecord) -> Array | None:
    """Read the actions an episode executed, ``(length, action_size)``; None if none were recorded.

    Raises:
        ConfigError: they are not in the actions file, or damaged there.
    """
    return read_array(record, "actions")


def read_array(record: EpisodeRecord, name: str) -> Array | None:
    """Read one of an episode's :data:`~proctor.types.EpisodeArrays`; None if the journal does not hold it.

    Raises:
        ConfigError: the array is not in the actions file, or damaged there.
    """
    if (ref := record.arrays.get(name)) is None:
        return None
    try:
        return np.frombuffer(_read_checked(record.actions_file, ref), ref.dtype).reshape(ref.shape)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"the recorded {name} cannot be read from {record.actions_file} ({error}); "
            "the result stands, but the episode cannot be replayed or drawn."
        ) from error


def _read_checked(path: Path, ref: ArrayRef) -> bytes:
    # The size is checked before memory is allocated: anybody may have written the reference.
    if min(ref.offset, ref.n_bytes) < 0 or ref.offset + ref.n_bytes > path.stat().st_size:
        raise ValueError("the file is too short")
    with open_to_read(path) as file:
        file.seek(ref.offset)
        content = file.read(ref.n_bytes)
    if zlib.crc32(content) != ref.crc32:
        raise ValueError("the checksum differs")
    return content
