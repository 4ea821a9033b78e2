"""Episodes as a table for other programs: CSV and Parquet, one row for each episode that has a result.

The columns and their order are part of the format (docs/results-format.md). Numbers are read back from either file
with the same bits. Names from a simulator are data in both formats: in a CSV file, a text that a spreadsheet would
take for a formula begins with an apostrophe.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from proctor.errors import MissingExtraError
from proctor.results.files import replacing
from proctor.results.summary import Summary
from proctor.types import TIME_PARTS, EpisodeResult, Outcome, Task

Cell = str | int | float | bool | None

_BATCH = 65_536
"""The number of rows that are in memory at a time."""

_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - full-width signs begin a formula too
_APOSTROPHE = "'"


class ExportRow(NamedTuple):
    """One episode with its task, and its video's path relative to the run directory, None if there is no video."""

    task: Task
    result: EpisodeResult
    video: str | None


@dataclass(frozen=True)
class Column:
    """A column of the table; ``kind`` is the type of every cell that is not None (empty in CSV, null in Parquet)."""

    name: str
    kind: Literal["text", "integer", "number", "boolean"]
    cell: Callable[[ExportRow], Cell]


def _timing(part: str) -> Column:
    return Column(f"{part}_s", "number", lambda row: float(getattr(row.result.timings, part)))


def _attempts(row: ExportRow) -> int:
    return len(row.result.errors) + (row.result.outcome is not Outcome.ERROR)


COLUMNS = (
    Column("suite", "text", lambda row: row.task.suite),
    Column("task_id", "integer", lambda row: row.task.task_id),
    Column("task", "text", lambda row: row.task.name),
    Column("instruction", "text", lambda row: row.task.instruction),
    Column("episode_index", "integer", lambda row: row.result.spec.episode_index),
    Column("seed", "integer", lambda row: row.result.spec.seed),
    Column("init_state_id", "integer", lambda row: row.result.spec.init_state_id),
    Column("outcome", "text", lambda row: row.result.outcome.value),
    Column("success", "boolean", lambda row: row.result.success),
    Column("sum_reward", "number", lambda row: row.result.sum_reward),
    Column("max_reward", "number", lambda row: row.result.max_reward),
    Column("length", "integer", lambda row: row.result.length),
    Column("n_looks", "integer", lambda row: row.result.n_looks),
    Column("final_state_hash", "text", lambda row: row.result.final_state_hash),
    Column("attempts", "integer", _attempts),
    Column("error_kind", "text", lambda row: row.result.errors[-1].kind if row.result.errors else None),
    Column("error_message", "text", lambda row: row.result.errors[-1].message if row.result.errors else None),
    *map(_timing, TIME_PARTS),
    Column("video", "text", lambda row: row.video),
)


def episode_rows(summary: Summary) -> Iterator[ExportRow]:
    """Give a row for each episode that has a result, in the order of the plan."""
    for task in summary.tasks:
        for result in task.episodes:
            yield ExportRow(task.task, result, summary.videos.get(result.spec))


def write_csv(path: Path, rows: Iterable[ExportRow]) -> None:
    """Write ``rows`` as CSV in UTF-8 with a header line. Texts are quoted, and None is an empty cell.

    Raises:
        ResourceError: the file cannot be written; what was at ``path`` before is unchanged.
    """
    with replacing(path) as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file), quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(column.name for column in COLUMNS)
        writer.writerows([_csv_cell(column.cell(row)) for column in COLUMNS] for row in rows)


def _csv_cell(value: Cell) -> Cell:
    """Protect a text from a spreadsheet by an apostrophe in front.

    A text that begins with an apostrophe gets another one, so that removing the first one restores every text.
    """
    if isinstance(value, str) and value[:1] in {*_FORMULA_STARTS, _APOSTROPHE}:
        return _APOSTROPHE + value
    return value


def write_parquet(path: Path, rows: Iterable[ExportRow]) -> None:
    """Write ``rows`` as Parquet.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ResourceError: the file cannot be written; what was at ``path`` before is unchanged.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", str(error)) from None
    kinds = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
    schema = pa.schema([(column.name, kinds[column.kind]) for column in COLUMNS])
    rest = iter(rows)
    with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        while batch := list(islice(rest, _BATCH)):
            columns = {column.name: [column.cell(row) for row in batch] for column in COLUMNS}
            writer.write_table(pa.table(columns, schema=schema))


WRITERS: dict[str, Callable[[Path, Iterable[ExportRow]], None]] = {"csv": write_csv, "parquet": write_parquet}
"""The function for each format by its name, which is also the ending of its files."""
