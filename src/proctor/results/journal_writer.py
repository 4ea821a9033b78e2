"""The writing of a journal: one session appends lines and arrays, and gives the lock back when it ends.

Episodes are written in groups, on a thread, so that nothing waits for the disk while the next group is collected. A
group is on disk once :meth:`JournalWriter.end_sync` returns: its arrays are written with one call and synced, and then
its lines in the same way. If the disk becomes full, both files end where they ended before the group.

A signal's exception may come between any two calls (a user's second Ctrl-C), and what is counted must be on disk then,
too. So a group is handed to the thread as one object, and only functions written in C hand it over and wait for it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Self

import msgspec

from proctor.errors import ConfigError, ResourceError
from proctor.machine.files import open_own, read_file
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
from proctor.types import EpisodeResult, PackedArrays

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
        self._group: _Group
        """The episodes that were added since the last call of :meth:`begin_sync`."""
        self._writing: _Group | None = None
        """The group that the thread writes, until :meth:`end_sync` has found it finished."""
        self._to_write: SimpleQueue[_Group | None] = SimpleQueue()
        self._broken: ResourceError | None = None
        """Why nothing can be written any more: a file ends in half a group."""
        self._thread = Thread(target=self._write_groups, name="journal", daemon=True)
        self._began = monotonic()
        try:
            self._open(path, header)
            self._thread.start()
        except BaseException:
            self._close_files()
            raise

    @property
    def n_episodes(self) -> int:
        """The number of episodes that have a record in this journal."""
        return len(self._keys)

    def append(self, result: EpisodeResult, arrays: PackedArrays | None) -> None:
        """Write an episode and its arrays, after those that were added before; on disk when this returns.

        Raises:
            ResourceError: see :meth:`sync`.
        """
        self.add(result, arrays)
        self.sync()

    def add(self, result: EpisodeResult, arrays: PackedArrays | None) -> None:
        """Put an episode that has just finished, and its arrays, into the group that :meth:`sync` will write.

        Until then the group is in memory, and the episode is not among those that :attr:`appended` has.
        """
        group, refs = self._group, {}
        for name, array in (arrays or {}).items():
            refs[name] = ArrayRef(group.end_of_arrays, array.shape, array.dtype, zlib.crc32(array.data))
            group.arrays += array.data
        key, begin = key_of(result.spec), group.end_of_lines + RECORD_BEGIN
        line = EpisodeLine(
            monotonic() - self._began, _encodable(result), refs.pop("actions", None), refs, self.n_workers
        )
        group.lines += to_line(encode(line))
        group.records.append(EpisodeRecord(key, result.outcome, self._reader, begin))

    @property
    def is_syncing(self) -> bool:
        """True while a group is being written."""
        return self._writing is not None and not self._writing.finished

    def begin_sync(self) -> None:
        """Have the group written, and begin another one. A group that is still being written is waited for first.

        Raises:
            ResourceError: see :meth:`end_sync`.
        """
        self.end_sync()
        if not self._group.records:
            return
        following = _Group(self._group.end_of_arrays, self._group.end_of_lines)
        self._writing, self._group = self._group, following
        self._to_write.put(self._writing)

    def end_sync(self) -> None:
        """Wait until the group that is being written, if one is, is on disk.

        Raises:
            ResourceError: the disk is full. Both files are as they were before the group, which is dropped, together
                with what was added since it was begun.
        """
        if (group := self._writing) is None:
            return
        if not group.finished:
            self._to_write.put(group)  # again: an exception may have come between, and the thread writes it only once
            group.writing.acquire()
        if group.error is not None:
            self._writing, self._group = None, self._group_at_end()
            raise group.error
        for record in group.records:
            self.appended[record.key] = record
            self._keys.add(record.key)
        self._writing = None

    def sync(self) -> None:
        """Write the group, which is on disk when this returns, and begin another one.

        Raises:
            ResourceError: see :meth:`end_sync`.
        """
        self.begin_sync()
        self.end_sync()

    def close(self) -> None:
        """Close the files and release the lock. What was added and is not being written is dropped."""
        self._to_write.put(None)
        try:
            self._thread.join()
        finally:
            self._thread.join()  # no file is closed that is being written, even if a signal's exception came
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
        self._write(b"", to_line(encode(header)))
        self._group = self._group_at_end()

    def _group_at_end(self) -> _Group:
        """Return an empty group at the end of what is on disk; to be called while nothing is written."""
        return _Group(self._arrays.size, self._lines.size)

    def _close_files(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()

    def _write_groups(self) -> None:
        """Write the groups that come, each once, until None comes; runs on a thread."""
        while (group := self._to_write.get()) is not None:
            if group.finished:
                continue
            try:
                self._write(group.arrays, group.lines)
            except Exception as error:  # noqa: BLE001 - raised where the group is waited for
                group.error = error
            group.finished = True
            group.writing.release()

    def _write(self, arrays: bytes | bytearray, lines: bytes | bytearray) -> None:
        if self._broken is not None:
            raise self._broken
        before = [(file, file.size) for file in self._files]
        try:
            self._arrays.write(arrays)  # before the lines that refer to them, so that a line can be trusted
            self._lines.write(lines)
        except OSError as error:
            failure = ResourceError(
                f"The journal cannot be written ({error.strerror}). Episodes kept: {self.n_episodes}."
            )
            failure.hint = f"Make room and go on with: proctor resume {self._directory}"
            try:
                for file, size in before:
                    file.cut(size)
            except OSError:
                self._broken = failure
            raise failure from error


class _Group:
    """Episodes that are written together: their records, and what is appended to both files, at these offsets.

    ``finished`` is true once the group is on disk, or ``error`` says why it is not; ``writing`` is locked until then.
    """

    def __init__(self, begin_of_arrays: int, begin_of_lines: int) -> None:
        self.records: list[EpisodeRecord] = []
        self.arrays, self.lines = bytearray(), bytearray()
        self._begin_of_arrays, self._begin_of_lines = begin_of_arrays, begin_of_lines
        self.finished = False
        self.error: Exception | None = None
        self.writing = Lock()
        self.writing.acquire()

    @property
    def end_of_arrays(self) -> int:
        return self._begin_of_arrays + len(self.arrays)

    @property
    def end_of_lines(self) -> int:
        return self._begin_of_lines + len(self.lines)


class _AppendOnly:
    """A file that grows at its end and can be cut back; ``size`` is the number of bytes known to be complete."""

    def __init__(self, path: Path) -> None:
        self._fd = open_own(path, os.O_WRONLY | os.O_APPEND)
        self.size = os.fstat(self._fd).st_size

    def write(self, content: bytes | bytearray) -> None:
        """Write bytes and sync them, if there are any."""
        if not content:
            return
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._fd, rest) :]  # a short write is not an error; the next one raises it
        _sync(self._fd)
        self.size += len(content)

    def cut(self, size: int) -> None:
        """Shorten the file to ``size`` bytes, which works on a full disk too."""
        os.ftruncate(self._fd, size)
        self.size = size

    def close(self) -> None:
        os.close(self._fd)


def _require_journal(found: Journal) -> None:
    """Refuse a file that has content but no intact line of a journal, because the content would be cut off.

    Raises:
        ConfigError: there is such a file. An unfinished first line, of a writer that was killed, is accepted.
    """
    if found.intact_bytes or not found.path.exists():
        return
    content = read_file(found.path)
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
