"""Tasks, comparisons and provenance as rows that the templates print. Numbers are those of ``proctor.results``."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from proctor.reports.comparison import adjustment, column_names, conclusion, gaps, letter
from proctor.reports.html.runs import ReportRun
from proctor.reports.text import safe
from proctor.results.compare import Challenge, Comparison, Incomparable
from proctor.results.run_dir import RunInfo
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import Interval
from proctor.types import Task

# ------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class ScoreCell:
    """How evaluation number ``run`` did; ``counts`` is None where the rate is a mean of rates."""

    run: int
    rate: float | None
    interval: Interval | None
    counts: Counts | None = None


@dataclass(frozen=True)
class TableRow:
    """What each evaluation did in a ``task``, a ``suite``, or ``all``, as far as it ran it."""

    kind: str
    name: str
    remark: str
    scores: tuple[ScoreCell, ...]


@dataclass(frozen=True)
class TaskTable:
    """Every task, under its suite where there are several; all of them together at the end."""

    rows: tuple[TableRow, ...]

    @property
    def with_errors(self) -> bool:
        return any(score.counts.n_errors for row in self.rows for score in row.scores if score.counts)

    @property
    def with_missing(self) -> bool:
        return any(score.counts.n_missing for row in self.rows for score in row.scores if score.counts)


def task_table(runs: Sequence[ReportRun]) -> TaskTable:
    """What every evaluation did in every task that one of them was given."""
    tasks = {task.task.key: task.task for run in runs for task in run.summary.tasks}
    suites = list(dict.fromkeys(key.suite for key in tasks))
    with_suites = len(suites) > 1 and any(run.summary.has_suites for run in runs)
    rows = []
    for suite in suites:
        if with_suites:
            rows.append(TableRow("suite", suite, "", _of_suite(runs, suite)))
        for task in (task for task in tasks.values() if task.suite == suite):
            name = f"{task.task_id} {task.name}" if with_suites else task.name
            rows.append(TableRow("task", name, task.instruction, _of_task(runs, task)))
    return TaskTable(tuple(rows if len(tasks) == 1 else [*rows, *_of_all(runs)]))


def _of_suite(runs: Sequence[ReportRun], suite: str) -> tuple[ScoreCell, ...]:
    return tuple(
        ScoreCell(number, counts.rate, run.summary.pooled_interval(suite), counts)
        for number, run in enumerate(runs)
        if (counts := run.summary.groups.get(suite)) is not None
    )


def _of_task(runs: Sequence[ReportRun], task: Task) -> tuple[ScoreCell, ...]:
    return tuple(
        ScoreCell(number, summary.counts.rate, run.summary.interval(summary.counts), summary.counts)
        for number, run in enumerate(runs)
        for summary in run.summary.tasks
        if summary.task.key == task.key
    )


def _of_all(runs: Sequence[ReportRun]) -> Iterator[TableRow]:
    pooled = [
        ScoreCell(number, run.summary.overall.rate, run.summary.pooled_interval(), run.summary.overall)
        for number, run in enumerate(runs)
    ]
    means = [
        ScoreCell(number, mean.rate, mean.interval)
        for number, run in enumerate(runs)
        if (mean := run.summary.macro) is not None
    ]
    yield TableRow("all", "all episodes", "in one pool", tuple(pooled))
    if means:
        yield TableRow("all", "mean over tasks", "each weighs the same", tuple(means))


# ------------------------------------------------------------------------------------------------------- comparisons


@dataclass(frozen=True)
class ComparisonView:
    """One evaluation against the first: ``said`` and ``remarks`` in sentences, ``rows`` per task and over all.

    Differences in the rows lie within ``reach``, in 0 to 1, on both sides of none. Where there is no comparison,
    ``reasons`` say why. ``columns`` name the intervals and the p values.
    """

    letter: str
    said: tuple[Text, ...] = ()
    remarks: tuple[str, ...] = ()
    rows: tuple[Comparison, ...] = ()
    columns: tuple[str, str] = ("", "")
    reach: float = 1.0
    reasons: tuple[str, ...] = ()


def comparison_views(comparisons: Sequence[Challenge | Incomparable]) -> list[ComparisonView]:
    """Every evaluation but the first, with its letter."""
    return [_comparison_view(letter(number), comparison) for number, comparison in enumerate(comparisons, 1)]


def _comparison_view(name: str, comparison: Challenge | Incomparable) -> ComparisonView:
    if isinstance(comparison, Incomparable):
        return ComparisonView(name, reasons=comparison.reasons)
    tasks, overall = comparison.tasks, comparison.overall
    rows = tasks if len(tasks) == 1 else (*tasks, overall)
    remarks = (*comparison.circumstances, *gaps(comparison, name))
    said = (*conclusion(overall, name), *adjustment(comparison))
    return ComparisonView(name, said, remarks, rows, column_names(comparison), _reach(rows))


def _reach(rows: Sequence[Comparison]) -> float:
    """The farthest end of an interval, up to the next ten points."""
    intervals = [row.interval for row in rows]
    return math.ceil(10 * max(max(abs(each.low), abs(each.high)) for each in intervals)) / 10 or 1.0


# -------------------------------------------------------------------------------------------------------- provenance


@dataclass(frozen=True)
class Fact:
    """Something known of each evaluation, None where it is not; and whether they differ in it."""

    name: str
    values: tuple[str | None, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def provenance(runs: Sequence[ReportRun]) -> list[Fact]:
    """Where the numbers come from, a row for each thing."""
    known = [{} if run.run is None else dict(_facts(run.run)) for run in runs]
    names = dict.fromkeys(name for facts in known for name in facts)
    where = Fact("where", tuple(safe(str(run.path)).plain for run in runs))
    return [where, *(Fact(name, tuple(facts.get(name) for facts in known)) for name in names)]


def _facts(run: RunInfo) -> Iterator[tuple[str, str]]:
    policy = run.opened_policy or run.fingerprint.get("policy", {})
    benchmark, made = run.fingerprint.get("benchmark", {}), run.provenance
    if run.command:
        yield "command", shlex.join(run.command)
    yield "date", made.date
    yield from _named("policy", {name: policy.get(name) for name in ("type", "sha256", "n_action_steps", "device")})
    yield from _named("benchmark", benchmark)
    yield "seed", str(run.config.get("seed"))
    yield from _named("eval", run.config.get("eval", {}), only=("n_episodes", "ci", "stop_at_ci_width"))
    if made.git is not None:
        changes = {True: ", with changes that are not committed", None: ", perhaps with changes"}
        yield "code", made.git.commit[:12] + changes.get(made.git.dirty, "")
    yield "machine", f"{made.cpu}, {made.usable_cores} cores; {made.platform}"
    yield "python", made.python
    if made.gl_backend:
        yield "rendering", made.gl_backend
    yield "packages", ", ".join(f"{name} {version}" for name, version in made.packages.items() if version)


def _named(part: str, values: Any, only: Sequence[str] | None = None) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if value not in (None, {}) and (only is None or name in only):
            yield f"{part} {name}", str(value)
