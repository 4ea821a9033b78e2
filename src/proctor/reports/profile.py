"""Prints where the time of an evaluation's workers went: a bar for each kind of work, and a row for each task."""

from __future__ import annotations

from dataclasses import fields

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.text import WORTH_SAYING, count, duration, name_cell, number, part_name, percent
from proctor.results.profile import Profile, TaskProfile
from proctor.types import Timings

_PARTS = tuple(part.name for part in fields(Timings))
_MAX_TASK_ROWS = 20
_BAR_WIDTH = 40


def print_profile(console: Console, profile: Profile) -> None:
    """Print where the time went, in total and for each task; if there are many tasks, for those that took most."""
    if not profile.tasks or not profile.total.total:
        console.print("No episode has finished yet, so there are no times to show.")
        return
    console.print(Text(_heading(profile), "bold"), Text(""), sep="\n")
    console.print(_bars(profile), Text(""), sep="\n")
    console.print(_tasks(profile))
    if (hidden := len(profile.tasks) - _MAX_TASK_ROWS) > 0:
        console.print(Text(f"{hidden} more tasks took less.", style="dim"))


def _heading(profile: Profile) -> str:
    if profile.wall_s is None or profile.worker_s is None:
        return f"{duration(profile.total.total)} of workers' time; the number of workers was not recorded"
    workers = round(profile.worker_s / profile.wall_s) if profile.wall_s else 0
    return f"{duration(profile.wall_s)} with {count(workers, 'worker')}: {duration(profile.worker_s)} of workers' time"


def _bars(profile: Profile) -> Table:
    seconds = {part_name(part): float(getattr(profile.total, part)) for part in _PARTS}
    if profile.rest_s is not None:
        seconds["tail"] = profile.rest_s
    total = sum(seconds.values())
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "right", "right"):
        table.add_column(justify=justify)
    for name, spent in seconds.items():
        table.add_row(
            name, Bar(total, 0, spent, width=_BAR_WIDTH, color="cyan"), percent(spent / total), f"{number(spent)} s"
        )
    table.add_row(Text("total", "bold"), "", percent(1.0), f"{number(total)} s")
    return table


def _tasks(profile: Profile) -> Table:
    shown = sorted(profile.tasks, key=lambda task: -task.timings.total)[:_MAX_TASK_ROWS]
    worth = [part for part in _PARTS if any(_part(task, part) > WORTH_SAYING for task in shown)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task (parts in %)", min_width=8)
    for name in ("time", *map(part_name, worth)):
        table.add_column(name, justify="right", no_wrap=True)
    for task in shown:
        cells = (f"{100 * _part(task, part):.0f}" for part in worth)
        table.add_row(name_cell(task.task.name), duration(task.timings.total), *cells)
    return table


def _part(task: TaskProfile, part: str) -> float:
    return float(getattr(task.timings, part)) / task.timings.total if task.timings.total else 0.0
