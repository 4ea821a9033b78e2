"""The block at the end of a run: a row per task, the headline with its interval, what went wrong, what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.text import count, duration, first_line, name_cell, number, percent, percent_range, safe
from proctor.results.stats import LEVEL, Counts
from proctor.results.summary import Summary, TaskSummary

# As many rows as one can take in. Above, suites are shown, and of the tasks those with problems and the weakest.
MAX_TASK_ROWS = 20


def print_summary(console: Console, summary: Summary, directory: Path) -> None:
    """Print what ``summary`` says of the run in ``directory``."""
    console.print(_table(summary))
    if hidden := len(summary.tasks) - len(_shown_tasks(summary)):
        console.print(Text(f"{hidden} more tasks, none with a lower rate, are in the result file.", style="dim"))
    for line in [*_headline(summary), *_errors(summary), *_files(summary, directory)]:
        console.print(line, soft_wrap=True)


def _table(summary: Summary) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("suite", min_width=5)
    table.add_column("task", min_width=8)
    for name in ("success", "rate", f"{LEVEL:.0%} interval", "reward", "steps", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = _shown_tasks(summary)
    if len(shown) < len(summary.tasks):
        for suite, counts in summary.groups.items():
            table.add_row(name_cell(suite), Text("all", style="bold"), *_cells(counts))
        table.add_section()
    for task in shown:
        table.add_row(
            name_cell(task.task.suite), name_cell(f"{task.task.task_id} {task.task.name}"), *_cells(task.counts)
        )
    return table


def _shown_tasks(summary: Summary) -> list[TaskSummary]:
    if len(summary.tasks) <= MAX_TASK_ROWS:
        return list(summary.tasks)
    ranked = sorted(summary.tasks, key=lambda task: (not task.counts.errors, task.counts.rate or 0.0))
    chosen = {id(task) for task in ranked[:MAX_TASK_ROWS]}
    return [task for task in summary.tasks if id(task) in chosen]


def _cells(counts: Counts) -> list[str]:
    return [
        f"{counts.successes}/{counts.completed}",
        percent(counts.rate),
        percent_range(counts.interval),
        number(counts.mean_sum_reward),
        number(counts.mean_length, 1),
        str(counts.errors) if counts.errors else "",
    ]


def _headline(summary: Summary) -> list[Text]:
    """The rate is called the success rate only once every planned episode has run to its end."""
    overall, mean = summary.overall, summary.macro
    final = overall.completed == overall.planned
    lines = [
        Text(""),
        Text.assemble(
            (f"Success rate {percent(overall.rate)}", "bold")
            if final
            else f"No final success rate; of the completed episodes {percent(overall.rate)}",
            f"  ({LEVEL:.0%} interval {percent_range(overall.interval)}; "
            f"{overall.successes} of {count(overall.completed, 'episode')})",
        ),
    ]
    if mean is not None and mean.n_tasks > 1:
        lines.append(
            Text(
                f"Mean over {mean.n_tasks} tasks {percent(mean.rate)}  "
                f"({LEVEL:.0%} interval {percent_range(mean.interval)}, {mean.method})"
            )
        )
    if summary.wall_s is not None:
        episodes, speed = count(len(summary.episodes), "episode"), number(summary.episodes_per_s)
        lines.append(Text(f"{episodes} in {duration(summary.wall_s)}, {speed} episodes/s"))
    return lines


def _errors(summary: Summary) -> list[Text]:
    overall, first = summary.overall, summary.first_error
    if first is None:
        return []
    spec, error = first
    return [
        Text(
            f"{count(overall.errors, 'episode')} ended in an error, which is no failure and in no rate. Bounds, "
            f"with errors counted as failures … as successes: {percent_range(overall.bounds)} %",
            style="red",
        ),
        Text.assemble(("First error: ", "red"), safe(f"{spec}: {error.kind}: {first_line(error.message)}")),
    ]


def _files(summary: Summary, directory: Path) -> list[Text]:
    lines = [safe(f"Results: {directory}")]
    if not summary.complete:
        missing, planned = len(summary.missing), count(summary.overall.planned, "episode")
        lines.append(Text(f"Incomplete: {missing} of {planned} not run yet.", style="yellow"))
    if not summary.complete or summary.overall.errors:
        lines.append(Text.assemble("Go on with: ", safe(f"proctor resume {shlex.quote(str(directory))}", "bold")))
    return lines
