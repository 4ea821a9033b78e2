"""A sweep in the index and on its own page, made of its ``sweep.json`` and of the runs in its directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import msgspec

from proctor.machine.files import read_file
from proctor.reports.sweep import SweepRow, SweepSummary
from proctor.reports.text import NONE
from proctor.statistics.intervals import Interval
from proctor.view.entries import RunEntry

SWEEP_FILE = "sweep.json"
"""A directory that holds a file of this name is a sweep's."""

_STATUS = {"done": ""}


class _Checkpoint(msgspec.Struct):
    series: str
    step: int | None
    run_dir: str
    status: str
    pc_success: float | None
    pc_success_interval: tuple[float, float] | None
    n_episodes: int
    n_successes: int | None
    problem: str | None = None


class _Verdict(msgspec.Struct):
    best: str
    pc_success: float
    pc_success_interval: tuple[float, float]
    like_best: list[str]
    n_compared: int


class _Record(msgspec.Struct):
    checkpoints: list[_Checkpoint]
    verdict: _Verdict | None = None


@dataclass(frozen=True)
class Point:
    """A checkpoint in the small curve: its place in percent, its rate and interval in percent from the top."""

    series: int
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class SweepEntry:
    """A sweep as the index and its page show it.

    Attributes:
        rows: its checkpoints, by series and step; ``run_ids`` are the ids of their runs, "" if one has not begun.
        runs: the entries of its runs.
        problem: the reason why ``sweep.json`` cannot be read, else "".
    """

    id: str
    name: str
    directory: Path
    rows: tuple[SweepRow, ...] = ()
    run_ids: tuple[str, ...] = ()
    summary: SweepSummary | None = None
    runs: tuple[RunEntry, ...] = field(default=(), repr=False)
    problem: str = ""

    @property
    def date(self) -> str:
        """The time at which its newest run was begun."""
        return max((run.date for run in self.runs), default="")

    @property
    def is_live(self) -> bool:
        """One of its checkpoints is being evaluated."""
        return any(run.state == "running" for run in self.runs)

    @property
    def n_done(self) -> int:
        """The number of checkpoints of which every episode was completed."""
        return sum(not row.status for row in self.rows)

    @property
    def n_failed(self) -> int:
        return sum(row.status == "failed" for row in self.rows)

    @property
    def seconds(self) -> float | None:
        """The wall time of all its runs."""
        return sum(run.seconds or 0.0 for run in self.runs) or None

    @property
    def series(self) -> list[str]:
        """The names of the trainings."""
        return list(dict.fromkeys(row.series for row in self.rows))

    @cached_property
    def points(self) -> list[Point]:
        """The checkpoints with a rate and a step, for the small curve."""
        known = [row for row in self.rows if row.step is not None and row.rate is not None and row.interval is not None]
        steps = [row.step or 0 for row in known]
        first, width = min(steps, default=0), (max(steps, default=0) - min(steps, default=0)) or 1
        return [
            Point(
                self.series.index(row.series),
                4 + 92 * ((row.step or 0) - first) / width,
                _from_top(row.rate or 0.0),
                _from_top(row.interval.low),
                _from_top(row.interval.high),
            )
            for row in known
            if row.interval is not None
        ]

    @property
    def lines(self) -> list[tuple[Point, Point]]:
        """The lines of the small curve: each point and the next one of its training."""
        return [
            (one, next_one)
            for one, next_one in zip(self.points, self.points[1:], strict=False)
            if one.series == next_one.series
        ]


def read_sweep(sweep: SweepEntry, file: Path, runs: Sequence[tuple[str, RunEntry]]) -> SweepEntry:
    """Read ``file``, the record of a sweep; ``runs`` are the names of the runs in its directory, and their entries."""
    entries = tuple(entry for _, entry in runs)
    try:
        record = msgspec.json.decode(read_file(file), type=_Record)
    except (OSError, msgspec.MsgspecError) as error:
        return replace(sweep, runs=entries, problem=f"{SWEEP_FILE} cannot be read: {error}.")
    by_name = dict(runs)
    rows = [(Path(each.run_dir).name, each) for each in record.checkpoints]
    verdict, new = record.verdict, by_name.keys() - {name for name, _ in rows}
    best, like = (verdict.best, verdict.like_best) if verdict else ("", [])
    shown = [(name, _row(name, each, by_name.get(name), best, like)) for name, each in rows]
    series = shown[0][1].series if shown else ""
    shown += [(name, _new_row(name, by_name[name], series)) for name in new]
    shown.sort(key=lambda pair: (pair[1].series, pair[1].step is None, pair[1].step or 0))
    return replace(
        sweep,
        rows=tuple(row for _, row in shown),
        run_ids=tuple(by_name[name].id if name in by_name else "" for name, _ in shown),
        summary=_summary(verdict),
        runs=entries,
    )


def _row(name: str, found: _Checkpoint, run: RunEntry | None, best: str, like: Sequence[str]) -> SweepRow:
    live = run is not None and run.state == "running"
    return SweepRow(
        found.series,
        name,
        found.step,
        None if found.pc_success is None else found.pc_success / 100,
        _interval(found.pc_success_interval),
        NONE if found.n_successes is None or not found.n_episodes else f"{found.n_successes}/{found.n_episodes}",
        _running(run) if live and run is not None else _STATUS.get(found.status, found.status),
        found.problem or "",
        "best" if name == best else "like best" if name in like else "",
    )


def _new_row(name: str, run: RunEntry, series: str) -> SweepRow:
    """Make the row of a checkpoint that is evaluated for the first time, so that the file does not name it yet."""
    return SweepRow(series, name, run.step, None, None, NONE, _running(run) if run.state == "running" else run.state)


def _running(run: RunEntry) -> str:
    return f"running, {run.n_done} of {run.n_planned}"


def _summary(verdict: _Verdict | None) -> SweepSummary | None:
    if verdict is None or (interval := _interval(verdict.pc_success_interval)) is None:
        return None
    return SweepSummary(verdict.best, verdict.pc_success / 100, interval, verdict.like_best, verdict.n_compared)


def _interval(percent: tuple[float, float] | None) -> Interval | None:
    return None if percent is None else Interval(percent[0] / 100, percent[1] / 100)


def _from_top(rate: float) -> float:
    return 8 + 84 * (1 - rate)
