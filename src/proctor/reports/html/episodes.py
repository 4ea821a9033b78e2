"""The table of all episodes of a page, and the addresses of their videos."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from proctor.reports.comparison import letter
from proctor.reports.html.report_run import ReportRun
from proctor.reports.sentences import command_to_replay
from proctor.reports.text import first_line, safe
from proctor.results.measured import shared_tasks
from proctor.results.run_dir import RunDirectory
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, TaskKey

MOST_ROWS = 20_000
"""The most episodes in one page: about 1 MB, which a browser sorts in a tenth of a second."""

VideoAddress = Callable[[ReportRun, EpisodeSpec], str | None]
"""Returns the URL at which the page finds an episode's video, or None if there is no video."""

TraceAddress = Callable[[ReportRun, TaskKey], str]
"""Returns the URL at which a server has the traces of a task's episodes; ``<episode>/trace`` follows it."""

COLUMNS = [
    "run",
    "task",
    "episode",
    "seed",
    "init_state",
    "outcome",
    "length",
    "reward",
    "max_reward",
    "video",
    "error",
]

_RANKS = {Outcome.FAILURE: 0, Outcome.ERROR: 1, Outcome.UNKNOWN: 2, Outcome.SUCCESS: 3}


@dataclass(frozen=True)
class EpisodeTable:
    """The episodes that the page's script shows.

    ``data`` is plain JSON with ``n_shown`` episodes, those of ``specs``. ``n_left_out`` episodes
    are left out, successes first.
    """

    data: dict[str, Any]
    specs: tuple[EpisodeSpec, ...]
    n_left_out: int

    @property
    def n_shown(self) -> int:
        return len(self.specs)


def linked_videos(page: Path) -> VideoAddress:
    """Return addresses of videos that stay where they are, relative to the folder of ``page``."""

    def address(run: ReportRun, spec: EpisodeSpec) -> str | None:
        file = run.summary.videos.get(spec)
        return file and quote(os.fsencode(os.path.relpath(run.status.directory / file, page.parent)))

    return address


def embedded_videos(run: ReportRun, spec: EpisodeSpec) -> str | None:
    """Return the video of an episode itself as a ``data:`` URL, which makes it part of the page."""
    if (file := run.summary.videos.get(spec)) is None:
        return None
    return "data:video/mp4;base64," + base64.b64encode((run.status.directory / file).read_bytes()).decode()


def episode_table(
    runs: Sequence[ReportRun], video: VideoAddress, most: int = MOST_ROWS, trace: TraceAddress | None = None
) -> EpisodeTable:
    """Make a table of at most ``most`` episodes: failures first, then errors, episodes of unknown success, and
    successes, each in the order of the plan. ``trace`` returns the addresses of traces, if a server has them.
    """
    tasks, task_numbers = shared_tasks([run.summary for run in runs])
    position = count()
    ranked = nsmallest(
        most,
        (
            (_RANKS[result.outcome], next(position), number, result)
            for number, run in enumerate(runs)
            for result in run.summary.episodes
        ),
    )
    data = {
        "runs": [_run(letter(number), run, task_numbers[number], trace) for number, run in enumerate(runs)],
        "tasks": [
            {"suite": task.suite, "task_id": task.task_id, "name": task.name, "instruction": task.instruction}
            for task in tasks
        ],
        "columns": COLUMNS,
        "rows": [
            [number, task_numbers[number][result.spec.task], *_cells(runs[number], result, video)]
            for _, _, number, result in ranked
        ],
    }
    n_all = sum(run.summary.overall.n_completed + run.summary.overall.n_errors for run in runs)
    return EpisodeTable(data, tuple(result.spec for *_, result in ranked), n_all - len(ranked))


def _run(name: str, run: ReportRun, task_numbers: Mapping[TaskKey, int], trace: TraceAddress | None) -> dict[str, Any]:
    """Give a run's letter and name, and for each task the command that renders an episode, without its number, and the
    address of traces.
    """
    can_replay = RunDirectory(run.status.directory).holds_run
    commands = {
        task_numbers[task.task.key]: safe(command_to_replay(run.status.directory, run.summary, task.task.key)).plain
        for task in run.summary.tasks
        if can_replay
    }
    traces = (
        {} if trace is None else {task_numbers[task.task.key]: trace(run, task.task.key) for task in run.summary.tasks}
    )
    return {"letter": name, "name": run.name, "replay": commands, "traces": traces}


def _cells(run: ReportRun, result: EpisodeResult, video: VideoAddress) -> list[Any]:
    error = result.errors[-1] if result.outcome is Outcome.ERROR else None
    return [
        result.spec.episode_index,
        result.spec.seed,
        result.spec.init_state_id,
        result.outcome.value,
        result.length if error is None else None,
        result.sum_reward,
        result.max_reward,
        video(run, result.spec),
        error and f"{error.kind}: {first_line(error.message)}",
    ]
