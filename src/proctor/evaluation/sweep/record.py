"""The state of a sweep: what is known of each checkpoint, and the files ``sweep.json`` and ``sweep.csv``.

Both files are made from the run directories, which hold the results, and are written again after each checkpoint.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from proctor.errors import ConfigError, MergeError
from proctor.evaluation.sweep.targets import Checkpoint
from proctor.machine.files import read_file
from proctor.reports.export import csv_cell
from proctor.results.files import replacing, write_json
from proctor.results.headline import headline_of
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, load_summary
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import Interval

FORMAT_VERSION = 1
SWEEP_FILE = "sweep.json"
CSV_FILE = "sweep.csv"
_COLUMNS = [
    *("series", "step", "status", "pc_success", "pc_success_low", "pc_success_high"),
    *("n_episodes", "n_successes", "n_errors", "avg_sum_reward", "path", "run_dir", "problem"),
]


@dataclass(frozen=True)
class SweptCheckpoint:
    """A checkpoint with what its run directory holds by now.

    Attributes:
        checkpoint: the checkpoint.
        directory: its run directory.
        run, summary: what the directory holds; None if its evaluation has not begun.
        problem: the reason why it could not be evaluated; "" if there is none.
    """

    checkpoint: Checkpoint
    directory: Path
    run: RunInfo | None = None
    summary: Summary | None = None
    problem: str = ""

    @classmethod
    def read(cls, checkpoint: Checkpoint, directory: Path, problem: str = "") -> SweptCheckpoint:
        """Read the results that ``directory`` holds by now."""
        if not RunDirectory(directory).holds_run:
            return cls(checkpoint, directory, problem=problem)
        try:
            return cls(checkpoint, directory, *load_summary(directory), problem)
        except (ConfigError, MergeError) as error:
            return cls(checkpoint, directory, problem=problem or str(error))

    @property
    def status(self) -> str:
        """``done`` if every planned episode was completed, ``failed`` if there is a problem or an episode in error,
        ``unfinished`` if episodes are missing, else ``waiting``.
        """
        if self.problem or (self.counts.n_errors and not self._n_missing):
            return "failed"
        if self.summary is None:
            return "waiting"
        return "unfinished" if self._n_missing else "done"

    @property
    def n_per_task(self) -> int:
        """The number of planned episodes of the task that has the fewest."""
        tasks = () if self.summary is None else self.summary.tasks
        return min((task.counts.n_planned for task in tasks), default=0)

    @property
    def counts(self) -> Counts:
        """The counts of all episodes of the plan."""
        return Counts() if self.summary is None else self.summary.overall

    @property
    def _n_missing(self) -> int:
        return 0 if self.summary is None else len(self.summary.missing)

    @property
    def rate(self) -> float | None:
        """The success rate, 0 to 1; None unless every planned episode was completed and its success is known."""
        shown = headline_of(self.summary) if self.summary is not None and self.status == "done" else None
        return None if shown is None else shown.rate

    @property
    def interval(self) -> Interval | None:
        """The interval of :attr:`rate`, as if no other checkpoint had been evaluated."""
        shown = headline_of(self.summary) if self.summary is not None and self.status == "done" else None
        return None if shown is None else shown.interval

    def as_row(self, folder: Path) -> dict[str, Any]:
        """Give the numbers as plain values; the run directory is relative to ``folder``."""
        rate, interval, counts = self.rate, self.interval, self.counts
        return {
            "series": self.checkpoint.series,
            "step": self.checkpoint.step,
            "path": self.checkpoint.path,
            "status": self.status,
            "pc_success": None if rate is None else 100 * rate,
            "pc_success_interval": None if interval is None else [100 * interval.low, 100 * interval.high],
            "n_episodes": counts.n_completed,
            "n_successes": None if counts.n_unknown else counts.n_successes,
            "n_errors": counts.n_errors,
            "avg_sum_reward": counts.mean_sum_reward,
            "run_dir": str(self.directory.relative_to(folder)),
            "problem": self.problem or None,
        }


class _Row(msgspec.Struct):
    """The part of a row that is read again; everything else comes from the run directory."""

    series: str
    step: int | None
    path: str
    run_dir: str


class _Record(msgspec.Struct):
    checkpoints: list[_Row]


def read_record(folder: Path) -> list[Checkpoint]:
    """List the checkpoints that ``sweep.json`` names, also those that were removed since; none if there is no file.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        rows = msgspec.json.decode(read_file(folder / SWEEP_FILE), type=_Record).checkpoints
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{folder / SWEEP_FILE} cannot be read ({error}); remove it to list the sweep anew."
        ) from None
    # The name of a run directory must not lead out of the sweep's, whoever wrote the file.
    return [Checkpoint(row.path, row.series, row.step, Path(row.run_dir).name) for row in rows]


def write_record(folder: Path, swept: Sequence[SweptCheckpoint], verdict: Mapping[str, Any] | None) -> None:
    """Write ``sweep.json`` and ``sweep.csv``.

    Raises:
        ResourceError: a file cannot be written.
    """
    rows = [each.as_row(folder) for each in swept]
    write_json(folder / SWEEP_FILE, {"format_version": FORMAT_VERSION, "checkpoints": rows, "verdict": verdict})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    writer.writerows(_csv_rows(rows))
    with replacing(folder / CSV_FILE) as file:
        file.write(text.getvalue().encode())


def _csv_rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        low, high = row["pc_success_interval"] or (None, None)
        cells = {name: csv_cell(value) for name, value in row.items() if name in _COLUMNS}
        yield {**cells, "pc_success_low": low, "pc_success_high": high}
