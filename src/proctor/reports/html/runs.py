"""What a page is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proctor.reports.terminal import Whereabouts
from proctor.results.measured import Measured, measured_run
from proctor.results.run_dir import RunInfo
from proctor.results.summary import Summary, load_summary


@dataclass(frozen=True)
class ReportRun:
    """One evaluation.

    ``path`` is what the user named. ``run`` is None where only a result file is left.
    """

    path: Path
    run: RunInfo | None
    summary: Summary
    measured: Measured
    where: Whereabouts

    @property
    def name(self) -> str:
        """What tells it from others: the last part of its path."""
        return self.path.resolve().name


def read_report_run(path: Path) -> ReportRun:
    """Read a run directory, finished or not.

    Raises:
        ConfigError: it is none, or damaged.
        MergeError: the run's journals contradict each other.
    """
    run, summary = load_summary(path)
    return ReportRun(path, run, summary, measured_run(path, run, summary), Whereabouts.of(path))
