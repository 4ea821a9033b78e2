"""A run, and a comparison of runs, as Markdown tables, for the summary pages of continuous integration and for issues.

Tables follow GitHub's dialect. Foreign names cannot leave their cell, and are never read as markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from proctor.reports.comparison import adjustment, column_names, conclusion, gaps, letter, row_cells
from proctor.reports.sentences import circumstances, error_lines, headline_lines, run_title
from proctor.reports.text import figure_names, figures, safe
from proctor.results.compare import RunComparison
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary

_MARKUP = re.compile(r"([\\`*_\[\]<>#|~&])")


def run_markdown(run: RunInfo, summary: Summary) -> str:
    """Make a section of a run: its title, the lines with the headline, and a table with a row for each task."""
    lines = [f"### {' · '.join(map(escaped, run_title(run)))}", ""]
    for line in [*headline_lines(summary), *error_lines(summary)]:
        lines += [escaped(line.plain), ""]
    lines += [f"**{label}**: {escaped(text)}  " for label, text in circumstances(run)]
    return _joined([*lines, "", *_tasks(summary)])


def _tasks(summary: Summary) -> Iterator[str]:
    with_errors, with_suites = summary.overall.n_errors > 0, summary.has_suites
    rows = (
        [
            *([task.task.suite] if with_suites else []),
            task.task.name,
            *figures(task.counts, summary.interval(task.counts), with_errors=with_errors),
        ]
        for task in summary.tasks
    )
    return _table(["suite", "task"] if with_suites else ["task"], figure_names(with_errors=with_errors), rows)


def comparison_markdown(comparisons: Sequence[RunComparison], remarks: Sequence[Sequence[str]]) -> str:
    """Make a section for each comparison with the first run: remarks, a table with a row for each task, the verdict."""
    lines = [f"**A** {escaped(str(comparisons[0].a.path))}", ""]
    for position, (comparison, sentences) in enumerate(zip(comparisons, remarks, strict=True)):
        name = letter(position + 1)
        lines += [f"**{name}** {escaped(str(comparison.b.path))}", ""]
        for remark in [*sentences, *gaps(comparison, name)]:
            lines += [f"Note: {escaped(remark)}", ""]
        (verdict, *rest) = conclusion(comparison.overall, name)
        lines += [f"**{escaped(verdict.plain)}**", ""]
        tasks = comparison.tasks if len(comparison.tasks) == 1 else [*comparison.tasks, comparison.overall]
        rows = (list(map(_plain, row_cells(task))) for task in tasks)
        lines += [*_table(["task"], ["A", name, "points", *column_names(comparison), "verdict"], rows), ""]
        for line in [*rest, *adjustment(comparison)]:
            lines += [escaped(line.plain), ""]
    return _joined(lines)


def escaped(text: str) -> str:
    """Return ``text`` on one line, such that Markdown shows every character as it is."""
    return _MARKUP.sub(r"\\\1", safe(text).plain)


def _table(left: Sequence[str], right: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Make a table whose first columns are aligned to the left and whose other columns are aligned to the right."""
    yield _row([*left, *right])
    yield _row([*("---" for _ in left), *("---:" for _ in right)], as_it_is=True)
    yield from map(_row, rows)


def _row(cells: Iterable[str], *, as_it_is: bool = False) -> str:
    return f"| {' | '.join(cell if as_it_is else escaped(cell) for cell in cells)} |"


def _plain(cell: Text | str) -> str:
    return cell.plain if isinstance(cell, Text) else cell


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"
