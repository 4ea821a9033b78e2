"""Keeps the terminal for what Proctor prints, and diverts what libraries and simulators print into a log."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, ConsoleDimensions

from proctor.machine.files import open_log

_STDOUT, _STDERR = 1, 2


@contextmanager
def printing_into(log: Path | None) -> Iterator[Console]:
    """Divert standard output and error of the whole process into ``log`` while this is entered, also for native code.

    Nothing is diverted without a ``log``, or if ``sys.stderr`` has been replaced by something else (in a notebook, a
    test).

    Yields:
        A console on what standard error was before.
    """
    if log is None or not _stderr_is_the_process_own():
        yield Console(stderr=True)
        return
    _flush()
    before = {number: os.dup(number) for number in (_STDOUT, _STDERR)}
    log.parent.mkdir(parents=True, exist_ok=True)
    encoding, errors = sys.stderr.encoding, sys.stderr.errors
    with open_log(log) as file, os.fdopen(os.dup(_STDERR), "w", encoding=encoding, errors=errors) as terminal:
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


def _stderr_is_the_process_own() -> bool:
    try:
        return sys.stderr.fileno() == _STDERR
    except (AttributeError, io.UnsupportedOperation):
        return False


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
