"""Episodes as CSV and Parquet: every bit of a number, every character of a name."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from proctor.errors import ResourceError
from proctor.reports.export import COLUMNS, ExportRow, episode_rows, write_csv, write_parquet
from proctor.results.summary import summarize
from proctor.types import AttemptError, EpisodeResult, EpisodeSpec, Outcome, Task, Timings

HOSTILE = (
    '=HYPERLINK("http://example.org","x")',
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\ttab",
    "\rreturn",
    "\nline",
    "＝1",  # noqa: RUF001
    "'already quoted",
    "''twice",
    'comma, "quote"; semicolon\nand a line',
    "\x1b[31mred",
    "übung 🙂",
    "",
)
AWKWARD = (0.1 + 0.2, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, -17.25, 0.0, 1.0, 1e22, -1e-7, 3, 4, 5)

COLUMN = {column.name: position for position, column in enumerate(COLUMNS)}
CONVERT = {"text": str, "integer": int, "number": float, "boolean": {"True": True, "False": False}.__getitem__}


def rows():
    """One episode per hostile name and awkward number, and one that could not be run."""
    for index, (name, number) in enumerate(zip(HOSTILE, AWKWARD, strict=True)):
        task = Task("zoo", index, name, name, 100)
        result = EpisodeResult(
            EpisodeSpec("zoo", index, index, 1000 + index, None if index % 2 else index),
            Outcome.SUCCESS if index % 3 else Outcome.FAILURE,
            float(number),
            float(number),
            length=index,
            n_looks=2,
            final_state_hash="ab12",
            timings=Timings(step=1 / 7),
        )
        yield ExportRow(task, result, f"videos/zoo_{index}/eval_episode_0.mp4" if index else None)
    spec = EpisodeSpec("zoo", 99, 0, 1000)
    errors = (AttemptError("hung", "too late"), AttemptError("raised", "=cmd|' /C calc'!A0"))
    yield ExportRow(Task("zoo", 99, "broken", "", 100), EpisodeResult(spec, Outcome.ERROR, errors=errors), None)


EXPECTED = [{column.name: column.cell(row) for column in COLUMNS} for row in rows()]


def same_bits(one, other):
    return one == other and (not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, other))


def read_csv(path):
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))


def test_csv_gives_back_every_text_and_every_bit(tmp_path):
    """One apostrophe less where a text begins with one; an empty cell is nothing, or an empty text."""
    write_csv(tmp_path / "episodes.csv", rows())

    header, *lines = read_csv(tmp_path / "episodes.csv")
    assert header == [column.name for column in COLUMNS]
    assert len(lines) == len(EXPECTED)
    for line, expected in zip(lines, EXPECTED, strict=True):
        for column, text in zip(COLUMNS, line, strict=True):
            value = expected[column.name]
            if text == "":
                assert value in (None, "")
            else:
                assert same_bits(CONVERT[column.kind](text.removeprefix("'")), value), column.name


def test_no_text_of_a_csv_file_begins_a_formula(tmp_path):
    """A negative number is one, though; and every text stands in quotes, so no other separator can cut one out."""
    write_csv(tmp_path / "episodes.csv", rows())

    _, *lines = read_csv(tmp_path / "episodes.csv")
    texts = [text for line in lines for column, text in zip(COLUMNS, line, strict=True) if column.kind == "text"]
    assert not [text for text in texts if re.match(r"[=+\-@\t\r\n＝＋－＠]", text)]  # noqa: RUF001
    assert any(line[COLUMN["sum_reward"]] == "-17.25" for line in lines)
    assert b"\"'=cmd|' /C calc'!A0\"" in (tmp_path / "episodes.csv").read_bytes()


def test_parquet_gives_back_everything_as_it_was(tmp_path):
    """With types, and null for what does not exist."""
    write_parquet(tmp_path / "episodes.parquet", rows())

    table = pq.read_table(tmp_path / "episodes.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        column.name: {"text": "string", "integer": "int64", "number": "double", "boolean": "bool"}[column.kind]
        for column in COLUMNS
    }
    for read, expected in zip(table.to_pylist(), EXPECTED, strict=True):
        assert all(same_bits(read[name], expected[name]) for name in expected)


def test_a_data_frame_reads_the_types_from_either_file(tmp_path):
    """What is empty is no text."""
    write_csv(tmp_path / "episodes.csv", rows())
    write_parquet(tmp_path / "episodes.parquet", rows())

    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    from_csv = pyarrow.csv.read_csv(tmp_path / "episodes.csv", parse_options=options)
    from_parquet = pq.read_table(tmp_path / "episodes.parquet")
    for name in ("task_id", "init_state_id", "success", "sum_reward", "length", "step_s"):
        assert from_csv[name].to_pylist() == from_parquet[name].to_pylist()


def test_rows_are_the_plan_s_episodes_that_have_a_result():
    """With their task and their video."""
    task = Task("zoo", 0, "feed-lion", "feed the lion", 100)
    specs = [EpisodeSpec("zoo", 0, index, 1000 + index) for index in range(3)]
    results = [EpisodeResult(spec, Outcome.SUCCESS, 1.0, 1.0, 10) for spec in (specs[2], specs[0])]
    summary = replace(summarize([task], specs, results), videos={specs[2]: "videos/zoo_0/eval_episode_2.mp4"})

    assert list(episode_rows(summary)) == [
        ExportRow(task, results[1], None),
        ExportRow(task, results[0], "videos/zoo_0/eval_episode_2.mp4"),
    ]


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, write):
    """And nothing else."""
    path = tmp_path / "episodes"
    write(path, [])
    before = path.read_bytes()

    def failing():
        yield from rows()
        raise OSError(28, os.strerror(28))

    with pytest.raises(ResourceError, match=f"{path} cannot be written: No space left on device"):
        write(path, failing())

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_documentation_has_every_column_in_order():
    """As readers rely on both."""
    page = (Path(__file__).parents[2] / "docs" / "results-format.md").read_text()
    section = page.partition("## Exported episodes")[2].partition("\n## ")[0]

    documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
    assert documented == [(column.name, column.kind) for column in COLUMNS]
