"""Messages through files in the run directory, for clusters whose nodes cannot reach the driver.

For each start of a shard there is a folder that only the user can read. The job appends its messages to
``reports_R``, in which R counts how often Slurm has put the job back into its queue; the driver appends orders to
``orders_R``. If several machines share a file system, a process that opens a file sees what was written before another
process closed it, so either side opens the file each time. An empty message is a sign of life; a side that gives none
for :data:`_PATIENCE_S` is gone.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import ClassVar

from proctor.errors import ResourceError
from proctor.parallel.launchers.slurm.hub import CLOSED, LARGEST_MESSAGE, OPENED, Happening

_LOOK_S = 0.5
"""Seconds between two looks at a file."""
_SIGN_OF_LIFE_S = 10.0
_PATIENCE_S = 180.0
"""Seconds without a sign of life after which the driver is gone. Some file systems show a change a minute late."""
_LENGTH = struct.Struct("<I")
_SIGN_OF_LIFE, _END = b"", b"\0"
"""Two messages of the files' own; every other one is a map or an array of MessagePack, which no byte 0 begins."""
_REPORTS = re.compile(r"reports_(\d+)")


@dataclass(frozen=True, slots=True)
class FolderAddress:
    """The folder through which one start of a shard and the driver exchange messages."""

    folder: str
    status_s: ClassVar[float] = 2.0

    def connect(self) -> FolderChannel:
        """Create this job's file of reports.

        Raises:
            OSError: this node does not see the folder, because the driver is gone or no file system is shared.
        """
        n_requeued = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        return FolderChannel(Path(self.folder), n_requeued)


class FolderChannel:
    """A job's two files."""

    def __init__(self, folder: Path, n_requeued: int) -> None:
        self._reports = folder / f"reports_{n_requeued}"
        self._orders = _Followed(folder / f"orders_{n_requeued}")
        self.send(_SIGN_OF_LIFE)

    def send(self, message: bytes) -> None:
        _append(self._reports, message)

    def messages(self) -> Iterator[bytes]:
        last_sign = monotonic()
        while monotonic() - last_sign < _PATIENCE_S:
            for message in self._orders.new():
                last_sign = monotonic()
                if message == _END:
                    return
                if message:
                    yield message
            sleep(_LOOK_S)

    def close(self) -> None:
        with suppress(OSError):
            self.send(_END)


@dataclass(slots=True)
class _Mailbox:
    """The driver's side of one start of a shard: its folder, and the pair of files of the latest job in it."""

    folder: Path
    n_requeued: int = -1
    orders: Path | None = None
    reports: _Followed | None = None
    last_sign: float = field(default_factory=monotonic)

    def send(self, message: bytes) -> None:
        """Append a message to the orders, if a job is there to read them.

        Raises:
            ResourceError: the file cannot be written.
        """
        if self.orders is None:
            return
        try:
            _append(self.orders, message)
        except OSError as error:
            raise ResourceError(f"{self.orders} cannot be written to: {error.strerror or error}.") from None
        self.last_sign = monotonic()


class FolderHub:
    """Exchanges messages with jobs through folders below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mailboxes: dict[int, _Mailbox] = {}

    def __str__(self) -> str:
        return f"the folder {self._root}"

    def expect(self, shard_id: int) -> FolderAddress:
        self.drop(shard_id)
        folder = self._root / f"shard_{shard_id}_{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        self._mailboxes[shard_id] = _Mailbox(folder)
        return FolderAddress(str(folder))

    def poll(self, timeout_s: float) -> list[Happening]:
        until = monotonic() + timeout_s
        while True:
            happenings = [(shard_id, what) for shard_id in list(self._mailboxes) for what in self._look(shard_id)]
            if happenings or monotonic() >= until:
                return happenings
            sleep(min(_LOOK_S, max(0.01, until - monotonic())))

    def send(self, shard_id: int, message: bytes) -> None:
        if (mailbox := self._mailboxes.get(shard_id)) is not None:
            mailbox.send(message)

    def drop(self, shard_id: int) -> None:
        if (mailbox := self._mailboxes.pop(shard_id, None)) is not None:
            with suppress(ResourceError):  # the job ends without it, after a while
                mailbox.send(_END)

    def close(self) -> None:
        """Remove the folders, which no job uses any more."""
        for shard_id in list(self._mailboxes):
            self.drop(shard_id)
        for folder in self._root.glob("shard_*_*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _look(self, shard_id: int) -> Iterator[bytes | str]:
        mailbox = self._mailboxes[shard_id]
        # A job that was put back into the queue begins a new pair of files; what the pair before held still counts.
        found = filter(None, map(_REPORTS.fullmatch, _names(mailbox.folder)))
        newest = max((int(match[1]) for match in found), default=-1)
        if mailbox.reports is not None:
            for message in mailbox.reports.new():
                if message == _END:
                    mailbox.reports = None
                    yield CLOSED
                    break
                if message:
                    yield message
        if newest > mailbox.n_requeued:
            mailbox.n_requeued = newest
            mailbox.orders = mailbox.folder / f"orders_{newest}"
            mailbox.reports = _Followed(mailbox.folder / f"reports_{newest}")
            yield OPENED
        elif monotonic() - mailbox.last_sign > _SIGN_OF_LIFE_S:
            mailbox.send(_SIGN_OF_LIFE)


def _append(path: Path, message: bytes) -> None:
    """Append a message and its length to a file, and close the file, so that other machines see the message.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("ab") as file:
        file.write(_LENGTH.pack(len(message)) + message)


class _Followed:
    """A file to which another machine appends."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def new(self) -> Iterator[bytes]:
        """Yield the messages that are whole and were not there at the last look."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
                (length,) = _LENGTH.unpack(head)
                if length > LARGEST_MESSAGE or len(message := file.read(length)) < length:
                    return  # the rest is still to come
                self._offset += _LENGTH.size + length
                yield message


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - a path object for each name is not needed
    except FileNotFoundError:
        return []
