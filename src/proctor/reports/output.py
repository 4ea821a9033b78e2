"""Keeps the terminal for what Proctor prints, and diverts what libraries and simulators print into a log.

Writing to the terminal never ends a run. If a standard stream cannot be written to any more (its reader has ended, its
terminal is gone, its disk is full), what is printed from then on is dropped.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, ConsoleDimensions

from proctor.machine.files import open_log

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT, _STDERR = 1, 2


class LastingFile(io.RawIOBase):
    """Writes to a file descriptor, and drops what is written once the descriptor has failed.

    ``problem`` is the error of the descriptor, None as long as there is none. From then on the descriptor leads to the
    null device, so that child processes that inherit it can write to it, too.
    """

    def __init__(self, descriptor: int, *, owned: bool = False) -> None:
        self._descriptor, self._owned = descriptor, owned
        self.problem: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer) -> int:
        """Write some of ``data``; gives how many bytes need not be written again."""
        while self.problem is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process made the terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._give_up(error)
        return memoryview(data).nbytes

    def _give_up(self, error: OSError) -> None:
        self.problem = error
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._descriptor)
            os.close(null)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._owned:
                os.close(self._descriptor)


@contextmanager
def lasting_streams() -> Iterator[list[LastingFile]]:
    """Replace standard output and error by streams that never fail while this is entered.

    A stream that something else has replaced already (a test, a notebook) stays.

    Yields:
        The files of the streams that were replaced, standard output first.
    """
    replaced: dict[str, TextIO] = {}
    files: list[LastingFile] = []
    for name, number in (("stdout", _STDOUT), ("stderr", _STDERR)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and _descriptor_of(stream) == number:
            with suppress(OSError):
                stream.flush()
            replaced[name] = stream
            files.append(LastingFile(number))
            setattr(sys, name, _text_of(files[-1], stream))
    try:
        yield files
    finally:
        for name, stream in replaced.items():
            getattr(sys, name).flush()
            setattr(sys, name, stream)


@contextmanager
def printing_into(log: Path | None) -> Iterator[Console]:
    """Divert standard output and error of the whole process into ``log`` while this is entered, also for native code.

    Nothing is diverted without a ``log``, or if ``sys.stderr`` has been replaced by something else (in a notebook, a
    test).

    Yields:
        A console on what standard error was before.
    """
    if log is None or _descriptor_of(sys.stderr) != _STDERR:
        yield Console(stderr=True)
        return
    _flush()
    before = {number: os.dup(number) for number in (_STDOUT, _STDERR)}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open_log(log) as file, _text_of(LastingFile(os.dup(_STDERR), owned=True), sys.stderr) as terminal:
        try:
            for number in before:
                os.dup2(file.fileno(), number)
            yield _TerminalConsole(file=terminal)
        finally:
            _flush()
            for number, descriptor in before.items():
                os.dup2(descriptor, number)
                os.close(descriptor)


class _TerminalConsole(Console):
    """A console with the size of the terminal it writes to. rich asks the standard streams, which are diverted here."""

    @property  # type: ignore[misc]  # rich lets it be set, which is not needed here
    def size(self) -> ConsoleDimensions:
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except OSError:
            return super().size
        return ConsoleDimensions(columns, lines) if columns and lines else super().size  # some terminals report 0 by 0


def _text_of(file: LastingFile, like: TextIO) -> io.TextIOWrapper:
    """Make a text stream with the encoding of another one, which is written to the file at the end of each line."""
    return io.TextIOWrapper(
        io.BufferedWriter(file), encoding=like.encoding, errors=like.errors, newline="\n", line_buffering=True
    )


def _descriptor_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return None


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
