"""The lines of a journal: JSON inside a frame that carries the CRC-32 of the record's own bytes.

::

    {"crc32":"5bd3a1f0","record":{"kind":"episode","result":{...},"actions":{"offset":0,...}}}

Every line is a JSON document of its own, so that a user's script can read a journal with a JSON parser and nothing
else. Damage costs the lines that it touches and no others, because each line is checked by itself.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from proctor.machine.files import open_to_read
from proctor.results.files import unreadable

RECORD_START, RECORD_END = b'{"crc32":"', b"}\n"
_FRAME = re.compile(rb'\{"crc32":"([0-9a-f]{8})","record":(.*)\}\n', re.DOTALL)
RECORD_BEGIN = len(b'{"crc32":"00000000","record":')
"""The number of bytes before the record in a line."""


class Line(NamedTuple):
    """A finished line: the offset of its end, the offset of its record, and the record; None if it is damaged."""

    end: int
    begin: int = 0
    record: bytes | None = None


def to_line(record: bytes) -> bytes:
    """Frame the JSON bytes of a record."""
    return b'{"crc32":"%08x","record":%b}\n' % (zlib.crc32(record), record)


def read_lines(path: Path) -> Iterator[Line]:
    """Read the finished lines of a file; nothing if it does not exist. An unfinished last line is left out.

    Raises:
        ConfigError: the file cannot be read.
    """
    end = 0
    with suppress(FileNotFoundError), _opened(path) as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            if (record := _record_in(line)) is None:
                yield Line(end)
                # If the newline of a line is damaged, a whole line follows within what looks like one line.
                record = _record_in(line[rest:]) if (rest := line.rfind(RECORD_START)) > 0 else None
            if record is not None:
                yield Line(end, end - len(RECORD_END) - len(record), record)


def read_last_records(path: Path, n_bytes: int) -> list[bytes]:
    """Read the intact records of the lines that begin within the last ``n_bytes`` of a file, oldest first; none if the
    file does not exist.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        with _opened(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - n_bytes))
            lines = file.read(n_bytes).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [record for line in lines if (record := _record_in(line)) is not None]


def _opened(path: Path) -> BinaryIO:
    try:
        return open_to_read(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def _record_in(line: bytes) -> bytes | None:
    """Give the record's bytes if the frame is whole and the checksum is right."""
    match = _FRAME.fullmatch(line)
    if match and match[1] == b"%08x" % zlib.crc32(match[2]):
        return match[2]
    return None
