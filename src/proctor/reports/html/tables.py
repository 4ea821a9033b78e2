"""Tables of tasks, comparisons and provenance for the templates. The numbers are those of ``proctor.results``."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from proctor.reports.comparison import adjustment, column_names, conclusion, gaps, letter
from proctor.reports.html.report_run import ReportRun
from proctor.reports.sentences import circumstances
from proctor.reports.text import safe
from proctor.results.compare import Comparison, Incomparable, RunComparison
from proctor.results.headline import headline_of
from proctor.results.measured import shared_tasks
from proctor.results.run_info import RunInfo
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import Interval
from proctor.types import TaskKey

# ------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class ScoreCell:
    """The result of evaluation number ``run`` in a row; ``counts`` is None if the rate is a mean of rates."""

    run: int
    rate: float | None
    interval: Interval | None
    counts: Counts | None = None


@dataclass(frozen=True)
class TableRow:
    """The results of the evaluations that ran a ``task`` or a ``suite``, of the ``pool`` of all their episodes, or the
    ``mean`` over their tasks (the ``kind``). Only a task has a ``key``.
    """

    kind: str
    name: str
    remark: str
    scores: tuple[ScoreCell, ...]
    key: TaskKey | None = None


@dataclass(frozen=True)
class TaskTable:
    """Every task, below its suite if there are several suites; the last rows are of all tasks together."""

    rows: tuple[TableRow, ...]

    @property
    def with_errors(self) -> bool:
        return any(score.counts.n_errors for row in self.rows for score in row.scores if score.counts)

    @property
    def with_missing(self) -> bool:
        return any(score.counts.n_missing for row in self.rows for score in row.scores if score.counts)


def task_table(runs: Sequence[ReportRun]) -> TaskTable:
    """Make the table of all tasks that at least one evaluation ran."""
    tasks, positions = shared_tasks([run.summary for run in runs])
    suites = list(dict.fromkeys(task.suite for task in tasks))
    with_suites = len(suites) > 1 and any(run.summary.has_suites for run in runs)
    rows = []
    for suite in suites:
        if with_suites:
            rows.append(TableRow("suite", suite, "", _of_suite(runs, suite)))
        for position, task in ((position, task) for position, task in enumerate(tasks) if task.suite == suite):
            name = f"{task.task_id} {task.name}" if with_suites else task.name
            rows.append(TableRow("task", name, task.instruction, _of_task(runs, positions, position), task.key))
    return TaskTable(tuple(rows if len(tasks) == 1 else [*rows, *_of_all(runs)]))


def _of_suite(runs: Sequence[ReportRun], suite: str) -> tuple[ScoreCell, ...]:
    return tuple(
        ScoreCell(number, counts.rate, run.summary.pooled_interval(suite), counts)
        for number, run in enumerate(runs)
        if (counts := run.summary.groups.get(suite)) is not None
    )


def _of_task(
    runs: Sequence[ReportRun], positions: Sequence[Mapping[TaskKey, int]], position: int
) -> tuple[ScoreCell, ...]:
    return tuple(
        ScoreCell(number, summary.counts.rate, run.summary.interval(summary.counts), summary.counts)
        for number, run in enumerate(runs)
        for summary in run.summary.tasks
        if positions[number][summary.task.key] == position
    )


def _of_all(runs: Sequence[ReportRun]) -> Iterator[TableRow]:
    if len(runs) == 1 and runs[0].summary.missing:
        shown = headline_of(runs[0].summary)  # one rate, that of the page's first sentence, and not three
        if shown is not None:
            cell = ScoreCell(0, shown.rate, shown.interval, shown.counts)
            yield TableRow("pool", "so far", "complete rounds of the plan", (cell,))
        return
    pooled = [
        ScoreCell(number, run.summary.overall.rate, run.summary.pooled_interval(), run.summary.overall)
        for number, run in enumerate(runs)
    ]
    means = [
        ScoreCell(number, mean.rate, mean.interval)
        for number, run in enumerate(runs)
        if (mean := run.summary.macro) is not None
    ]
    yield TableRow("pool", "all episodes", "in one pool", tuple(pooled))
    if means:
        yield TableRow("mean", "mean over tasks", "each weighs the same", tuple(means))


# ------------------------------------------------------------------------------------------------------- comparisons


@dataclass(frozen=True)
class ComparisonView:
    """The comparison of evaluation number ``run``, which is called ``letter``, with the first.

    ``conclusion`` and ``remarks`` are sentences, ``rows`` are per task and over all tasks, and ``columns`` name the
    columns of intervals and p values. The axis of the differences goes from ``-axis_limit`` to ``axis_limit`` (0 to 1).
    If the two cannot be compared, only ``reasons`` are given.
    """

    run: int
    letter: str
    conclusion: tuple[Text, ...] = ()
    remarks: tuple[str, ...] = ()
    rows: tuple[Comparison, ...] = ()
    columns: tuple[str, str] = ("", "")
    axis_limit: float = 1.0
    reasons: tuple[str, ...] = ()


def comparison_views(comparisons: Sequence[RunComparison | Incomparable]) -> list[ComparisonView]:
    """Make the view of each comparison, with the letter of the evaluation."""
    return [_comparison_view(number, comparison) for number, comparison in enumerate(comparisons, 1)]


def _comparison_view(number: int, comparison: RunComparison | Incomparable) -> ComparisonView:
    name = letter(number)
    if isinstance(comparison, Incomparable):
        return ComparisonView(number, name, reasons=comparison.reasons)
    tasks, overall = comparison.tasks, comparison.overall
    rows = tasks if len(tasks) == 1 else (*tasks, overall)
    remarks = (*comparison.circumstances, *gaps(comparison, name))
    sentences = (*conclusion(overall, name), *adjustment(comparison))
    return ComparisonView(number, name, sentences, remarks, rows, column_names(comparison), _axis_limit(rows))


def _axis_limit(rows: Sequence[Comparison]) -> float:
    """Round the end of an interval that is farthest from 0 up to the next ten points."""
    intervals = [row.interval for row in rows]
    return math.ceil(10 * max(max(abs(each.low), abs(each.high)) for each in intervals)) / 10 or 1.0


# -------------------------------------------------------------------------------------------------------- provenance


@dataclass(frozen=True)
class Fact:
    """One fact about each evaluation, None if it is not known; ``differs`` is true if they are not all equal."""

    name: str
    values: tuple[str | None, ...]

    @property
    def is_copied(self) -> bool:
        """The fact is one that a reader pastes elsewhere."""
        return self.name in ("where", "command", "policy sha256")

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def provenance(runs: Sequence[ReportRun]) -> list[Fact]:
    """Make the table of the evaluations' provenance, a row for each fact."""
    known = [{} if run.run is None else dict(_facts(run.run)) for run in runs]
    names = dict.fromkeys(name for facts in known for name in facts)
    where = Fact("where", tuple(safe(str(run.path)).plain for run in runs))
    return [where, *(Fact(name, tuple(facts.get(name) for facts in known)) for name in names)]


def _facts(run: RunInfo) -> Iterator[tuple[str, str]]:
    policy = run.opened_policy or run.fingerprint.get("policy", {})
    benchmark, made = run.fingerprint.get("benchmark", {}), run.provenance
    if run.command:
        yield "command", _command_line(run.command)
    yield "date", made.date
    yield from _named("policy", {name: policy.get(name) for name in ("type", "sha256", "n_action_steps", "device")})
    yield from _named("benchmark", benchmark)
    yield from ((label.lower(), text) for label, text in circumstances(run))
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


def _command_line(command: Sequence[str]) -> str:
    """Write a command as it is typed: without the place in which Proctor is installed."""
    program = "proctor" if Path(command[0]).name in ("proctor", "__main__.py") else command[0]
    return shlex.join([program, *command[1:]])


def _named(part: str, values: Any, only: Sequence[str] | None = None) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if value not in (None, {}) and (only is None or name in only):
            yield f"{part} {name}", str(value)
