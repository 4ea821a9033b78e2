"""What a page is made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from proctor.reports.text import safe
from proctor.results.measured import MeasuredRun, measured_run
from proctor.results.result_file import RESULT_FILE, read_result_file
from proctor.results.run_dir import RUN_FILE, RunInfo
from proctor.results.run_status import RunStatus
from proctor.results.summary import Summary, load_summary


@dataclass(frozen=True)
class ReportRun:
    """One evaluation.

    ``path`` is what the user named. ``run`` is None where nothing says what was evaluated: LeRobot's files do not.
    """

    path: Path
    run: RunInfo | None
    summary: Summary
    where: RunStatus

    @cached_property
    def measured(self) -> MeasuredRun:
        """What a comparison with others needs of it."""
        return measured_run(self.path, self.run, self.summary)

    @property
    def name(self) -> str:
        """What tells it from others: the last part of its path."""
        return safe(self.path.resolve().name).plain


def read_report_run(path: Path) -> ReportRun:
    """Read a run directory, finished or not, a directory that holds an ``eval_info.json``, or such a file.

    Raises:
        ConfigError: it is none of these, or damaged.
        MergeError: the run's journals contradict each other.
    """
    if (path / RUN_FILE).exists():
        return ReportRun(path, *load_summary(path), RunStatus.of(path))
    file = path / RESULT_FILE if path.is_dir() else path
    return ReportRun(path, *read_result_file(file), RunStatus.of(file.parent))
