"""The journal: every finished episode, one line each, in a file that is only ever appended to.

A line is JSON inside a frame that carries the CRC-32 of the record's own bytes::

    {"crc32":"5bd3a1f0","record":{"kind":"episode","result":{...},"actions":{"offset":0,...}}}

Each session of writing begins with a ``header`` (format version, fingerprint). The actions an episode executed are
appended to a second file, and reach the disk before the line that refers to them does; so a line that can be read can
be replayed.

What may happen to the file, and what follows:

- A kill in the middle of an append leaves an unfinished last line. Readers ignore it; the next writer cuts it off.
- Damage anywhere costs the lines it touches and no others: each is checked by itself. They are counted.
- A disk that fills up takes the first part of a line *without an error*. The writer goes on writing until the error
  comes, then cuts both files back to the last complete record.

A line is never changed. So what was read needs no memory: a reader checks every line once, keeps where it lies, and
decodes an episode again when it is asked for (:class:`EpisodeRecord`). A journal may hold a million.

What counts where an episode has several lines is decided in :mod:`proctor.results.merge`.
"""

from __future__ import annotations

import math
import os
import re
import sys
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, NamedTuple, Self, overload

import msgspec
import numpy as np

from proctor.errors import ConfigError, ResourceError
from proctor.results.files import sync_directory
from proctor.results.lock import FileLock
from proctor.types import Array, EpisodeResult, EpisodeSpec, Outcome

FORMAT_VERSION = 1

# fdatasync leaves out what a reader does not need (the modification time); macOS does not have it.
_sync = getattr(os, "fdatasync", os.fsync)


# ------------------------------------------------------------------------------------------------- what a line says


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    """Begins a session: what the following episodes are results of, and how many workers run them (0: not recorded)."""

    format_version: int
    fingerprint: dict[str, Any]
    n_workers: int = 0


class ActionsRef(msgspec.Struct, frozen=True):
    """Where in the actions file an episode's executed actions lie: an array ``(length, action_size)``."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    crc32: int

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class _Episode(msgspec.Struct, frozen=True, tag_field="kind", tag="episode"):
    elapsed_s: float
    result: EpisodeResult
    actions: ActionsRef | None


_FRAME_START, _FRAME_END = b'{"crc32":"', b"}\n"
_FRAME = re.compile(rb'\{"crc32":"([0-9a-f]{8})","record":(.*)\}\n', re.DOTALL)
_decode_record = msgspec.json.Decoder(Header | _Episode).decode


def _frame(record: Header | _Episode) -> bytes:
    raw = msgspec.json.encode(record)
    return b'{"crc32":"%08x","record":%b}\n' % (zlib.crc32(raw), raw)


def _unframe(line: bytes) -> bytes | None:
    """The record's bytes in a finished line, or None where it is damaged."""
    match = _FRAME.fullmatch(line)
    if match and match[1] == b"%08x" % zlib.crc32(match[2]):
        return match[2]
    return None


# ----------------------------------------------------------------------------------------------------------- reading


class EpisodeKey(NamedTuple):
    """What identifies an episode within one evaluation, in the order of the plan."""

    suite: str
    task_id: int
    episode_index: int


def key_of(spec: EpisodeSpec) -> EpisodeKey:
    return EpisodeKey(spec.suite, spec.task_id, spec.episode_index)


class _JournalFile:
    """Reads episodes out of a journal, anywhere in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _file(self) -> BinaryIO:
        file = self.path.open("rb")
        weakref.finalize(self, file.close)
        return file

    def episode_at(self, offset: int) -> _Episode:
        """The episode whose record begins there. It was checked when the journal was read, and lines never change."""
        self._file.seek(offset)
        record = _decode_record(self._file.readline().removesuffix(_FRAME_END))
        assert isinstance(record, _Episode)
        return record


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One episode of a journal: which one, how it ended, and where the file has the rest."""

    key: EpisodeKey
    outcome: Outcome
    _journal: _JournalFile
    _offset: int

    @property
    def result(self) -> EpisodeResult:
        """Read from the file each time."""
        return self._journal.episode_at(self._offset).result

    @property
    def actions(self) -> ActionsRef | None:
        """Where in :attr:`actions_file` its actions are; read from the file each time."""
        return self._journal.episode_at(self._offset).actions

    @property
    def actions_file(self) -> Path:
        return _actions_file(self._journal.path)


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


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal file holds, in the order it was written.

    ``headers`` has one entry per session, ``wall_s`` is how long they took together, each up to its last episode, and
    ``worker_s`` what that makes for all workers, None where it is not known how many there were. ``n_corrupt`` counts
    the damaged lines; an unfinished last one is not counted, it may be being written at this moment. ``intact_bytes``
    is where the last intact line ends. ``measured_by`` are the headers of the sessions that ran an episode to its end.
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
        """Of the last session; None where the file is empty or every header damaged."""
        return self.headers[-1] if self.headers else None

    @property
    def measured(self) -> bool:
        """Whether an episode was run to its end. An error is run again, so it binds nobody to what it was run with."""
        return any(episode.outcome is not Outcome.ERROR for episode in self.episodes)


