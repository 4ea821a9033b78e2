"""Progress while a run goes on: live on a terminal, plain lines elsewhere, or nothing.

What is shown is counts, never a rate: episodes that succeed end early, so the rate among those finished so far is
too high until the last one is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from proctor.reports.text import count, duration, number, safe

PLAIN_EVERY_S = 10.0
MAX_TASK_ROWS = 12


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """One task; ``done`` counts episodes with a result, errors included, also those of an earlier session."""

    name: str
    done: int
    total: int
    successes: int
    errors: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    ``n_resumed`` episodes were there when this session began ``elapsed_s`` ago and say nothing of its speed.
    ``inference_share`` is the part of the time that the inference device was busy, 0 to 1.
    """

    tasks: tuple[TaskProgress, ...]
    elapsed_s: float
    workers_busy: int = 0
    workers: int = 0
    inference_share: float | None = None
    n_resumed: int = 0

    @property
    def done(self) -> int:
        return sum(task.done for task in self.tasks)

    @property
    def total(self) -> int:
        return sum(task.total for task in self.tasks)

    @property
    def successes(self) -> int:
        return sum(task.successes for task in self.tasks)

    @property
    def errors(self) -> int:
        return sum(task.errors for task in self.tasks)

    @property
    def episodes_per_s(self) -> float | None:
        """Of this session; None before its first episode."""
        n = self.done - self.n_resumed
        return n / self.elapsed_s if n > 0 and self.elapsed_s > 0 else None

    @property
    def eta_s(self) -> float | None:
        speed = self.episodes_per_s
        return (self.total - self.done) / speed if speed else None


class Display(Protocol):
    """Shows progress between ``__enter__`` and ``__exit__``. ``update`` is cheap and may be called at every event."""

    def update(self, progress: Progress) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


def make_display(console: Console, mode: str) -> Display:
    """The display for ``--eval.display``: ``auto`` is live on a terminal and plain elsewhere."""
    if mode == "none":
        return SilentDisplay()
    return LiveDisplay(console) if mode == "auto" and console.is_terminal else PlainDisplay(console)


class SilentDisplay:
    """Shows nothing."""

    def update(self, progress: Progress) -> None:
        """Ignore it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class PlainDisplay:
    """A line every ten seconds, and one at the end: for logs."""

    def __init__(self, console: Console, clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._clock = clock
        self._due = 0.0
        self._unprinted: Progress | None = None

    def update(self, progress: Progress) -> None:
        self._unprinted = progress
        if self._clock() >= self._due:
            self._print()

    def __enter__(self) -> Self:
        self._due = self._clock() + PLAIN_EVERY_S
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._print()

    def _print(self) -> None:
        if self._unprinted is not None:
            self._console.print(Text(_totals(self._unprinted)), soft_wrap=True)
        self._unprinted = None
        self._due = self._clock() + PLAIN_EVERY_S


class LiveDisplay:
    """A few rows that redraw themselves four times a second; nothing is drawn in :meth:`update`."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress((), 0.0)
        self._live = Live(console=console, get_renderable=lambda: _rows(self._progress), refresh_per_second=4)

    def update(self, progress: Progress) -> None:
        self._progress = progress

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.stop()


def _totals(progress: Progress) -> str:
    parts = [
        f"{progress.done}/{progress.total} episodes",
        f"{progress.successes} succeeded so far",
        f"{duration(progress.elapsed_s)} elapsed",
        f"{number(progress.episodes_per_s)} episodes/s",
        f"{duration(progress.eta_s)} left",
    ]
    if progress.errors:
        parts.insert(2, count(progress.errors, "error"))
    if progress.workers:
        parts.append(f"{progress.workers_busy}/{progress.workers} workers busy")
    if progress.inference_share is not None:
        parts.append(f"inference {progress.inference_share:.0%}")
    return " · ".join(parts)


def _rows(progress: Progress) -> Group:
    """The tasks that are under way, or next, and the totals."""
    table = Table.grid(padding=(0, 2))
    unfinished = sorted((task for task in progress.tasks if task.done < task.total), key=lambda task: not task.done)
    for task in unfinished[:MAX_TASK_ROWS]:
        table.add_row(safe(task.name), *_bar(task.done, task.total), count(task.errors, "error") if task.errors else "")
    table.add_row("all", *_bar(progress.done, progress.total), "")
    return Group(table, Text(_totals(progress)))


def _bar(done: int, total: int) -> tuple[ProgressBar, str]:
    return ProgressBar(total=max(total, 1), completed=done, width=24), f"{done}/{total}"
