"""The live display: rows that are redrawn in place, as many as fit into the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from threading import Event, Thread
from typing import Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from proctor.reports.progress import Progress, Stage, TaskProgress, busyness, pace, starting
from proctor.reports.text import (
    count,
    duration,
    episode_error,
    mean_reward,
    name_cell,
    names_within,
    percent_range,
    safe,
    share,
    time_shares,
)

_REFRESH_PER_S = 4
_HIDE_CURSOR, _SHOW_CURSOR, _ERASE_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[J"
_RESET = "\x1b[0m"
_BLANK_END = re.compile(r"(?: |\x1b\[[\d;]*m)+$")
"""The blanks and colours at the end of a line. Terminals differ in whether they fold blanks when they get narrower."""
_NO_BREAK = "\N{NO-BREAK SPACE}"
_WIDE_ENOUGH_FOR_INTERVALS = 56
_WIDE_ENOUGH_FOR_BARS = 72
_WIDTH_OF_NUMBERS = 45
_LINES_BESIDE_TASKS = 5
"""The title, the head, the row for all tasks, an empty line, and a last line that stays free."""


class LiveDisplay:
    """A display that is redrawn four times a second and erased at the end; :meth:`update` draws nothing.

    If the terminal is gone, nothing is drawn any more, and the run goes on.
    """

    def __init__(self, console: Console, title: str = "") -> None:
        self._view = LiveView(title)
        self._painter = Painter(console, self._view)
        self._ended = Event()
        self._thread = Thread(target=self._redraw, name="display", daemon=True)

    def update(self, progress: Progress | Stage) -> None:
        self._view.progress = progress

    def __enter__(self) -> Self:
        self._painter.draw()
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()
        self._painter.draw()  # the last state is seen for a moment, also of a short run
        self._painter.erase()

    def _redraw(self) -> None:
        while not self._ended.wait(1 / _REFRESH_PER_S):
            self._painter.draw()


class Painter:
    """Draws something again and again at the same place of a terminal, whatever size the terminal has by then."""

    def __init__(self, console: Console, content: RenderableType) -> None:
        self._console, self._content = console, content
        self._drawn: list[int] = []
        self._is_gone = False

    def draw(self) -> None:
        """Draw the content in place of what was drawn before."""
        if self._is_gone:
            return
        try:
            with self._console.capture() as capture:  # which flushes the file
                self._console.print(self._content)
        except OSError:
            self._is_gone = True
            return
        lines = [_BLANK_END.sub(_RESET, line) for line in capture.get().splitlines()]
        self._write(_HIDE_CURSOR + self._erasure() + "".join(f"{line}\n" for line in lines))
        self._drawn = [cell_len(Text.from_ansi(line).plain) for line in lines]

    def erase(self) -> None:
        """Remove what was drawn; the cursor is back where it was."""
        self._write(f"{self._erasure()}{_SHOW_CURSOR}")
        self._drawn = []

    def _erasure(self) -> str:
        """Give the codes that erase what was drawn.

        If the terminal has become narrower meanwhile, it has folded the lines, and there are more of them to erase.
        """
        width = max(1, self._console.width)
        n_rows = sum(max(1, -(-length // width)) for length in self._drawn)
        return f"\r\x1b[{n_rows}A{_ERASE_BELOW}" if n_rows else "\r"

    def _write(self, text: str) -> None:
        try:
            self._console.file.write(text)
            self._console.file.flush()
        except (OSError, ValueError):  # a terminal that has gone, or a closed file
            self._is_gone = True


class LiveView:
    """The latest progress, drawn in the width and height of the console."""

    def __init__(self, title: str = "") -> None:
        self.progress: Progress | Stage | None = None
        self._title = title
        self._spinner = Spinner("dots", style="cyan")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title:
            yield name_cell(self._title, "dim")
        match self.progress:
            case Stage() as stage:
                yield _stage_row(stage, options.max_width)
            case Progress() as progress if progress.running_s is not None:
                below = len(console.render_lines(_totals(progress, ["…"]), options))
                n_rows = options.size.height - _LINES_BESIDE_TASKS - below
                shown = _most_interesting(progress.tasks, max(1, n_rows))
                yield _table(progress, shown, options.max_width)
                yield ""
                yield _totals(progress, _hidden(progress.tasks, shown))
            case Progress() as progress:
                yield self._starting(starting(progress.load), progress.elapsed_s)
            case None:
                yield self._starting("starting", 0.0)

    def _starting(self, what: str, elapsed_s: float) -> Spinner:
        self._spinner.update(text=Text.assemble(f"{what[0].upper()}{what[1:]} ", (f"({duration(elapsed_s)})", "dim")))
        return self._spinner


def _totals(progress: Progress, hidden: Sequence[str]) -> Table:
    """Make a row for each fact about all tasks together, with its name."""
    lines = {"more": hidden, "pace": pace(progress), "busy": busyness(progress), "time": time_shares(progress.timings)}
    table = Table.grid(padding=(0, 2))
    for name, parts in lines.items():
        if parts:
            table.add_row(Text(name, "dim"), Text(" · ".join(part.replace(" ", _NO_BREAK) for part in parts)))
    if progress.last_error is not None:
        table.add_row(Text("error", "red"), name_cell(episode_error(*progress.last_error).plain))
    return table


def _stage_row(stage: Stage, width: int) -> Table:
    row = Table.grid(padding=(0, 2))
    row.add_row(
        safe(stage.name),
        _bar(stage.done, stage.total, _bar_width(width) or 8),
        f"{stage.done}/{stage.total}",
        Text("" if stage.eta_s is None else f"{duration(stage.eta_s)} left", "dim"),
    )
    return row


# ------------------------------------------------------------------------------------------------------ rows per task


def _table(progress: Progress, shown: Sequence[TaskProgress], width: int) -> Table:
    bar, with_interval = _bar_width(width), width >= _WIDE_ENOUGH_FOR_INTERVALS
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", min_width=8)
    if bar:
        table.add_column("", width=bar)
    so_far = "success" if progress.finished else "so far"
    for name in ("episodes", so_far, *([progress.interval_name] if with_interval else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    rows = [*shown, progress.overall] if len(progress.tasks) > 1 else shown
    names = [*names_within([task.name for task in shown], _room_for_names(width)), progress.overall.name]
    for name, task in zip(names, rows, strict=False):
        headline, n_errors = progress.headline_of(task), task.counts.n_errors
        cells: list[Text | ProgressBar] = [name_cell(name)]
        if bar:
            cells.append(_bar(task.done, task.total, bar))
        reward = f"reward {mean_reward(task.so_far)}" if task.counts.n_unknown else ""
        cells += [Text(f"{task.done}/{task.total}"), Text(share(headline.rate) if headline else reward)]
        if with_interval:
            cells.append(Text(percent_range(headline.interval, 0) if headline else "", "dim"))
        cells.append(Text(count(n_errors, "error") if n_errors else "", "red"))
        table.add_row(*cells, style="bold" if task is progress.overall else "")
    return table


def _bar(done: int, total: int, width: int) -> ProgressBar:
    return ProgressBar(max(total, 1), done, width=width, complete_style="cyan", finished_style="green")


def _bar_width(width: int) -> int:
    """Choose the width of a bar for the width of a terminal; 0 if the terminal is narrow."""
    return 0 if width < _WIDE_ENOUGH_FOR_BARS else min(32, width // 5)


def _room_for_names(width: int) -> int:
    """Estimate how many characters of a task's name fit beside the bar and the numbers."""
    return width - _bar_width(width) - _WIDTH_OF_NUMBERS


def _most_interesting(tasks: Sequence[TaskProgress], n: int) -> list[TaskProgress]:
    """Choose at most ``n`` tasks: first those that run, then those with errors, the unfinished, and the finished ones.
    The chosen tasks keep their order.
    """
    if len(tasks) <= n:
        return list(tasks)

    def rank(position: int) -> tuple[bool, bool, bool, int]:
        task = tasks[position]
        finished = task.done >= task.total
        # The last of the finished tasks and the first of the others are closest to the ones that run.
        return not task.running, not task.counts.n_errors, finished, -position if finished else position

    return [tasks[position] for position in sorted(sorted(range(len(tasks)), key=rank)[:n])]


def _hidden(tasks: Sequence[TaskProgress], shown: Sequence[TaskProgress]) -> list[str]:
    """Count the tasks that are not shown, by whether they are finished."""
    kept = {id(task) for task in shown}
    rest = [task for task in tasks if id(task) not in kept]
    finished = sum(task.done >= task.total for task in rest)
    counts = {"finished": finished, "to go": len(rest) - finished}
    return [f"{count(n, 'task')} {what}" for what, n in counts.items() if n]