def read_journal(path: Path) -> Journal:
    """Everything in ``path`` that is intact; nothing where there is no such file. Damage is counted, never raised.

    Raises:
        ConfigError: a newer version of Proctor wrote the file.
    """
    headers: list[Header] = []
    episodes: list[EpisodeRecord] = []
    sessions: list[float] = []
    measured_by: list[Header] = []
    n_corrupt = intact_bytes = 0
    file = _JournalFile(path)
    for line in _lines(path):
        record = None if line.raw is None else _read_record(line.raw)
        intact_bytes = intact_bytes if line.raw is None else line.end
        match record:
            case Header():
                headers.append(record)
                sessions.append(0.0)
            case _Episode():
                key = _interned(key_of(record.result.spec))
                episodes.append(EpisodeRecord(key, record.result.outcome, file, line.begin))
                sessions[-1:] = [record.elapsed_s]
                measured = record.result.outcome is not Outcome.ERROR  # an error is run again, and binds nobody
                if measured and headers and measured_by[-1:] != headers[-1:]:
                    measured_by.append(headers[-1])
            case None:
                n_corrupt += 1
    if newer := [header for header in headers if header.format_version > FORMAT_VERSION]:
        raise ConfigError(
            f"{path} has format version {newer[0].format_version}, this Proctor reads up to {FORMAT_VERSION}: "
            "update Proctor to read it."
        )
    return Journal(
        path,
        tuple(headers),
        tuple(episodes),
        sum(sessions),
        n_corrupt,
        intact_bytes,
        _worker_seconds(headers, sessions),
        tuple(measured_by),
    )


def _worker_seconds(headers: Sequence[Header], sessions: Sequence[float]) -> float | None:
    if len(headers) != len(sessions) or not all(header.n_workers for header in headers):
        return None
    return sum(header.n_workers * seconds for header, seconds in zip(headers, sessions, strict=True))


def read_journals(directory: Path) -> list[Journal]:
    """Every journal of a run directory: that of a single run, or those of its shards."""
    return [read_journal(path) for path in sorted(directory.glob("journal*.jsonl"))]


def read_actions(record: EpisodeRecord) -> Array | None:
    """The actions an episode executed, ``(length, action_size)``; None where none were recorded.

    Raises:
        ConfigError: they are not in the actions file, or damaged there.
    """
    if (ref := record.actions) is None:
        return None
    try:
        return np.frombuffer(_read_checked(record.actions_file, ref), ref.dtype).reshape(ref.shape)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"the recorded actions cannot be read from {record.actions_file} ({error}); "
            "the result stands, but the episode cannot be replayed."
        ) from error


def _read_checked(path: Path, ref: ActionsRef) -> bytes:
    # Nothing is allocated for what the file cannot hold: the reference may be anybody's.
    if min(ref.offset, ref.n_bytes) < 0 or ref.offset + ref.n_bytes > path.stat().st_size:
        raise ValueError("the file is too short")
    with path.open("rb") as file:
        file.seek(ref.offset)
        content = file.read(ref.n_bytes)
    if zlib.crc32(content) != ref.crc32:
        raise ValueError("the checksum differs")
    return content


class _Line(NamedTuple):
    """Where a finished line ends, and its record: where that begins and its bytes, None where it is damaged."""

    end: int
    begin: int = 0
    raw: bytes | None = None


