"""The writing of a journal: one session appends lines and arrays, and gives the lock back when it ends.

Episodes are written in groups. A group is on disk once :meth:`JournalWriter.sync` returns: its arrays are written with
one call and synced, and then its lines in the same way. If the disk becomes full, both files end where they ended
before the group.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Self

import msgspec

from proctor.errors import ConfigError, ResourceError
from proctor.machine.files import open_own
from proctor.results.files import sync_directory
from proctor.results.journal import EpisodeRecord, Journal, JournalFile
from proctor.results.journal_lines import RECORD_BEGIN, RECORD_START, to_line
from proctor.results.journal_records import (
    ArrayRef,
    EpisodeKey,
    EpisodeLine,
    Header,
    actions_file_of,
    encode,
    key_of,
)
from proctor.results.lock import FileLock
from proctor.types import EpisodeArrays, EpisodeResult

# fdatasync leaves out what a reader does not need (the modification time); macOS does not have it.
_sync = getattr(os, "fdatasync", os.fsync)


class JournalWriter:
    """Appends to a journal and its actions file; a context manager. Made by :meth:`RunDirectory.open_journal`.

    ``found`` are all journals of the directory as they were when the lock was taken, and ``previous`` is the one among
    them that this writer continues. ``appended`` are the records of this session. ``n_workers`` is the largest number
    of workers that there have been at a time, which the owner sets, and ``most_workers`` is the number in the header.
    The writer releases ``lock``, which the caller has acquired, when it is closed.

    Raises:
        ConfigError: the file of the journal is none.
        OSError: the files cannot be created.
        ResourceError: the header cannot be written.
    """

    def __init__(self, path: Path, header: Header, found: Sequence[Journal], lock: FileLock) -> None:
        self.found = tuple(found)
        self.most_workers, self.n_workers = header.n_workers, 0
        self.previous = next((journal for journal in found if journal.path == path), Journal(path))
        self.appended: dict[EpisodeKey, EpisodeRecord] = {}
        self._keys = {record.key for record in self.previous.episodes}
        self._directory, self._reader, self._lock = path.parent, JournalFile(path), lock
        self._files: list[_AppendOnly] = []
        self._group: list[EpisodeRecord] = []
        """The records of the episodes that were added since the last call of :meth:`sync`."""
        self._began = monotonic()
        try:
            self._open(path, header)
        except BaseException:
            self._close_files()
            raise

    @property
    def n_episodes(self) -> int:
        """The number of episodes that have a record in this journal."""
        return len(self._keys)

    def append(self, result: EpisodeResult, arrays: EpisodeArrays | None) -> None:
        """Write an episode and its arrays, after those that were added before; on disk when this returns.

        Raises:
            ResourceError: see :meth:`sync`.
        """
        self.add(result, arrays)
        self.sync()

    def add(self, result: EpisodeResult, arrays: EpisodeArrays | None) -> None:
        """Put an episode that has just finished, and its arrays, into the group that :meth:`sync` will write.

        Until then the group is in memory, and the episode is not among those that :attr:`appended` has.
        """
        refs = {}
        for name, array in (arrays or {}).items():
            content = array.tobytes()
            refs[name] = ArrayRef(self._arrays.end, array.shape, array.dtype.str, zlib.crc32(content))
            self._arrays.add(content)
        key, begin = key_of(result.spec), self._lines.end + RECORD_BEGIN
        line = EpisodeLine(
            monotonic() - self._began, _encodable(result), refs.pop("actions", None), refs, self.n_workers
        )
        self._lines.add(to_line(encode(line)))
        self._group.append(EpisodeRecord(key, result.outcome, self._reader, begin))

    def sync(self) -> None:
        """Write the group, which is on disk when this returns, and begin another one.

        Raises:
            ResourceError: the disk is full. Both files are as they were before the group, which is dropped.
        """
        group, self._group = self._group, []
        self._write()
        for record in group:
            self.appended[record.key] = record
            self._keys.add(record.key)

    def close(self) -> None:
        """Close the files and release the lock. What was added and not synced is dropped."""
        self._close_files()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, path: Path, header: Header) -> None:
        _require_journal(self.previous)
        self._lines = _AppendOnly(path)
        self._files.append(self._lines)
        self._arrays = _AppendOnly(actions_file_of(path))
        self._files.append(self._arrays)
        self._lines.cut(self.previous.intact_bytes)
        sync_directory(self._directory)
        self._lines.add(to_line(encode(header)))
        self._write()

    def _close_files(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()

    def _write(self) -> None:
        before = [(file, file.size) for file in self._files]
        try:
            self._arrays.write()  # before the lines that refer to them, so that a line can be trusted
            self._lines.write()
        except OSError as error:
            for file, size in before:
                file.cut(size)
            failure = ResourceError(
                f"The journal cannot be written ({error.strerror}). Episodes kept: {self.n_episodes}."
            )
            failure.hint = f"Make room and go on with: proctor resume {self._directory}"
            raise failure from error


class _AppendOnly:
    """A file that grows at its end and can be cut back; ``size`` is the number of bytes known to be complete."""

    def __init__(self, path: Path) -> None:
        self._fd = open_own(path, os.O_WRONLY | os.O_APPEND)
        self.size = os.fstat(self._fd).st_size
        self._unwritten = bytearray()

    @property
    def end(self) -> int:
        """The offset of what is added next."""
        return self.size + len(self._unwritten)

    def add(self, content: bytes) -> None:
        """Put bytes among those that :meth:`write` will write."""
        self._unwritten += content

    def write(self) -> None:
        """Write and sync what was added, if anything was."""
        if not self._unwritten:
            return
        rest = memoryview(self._unwritten)
        while rest:
            rest = rest[os.write(self._fd, rest) :]  # a short write is not an error; the next one raises it
        _sync(self._fd)
        self.size = self.end
        self._unwritten = bytearray()

    def cut(self, size: int) -> None:
        """Shorten the file to ``size`` bytes, which works on a full disk too, and drop what was not written."""
        os.ftruncate(self._fd, size)
        self.size = size
        self._unwritten = bytearray()

    def close(self) -> None:
        os.close(self._fd)


def _require_journal(found: Journal) -> None:
    """Refuse a file that has content but no intact line of a journal, because the content would be cut off.

    Raises:
        ConfigError: there is such a file. An unfinished first line, of a writer that was killed, is accepted.
    """
    if found.intact_bytes or not found.path.exists():
        return
    content = found.path.read_bytes()
    begun = RECORD_START.startswith(content[: len(RECORD_START)]) and b"\n" not in content
    if content.strip(b"\0") and not begun:
        raise ConfigError(
            f"{found.path} holds no intact line of a journal, so it may be somebody else's file; "
            "move it away, or choose another --output_dir."
        )


def _encodable(result: EpisodeResult) -> EpisodeResult:
    """Replace what UTF-8 cannot hold in error texts: a traceback may quote a file name that UTF-8 cannot hold."""
    if not result.errors:
        return result
    return msgspec.structs.replace(
        result,
        errors=tuple(
            msgspec.structs.replace(error, message=_clean(error.message), traceback=_clean(error.traceback))
            for error in result.errors
        ),
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
