"""An evaluation in the form from which a page is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from proctor.reports.text import safe
from proctor.results.measured import MeasuredRun, measured_run, read_results
from proctor.results.run_info import RunInfo
from proctor.results.run_status import RunStatus
from proctor.results.summary import Summary


@dataclass(frozen=True)
class ReportRun:
    """One evaluation.

    ``path`` is the path that the user gave. ``run`` is None if the file does not describe what was evaluated, as
    LeRobot's files do not.
    """

    path: Path
    run: RunInfo | None
    summary: Summary
    status: RunStatus

    @cached_property
    def measured(self) -> MeasuredRun:
        """The evaluation in the form for a comparison."""
        return measured_run(self.path, self.run, self.summary)

    @property
    def name(self) -> str:
        """The name that distinguishes it from others: the last part of its path."""
        return safe(self.path.resolve().name).plain


def read_report_run(path: Path) -> ReportRun:
    """Read a run directory, finished or not, a directory that holds an ``eval_info.json``, or such a file.

    Raises:
        ConfigError: ``path`` is none of these, or damaged.
        MergeError: the run's journals contradict each other.
    """
    return ReportRun(path, *read_results(path), RunStatus.of(path if path.is_dir() else path.parent))
