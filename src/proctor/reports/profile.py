"""Prints where the time of an evaluation's workers went: a bar for each kind of work, and a row for each task."""

from __future__ import annotations

from collections.abc import Iterator

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.text import WORTH_SAYING, count, duration, name_cell, number, part_name, percent
from proctor.results.profile import Inference, Profile, TaskProfile
from proctor.types import TIME_PARTS

_MAX_TASK_ROWS = 20
_BAR_WIDTH = 40
_UNKNOWN_SERVER = "The server does not state how long its work took, so its part of the round trip is unknown."
_UNKNOWN_ROUND_TRIP = "The part of the policy server in the inference time was not recorded for every episode."


def print_profile(console: Console, profile: Profile) -> None:
    """Print where the time went, in total and for each task; if there are many tasks, for those that took most."""
    if not profile.tasks or not profile.total.total:
        console.print("No episode has finished yet, so there are no times to show.")
        return
    console.print(Text(_heading(profile), "bold"), Text(""), sep="\n")
    console.print(_bars(profile))
    console.print(*(Text(sentence, style="dim") for sentence in _unknown(profile)), Text(""), sep="\n")
    console.print(_tasks(profile))
    if (hidden := len(profile.tasks) - _MAX_TASK_ROWS) > 0:
        console.print(Text(f"{hidden} more tasks took less.", style="dim"))


def _heading(profile: Profile) -> str:
    if profile.wall_s is None or profile.worker_s is None:
        return f"{duration(profile.total.total)} of workers' time; the number of workers was not recorded"
    workers = round(profile.worker_s / profile.wall_s) if profile.wall_s else 0
    return f"{duration(profile.wall_s)} with {count(workers, 'worker')}: {duration(profile.worker_s)} of workers' time"


def _unknown(profile: Profile) -> Iterator[str]:
    if profile.total.round_trip is None:
        if any(task.timings.round_trip is not None for task in profile.tasks):
            yield _UNKNOWN_ROUND_TRIP
    elif profile.total.server is None:
        yield _UNKNOWN_SERVER


def _bars(profile: Profile) -> Table:
    seconds = profile.total.parts
    if profile.rest_s is not None:
        seconds["tail"] = profile.rest_s
    total = sum(seconds.values())
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "right", "right"):
        table.add_column(justify=justify)

    def add(name: str, spent: float, colour: str) -> None:
        bar = Bar(total, 0, spent, width=_BAR_WIDTH, color=colour)
        table.add_row(name, bar, percent(spent / total), f"{number(spent)} s")

    for part, spent in seconds.items():
        add(part_name(part), spent, "cyan")
        if part == "inference" and (inference := Inference.of(profile.total)) is not None:
            for name, spent_there in _of_inference(inference):
                add(f"  {name}", spent_there, "blue")
    table.add_row(Text("total", "bold"), "", percent(1.0), f"{number(total)} s")
    return table


def _of_inference(inference: Inference) -> Iterator[tuple[str, float]]:
    """Give the parts of the inference time of a policy behind a server."""
    if inference.server_s is None or inference.way_s is None:
        yield "round trip", inference.round_trip_s
    else:
        yield "server", inference.server_s
        yield "network, queue", inference.way_s
    yield "this process", inference.here_s


def _tasks(profile: Profile) -> Table:
    shown = sorted(profile.tasks, key=lambda task: -task.timings.total)[:_MAX_TASK_ROWS]
    worth = [part for part in TIME_PARTS if any(_part(task, part) > WORTH_SAYING for task in shown)]
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
