"""Displays of the progress of a run: live on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol, Self

from rich.console import Console
from rich.text import Text

from proctor.reports.notebook import NotebookDisplay, in_notebook
from proctor.reports.progress import Progress, Stage, line_of
from proctor.reports.text import episode_error, safe

PLAIN_EVERY_S = 10.0


class Display(Protocol):
    """Shows progress between ``__enter__`` and ``__exit__``. ``update`` is cheap and may be called at every event."""

    def update(self, progress: Progress | Stage) -> None:
        """Take note of the latest progress."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


def make_display(console: Console, mode: str, title: str = "") -> Display:
    """Make the display for ``--eval.display``: ``auto`` is live on a terminal and in a notebook, and plain elsewhere.

    Args:
        console: the console on which progress is shown.
        mode: ``auto``, ``plain`` or ``none``.
        title: the line above the progress.
    """
    if mode == "none":
        return SilentDisplay()
    if mode == "auto" and in_notebook():
        return NotebookDisplay(title)
    if mode == "auto" and console.is_interactive:
        from proctor.reports.live import LiveDisplay

        return LiveDisplay(console, title)
    return PlainDisplay(console, title)


class SilentDisplay:
    """A display that shows nothing."""

    def update(self, progress: Progress | Stage) -> None:
        """Ignore the progress."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class PlainDisplay:
    """A display for logs: a line every ten seconds and one at the end, after the title."""

    def __init__(self, console: Console, title: str = "", clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._title = title
        self._clock = clock
        self._due = 0.0
        self._unprinted: Progress | Stage | None = None
        self._last_error: object = None
        self._is_gone = False

    def update(self, progress: Progress | Stage) -> None:
        if self._title and isinstance(progress, Progress):
            self._write(safe(self._title))
            self._title = ""
        self._unprinted = progress
        if self._clock() >= self._due:
            self._print()

    def __enter__(self) -> Self:
        self._due = self._clock() + PLAIN_EVERY_S
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._print()

    def _print(self) -> None:
        progress = self._unprinted
        if progress is not None:
            self._write(Text(" · ".join(line_of(progress))))
        if isinstance(progress, Progress) and progress.last_error not in (None, self._last_error):
            self._last_error = progress.last_error
            self._write(Text.assemble("Last error: ", episode_error(*progress.last_error)))
        self._unprinted = None
        self._due = self._clock() + PLAIN_EVERY_S

    def _write(self, line: Text) -> None:
        """Print a line; once that has failed, nothing is printed any more, and the run goes on."""
        if self._is_gone:
            return
        try:
            self._console.print(line, soft_wrap=True)
        except (OSError, ValueError):  # nobody reads it any more, the disk is full, or the file was closed
            self._is_gone = True
