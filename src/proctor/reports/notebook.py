"""Shows an evaluation in a notebook (Jupyter, Colab, VS Code): its progress while it runs, and its result."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from time import monotonic
from typing import Any, Self

from proctor.reports.progress import Progress, Stage, line_of
from proctor.reports.sentences import error_lines, headline_lines
from proctor.reports.text import count, figure_names, figures, safe
from proctor.results.summary import Summary, TaskSummary
from proctor.types import EpisodeSpec

EVERY_S = 0.5
"""The seconds between two updates of the progress."""
MAX_ROWS = 50
MAX_VIDEOS = 6
MAX_VIDEO_BYTES = 8_000_000
"""Videos are part of the notebook's file, so that they play wherever it is opened; these are all of them together."""

_CELL = "padding:2px 10px;text-align:{}"


def in_notebook() -> bool:
    """Say whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookDisplay:
    """A bar and a line of text in the output of a cell, replaced twice a second."""

    def __init__(self, title: str = "", clock: Callable[[], float] = monotonic) -> None:
        self._title, self._clock, self._due = title, clock, 0.0
        self._latest: Progress | Stage | None = None
        self._handle: Any = None

    def update(self, progress: Progress | Stage) -> None:
        self._latest = progress
        if self._clock() >= self._due:
            self._show()

    def __enter__(self) -> Self:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(_progress_html(self._title, None)), display_id=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._show()

    def _show(self) -> None:
        self._handle.update(self._html(_progress_html(self._title, self._latest)))
        self._due = self._clock() + EVERY_S


def _progress_html(title: str, progress: Progress | Stage | None) -> str:
    done, total, words = 0, 1, ["starting"]
    if progress is not None:
        row = progress.overall if isinstance(progress, Progress) else progress
        done, total, words = row.done, row.total, list(line_of(progress))
    bar = f'<progress value="{done}" max="{max(total, 1)}" style="width:20em"></progress>'
    return f"<div><small>{_text(title)}</small><br>{bar} {_text(' · '.join(words))}</div>"


def result_html(summary: Summary, directory: Path) -> str:
    """Make a fragment of HTML of a run's result: the headline, a row per task, and some of the videos."""
    lines = [*headline_lines(summary)[:2], *error_lines(summary)]
    headline = "".join(f"<p style='margin:2px 0'>{_text(line.plain)}</p>" for line in lines)
    return f"<div>{headline}{_table(summary)}{_videos(summary, directory)}<small>{_text(str(directory))}</small></div>"


def _table(summary: Summary) -> str:
    with_errors = summary.overall.n_errors > 0
    rows = [_row("th", ["task", *figure_names(with_errors=with_errors)])]
    for task in summary.tasks[:MAX_ROWS]:
        numbers = figures(task.counts, summary.interval(task.counts), with_errors=with_errors)
        rows.append(_row("td", [_name(task, summary), *numbers]))
    if more := len(summary.tasks) - MAX_ROWS:
        rows += [_row("td", [f"and {count(more, 'more task')}"])] if more > 0 else []
    return f"<table style='border-collapse:collapse;font-size:inherit'>{''.join(rows)}</table>"


def _name(task: TaskSummary, summary: Summary) -> str:
    return f"{task.task.suite}/{task.task.task_id} {task.task.name}" if summary.has_suites else task.task.name


def _row(tag: str, cells: Sequence[str]) -> str:
    sides = ["left"] + ["right"] * (len(cells) - 1)
    inner = (
        f'<{tag} style="{_CELL.format(side)}">{_text(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>"


def _videos(summary: Summary, directory: Path) -> str:
    shown = list(_chosen_videos(summary, directory))
    if not shown:
        return ""
    outcomes = {result.spec: result.outcome.value for result in summary.episodes if result.spec in summary.videos}
    figures_of = "".join(_video(spec, outcomes.get(spec, ""), content) for spec, content in shown)
    more = len(summary.videos) - len(shown)
    rest = f"<small>and {count(more, 'more video')} in {_text(str(directory))}</small>" if more else ""
    return f"<div style='display:flex;flex-wrap:wrap;gap:8px;margin:8px 0'>{figures_of}</div>{rest}<br>"


def _chosen_videos(summary: Summary, directory: Path) -> Iterator[tuple[EpisodeSpec, bytes]]:
    """Give the first videos, as long as they are few and small together."""
    n_bytes = 0
    for spec, name in list(summary.videos.items())[:MAX_VIDEOS]:
        file = directory / name
        if not file.is_file() or (n_bytes := n_bytes + file.stat().st_size) > MAX_VIDEO_BYTES:
            return
        yield spec, file.read_bytes()


def _video(spec: EpisodeSpec, outcome: str, content: bytes) -> str:
    address = f"data:video/mp4;base64,{base64.b64encode(content).decode()}"
    player = f'<video controls muted loop preload="metadata" width="240" src="{address}"></video>'
    return f"<figure style='margin:0'>{player}<figcaption>{_text(f'{spec}: {outcome}')}</figcaption></figure>"


def _text(text: str) -> str:
    """Escape a text, which may be a name from a simulator."""
    return escape(safe(text).plain)
