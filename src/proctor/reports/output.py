"""Keeps the terminal for what Proctor has to say: what libraries and simulators print goes into a log meanwhile."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, ConsoleDimensions

_STDOUT, _STDERR = 1, 2


@contextmanager
def printing_into(log: Path | None) -> Iterator[Console]:
    """While this lasts, standard output and error of the whole process lead into ``log``, also for native code; gives
    a console on what standard error was.

    Nothing is diverted without a ``log``, or where somebody (a notebook, a test) has put something else in the place of
    ``sys.stderr``.
    """
    if log is None or not _stderr_is_the_process_own():
        yield Console(stderr=True)
        return
    _flush()
    before = {number: os.dup(number) for number in (_STDOUT, _STDERR)}
    log.parent.mkdir(parents=True, exist_ok=True)
    encoding, errors = sys.stderr.encoding, sys.stderr.errors
    with log.open("ab") as file, os.fdopen(os.dup(_STDERR), "w", encoding=encoding, errors=errors) as terminal:
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
    """A console as large as the terminal it writes to. rich asks the standard streams, which lead elsewhere here."""

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except OSError:
            return super().size
        return ConsoleDimensions(columns, lines) if columns and lines else super().size  # some say 0 by 0


def _stderr_is_the_process_own() -> bool:
    try:
        return sys.stderr.fileno() == _STDERR
    except (AttributeError, io.UnsupportedOperation):
        return False


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