def _lines(path: Path) -> Iterator[_Line]:
    if not path.exists():
        return
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            if (raw := _unframe(line)) is None:
                yield _Line(end)
                # Where a newline was what got damaged, a whole line follows in what looks like one.
                raw = _unframe(line[rest:]) if (rest := line.rfind(_FRAME_START)) > 0 else None
            if raw is not None:
                yield _Line(end, end - len(_FRAME_END) - len(raw), raw)


def _read_record(raw: bytes) -> Header | _Episode | None:
    try:
        record: Header | _Episode = _decode_record(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return record


def _interned(key: EpisodeKey) -> EpisodeKey:
    """With the suite's name in memory once, however many episodes it has."""
    return key._replace(suite=sys.intern(key.suite))


def _actions_file(journal: Path) -> Path:
    return journal.with_suffix(".actions.bin")


# ----------------------------------------------------------------------------------------------------------- writing


class JournalWriter:
    """Appends to ``<stem>.jsonl`` and ``<stem>.actions.bin`` in ``directory``; a context manager, one per stem.

    ``journal`` is what the file held when it was opened: what need not run again. ``n_workers`` will run the rest.

    Raises:
        RunLockedError: another process has it open; names the holder.
        ResourceError: the files cannot be created.
    """

    def __init__(
        self, directory: Path, fingerprint: Mapping[str, Any], stem: str = "journal", n_workers: int = 0
    ) -> None:
        self.directory, self.n_workers = directory, n_workers
        self._lock = FileLock(directory / f"{stem}.lock")
        self._files: list[_AppendOnly] = []
        self._opened = monotonic()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._open(directory / f"{stem}.jsonl", Header(FORMAT_VERSION, dict(fingerprint), n_workers))
        except OSError as error:
            self.close()
            raise ResourceError(f"{directory} cannot be written to: {error.strerror}.") from error
        except BaseException:
            self.close()
            raise

    @property
    def n_episodes(self) -> int:
        """How many episodes have a record."""
        return len(self._kept)

    def append(self, result: EpisodeResult, actions: Array | None) -> None:
        """Keep an episode and the actions it executed, ``(length, action_size)``. On disk when this returns.

        Raises:
            ResourceError: the disk is full. Both files are as they were before the call.
        """
        ref, content = None, b""
        if actions is not None:
            content = actions.tobytes()
            ref = ActionsRef(self._actions.size, actions.shape, actions.dtype.str, zlib.crc32(content))
        self._append(_Episode(monotonic() - self._opened, _encodable(result), ref), content)
        self._kept.add(key_of(result.spec))

    def close(self) -> None:
        """Close the files and let the next writer in. What was appended is on disk already."""
        for file in self._files:
            file.close()
        self._files.clear()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, path: Path, header: Header) -> None:
        self.journal = read_journal(path)
        self._kept = {record.key for record in self.journal.episodes}
        self._lines = _AppendOnly(path)
        self._files.append(self._lines)
        self._actions = _AppendOnly(_actions_file(path))
        self._files.append(self._actions)
        self._lines.cut(self.journal.intact_bytes)
        sync_directory(self.directory)
        self._append(header, b"")

    def _append(self, record: Header | _Episode, actions: bytes) -> None:
        before = [(file, file.size) for file in self._files]
        try:
            if actions:
                self._actions.append(actions)
            self._lines.append(_frame(record))
        except OSError as error:
            for file, size in before:
                file.cut(size)
            failure = ResourceError(
                f"The journal cannot be written ({error.strerror}). Episodes kept: {self.n_episodes}."
            )
            failure.hint = f"Make room and go on with: proctor resume {self.directory}"
            raise failure from error


class _AppendOnly:
    """A file that grows at its end and can be cut back. ``size`` is what is known to be complete."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.size = os.fstat(self._fd).st_size

    def append(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._fd, rest) :]  # a short write is no error; the next one says what is wrong
        _sync(self._fd)
        self.size += len(content)

    def cut(self, size: int) -> None:
        """Back to ``size`` bytes; works on a full disk."""
        os.ftruncate(self._fd, size)
        self.size = size

    def close(self) -> None:
        os.close(self._fd)


def _encodable(result: EpisodeResult) -> EpisodeResult:
    """``result`` with error texts that UTF-8 can hold: a traceback may quote a file name that it cannot."""
    return replace(
        result,
        errors=tuple(
            replace(error, message=_clean(error.message), traceback=_clean(error.traceback)) for error in result.errors
        ),
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
