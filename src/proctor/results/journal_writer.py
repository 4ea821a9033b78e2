"""The writing of a journal: one session appends lines and arrays, and gives the lock back when it ends.

Episodes are written in groups, on a thread, so that nothing waits for the disk while the next group is collected. A
group is on disk once :meth:`JournalWriter.end_sync` returns: its arrays are written with one call and synced, and then
its lines in the same way. If the disk becomes full, both files end where they ended before the group.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
        self._group: list[EpisodeRecord] = []
        """The records of the episodes that were added since the last call of :meth:`begin_sync`."""
        self._written: list[EpisodeRecord] = []
        """The records that the thread writes."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._writing: Future[None] | None = None
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
        refs = {}
        for name, array in (arrays or {}).items():
            refs[name] = ArrayRef(self._arrays.end, array.shape, array.dtype, zlib.crc32(array.data))
            self._arrays.add(array.data)
        key, begin = key_of(result.spec), self._lines.end + RECORD_BEGIN
        line = EpisodeLine(
            monotonic() - self._began, _encodable(result), refs.pop("actions", None), refs, self.n_workers
        )
        self._lines.add(to_line(encode(line)))
        self._group.append(EpisodeRecord(key, result.outcome, self._reader, begin))

    @property
    def is_syncing(self) -> bool:
        """True while a group is being written."""
        return self._writing is not None and not self._writing.done()

    def begin_sync(self) -> None:
        """Have the group written, and begin another one. A group that is still being written is waited for first.

        Raises:
            ResourceError: see :meth:`end_sync`.
        """
        self.end_sync()
        self._written, self._group = self._group, []
        self._writing = self._thread.submit(self._write, *(file.taken() for file in (self._arrays, self._lines)))

    def end_sync(self) -> None:
        """Wait until the group that is being written, if one is, is on disk.

        Raises:
            ResourceError: the disk is full. Both files are as they were before the group, which is dropped, together
                with what was added since it was begun.
        """
        if self._writing is None:
            return
        try:
            self._writing.result()
        except Exception:
            self._writing = None
            self._group.clear()
            for file in self._files:
                file.drop()
            raise
        self._writing = None
        for record in self._written:
            self.appended[record.key] = record
            self._keys.add(record.key)

    def sync(self) -> None:
        """Write the group, which is on disk when this returns, and begin another one.

        Raises:
            ResourceError: see :meth:`end_sync`.
        """
        self.begin_sync()
        self.end_sync()

    def close(self) -> None:
        """Close the files and release the lock. What was added and is not being written is dropped."""
        self._thread.shutdown()
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
        self._lines.drop()
        sync_directory(self._directory)
        self._lines.add(to_line(encode(header)))
        self._write(b"", self._lines.taken())

    def _close_files(self) -> None:
        for file in self._files:
            file.close()
        self._files.clear()

    def _write(self, arrays: bytes | bytearray, lines: bytes | bytearray) -> None:
        before = [(file, file.size) for file in self._files]
        try:
            self._arrays.write(arrays)  # before the lines that refer to them, so that a line can be trusted
            self._lines.write(lines)
        except OSError as error:
            for file, size in before:
                file.cut(size)
            failure = ResourceError(
                f"The journal cannot be written ({error.strerror}). Episodes kept: {self.n_episodes}."
            )
            failure.hint = f"Make room and go on with: proctor resume {self._directory}"
            raise failure from error


class _AppendOnly:
    """A file that grows at its end and can be cut back.

    ``size`` is the number of bytes known to be complete, and ``end`` the offset of what is added next, in bytes.
    """

    def __init__(self, path: Path) -> None:
        self._fd = open_own(path, os.O_WRONLY | os.O_APPEND)
        self.size = self.end = os.fstat(self._fd).st_size
        self._added = bytearray()

    def add(self, content: bytes) -> None:
        """Add bytes to those that :meth:`taken` will return."""
        self._added += content
        self.end += len(content)

    def taken(self) -> bytearray:
        """Return what was added since the last call, which :meth:`write` is to write."""
        taken, self._added = self._added, bytearray()
        return taken

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

    def drop(self) -> None:
        """Drop what was added and not taken; what is added next follows the complete bytes."""
        self._added.clear()
        self.end = self.size

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
