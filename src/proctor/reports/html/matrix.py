"""The comparison of several evaluations as one matrix: a row for each task, a column for each evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proctor.reports.comparison import letter
from proctor.reports.html.report_run import ReportRun
from proctor.reports.html.tables import ScoreCell, TableRow, task_table
from proctor.reports.sentences import error_lines, run_title
from proctor.results.compare import Comparison, Incomparable, RunComparison
from proctor.results.headline import Basis, Headline, headline_of
from proctor.types import TaskKey

N_SHADES = 10
"""The number of shades of the matrix besides the one for a rate of 0."""

MOST_WITH_INTERVALS = 6
"""The most evaluations for which each cell has room for its interval."""

MOST_IN_FULL = 8
"""The most evaluations for which the page has a table of differences for each; the matrix has them for any number."""

ComparedTasks = Mapping[tuple[int, TaskKey | None], Comparison]
"""The comparisons with the first evaluation, by the position of the other and the task; None is all tasks."""


@dataclass(frozen=True)
class MatrixCell:
    """The result of one evaluation in a row, and its comparison with the first evaluation there, if there is one."""

    score: ScoreCell
    compared: Comparison | None

    @property
    def shade(self) -> int | None:
        """The rate from 0 to :data:`N_SHADES`; None if there is no rate."""
        return None if self.score.rate is None else round(N_SHADES * self.score.rate)


@dataclass(frozen=True)
class MatrixRow:
    """A task, a suite, or all tasks together; ``cells`` has None for an evaluation that did not run it."""

    row: TableRow
    cells: tuple[MatrixCell | None, ...]


@dataclass(frozen=True)
class Matrix:
    """The matrix. ``pair`` is true if there are two evaluations, whose differences are then columns of it."""

    rows: tuple[MatrixRow, ...]
    n_runs: int

    @property
    def pair(self) -> bool:
        return self.n_runs == 2 and any(row.cells[1] and row.cells[1].compared for row in self.rows)

    @property
    def has_room(self) -> bool:
        return self.n_runs <= MOST_WITH_INTERVALS

    @property
    def has_rates(self) -> bool:
        return any(cell and cell.score.rate is not None for row in self.rows for cell in row.cells)


def matrix_of(runs: Sequence[ReportRun], comparisons: Sequence[RunComparison | Incomparable]) -> Matrix:
    """Make the matrix of all tasks that at least one evaluation ran."""
    compared = compared_tasks(comparisons)
    rows = task_table(runs).rows
    return Matrix(tuple(MatrixRow(row, _cells(row, len(runs), compared)) for row in rows), len(runs))


def compared_tasks(comparisons: Sequence[RunComparison | Incomparable]) -> ComparedTasks:
    """Index comparisons with the first evaluation by the position of the other evaluation and the task."""
    compared: dict[tuple[int, TaskKey | None], Comparison] = {}
    for number, comparison in enumerate(comparisons, 1):
        if isinstance(comparison, RunComparison):
            keys = comparison.task_keys
            compared |= {(number, key): task for key, task in zip(keys, comparison.tasks, strict=True)}
            compared[number, None] = comparison.overall
    return compared


def _cells(row: TableRow, n_runs: int, compared: ComparedTasks) -> tuple[MatrixCell | None, ...]:
    scores = {score.run: score for score in row.scores}
    return tuple(
        MatrixCell(scores[number], _compared_in(row, number, compared)) if number in scores else None
        for number in range(n_runs)
    )


def _compared_in(row: TableRow, number: int, compared: ComparedTasks) -> Comparison | None:
    """Find the comparison of a row; that of all tasks is in the last row of the table alone."""
    if row.kind == "task":
        return compared.get((number, row.key))
    return compared.get((number, None)) if row.kind == "mean" else None


# ---------------------------------------------------------------------------------------------------------- the runs


@dataclass(frozen=True)
class RunRow:
    """One evaluation in the list of those compared: what it is, its headline, and its comparison with the first.

    ``remark`` says what the rate is of, if it is not of the whole plan. ``reasons`` say why it is not compared.
    """

    run: int
    name: str
    title: tuple[str, ...]
    headline: Headline | None
    remark: str
    warnings: tuple[str, ...]
    compared: Comparison | None
    reasons: tuple[str, ...]


def run_rows(runs: Sequence[ReportRun], comparisons: Sequence[RunComparison | Incomparable]) -> list[RunRow]:
    """Make the list of the evaluations that are compared."""
    against: list[RunComparison | Incomparable | None] = [None, *comparisons]
    return [_run_row(number, run, against[number]) for number, run in enumerate(runs)]


def _run_row(number: int, run: ReportRun, comparison: RunComparison | Incomparable | None) -> RunRow:
    return RunRow(
        number,
        run.name,
        () if run.run is None else tuple(run_title(run.run)),
        shown := headline_of(run.summary),
        "so far" if shown and shown.basis is Basis.ROUNDS else "",
        tuple(line.plain for line in error_lines(run.summary)),
        comparison.overall if isinstance(comparison, RunComparison) else None,
        comparison.reasons if isinstance(comparison, Incomparable) else (),
    )


def shared(sentences: Sequence[Sequence[str]]) -> dict[str, str]:
    """Join equal sentences about several evaluations, the second one first, under their letters: ``B, C``."""
    of_run: dict[str, list[str]] = {}
    for number, each in enumerate(sentences, 1):
        for sentence in each:
            of_run.setdefault(sentence, []).append(letter(number))
    return {sentence: ", ".join(letters) for sentence, letters in of_run.items()}
