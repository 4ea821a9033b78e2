"""Prints what ``proctor list`` lists: benchmarks and policies, or the tasks of one benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.cli.listing import Entry, ListedTask
from proctor.reports.text import count, safe


def print_entries(console: Console, kinds: Mapping[str, Sequence[Entry]]) -> None:
    """Print a row per benchmark and policy: its name, what it is, and whether it can be used or how it could be."""
    for kind, entries in kinds.items():
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(kind, no_wrap=True)
        table.add_column("")
        for entry in entries:
            name = safe(entry.name, "bold green" if entry.usable else "bold yellow")
            table.add_row(name, Text("\n").join(_description(entry)))
        console.print(table)
        console.print()
    console.print(Text("proctor list BENCHMARK lists its tasks.", "dim"))


def _description(entry: Entry) -> list[Text]:
    """Describe a benchmark or a policy in a few lines: its summary, versions, what is missing, what is wrong."""
    needs = entry.requirements
    lines = [safe(entry.summary)] if entry.summary else []
    if needs.present:
        lines.append(safe(", ".join(f"{name} {version}" for name, version in needs.present.items()), "dim"))
    if not needs.met:
        lines += [safe(f"missing: {', '.join(needs.missing)}", "yellow"), safe(needs.command, "bold")]
    if entry.environment:
        lines.append(safe(f"runs in the environment '{entry.environment}'", "green"))
    elif entry.recipe:
        lines.append(safe(f"proctor env create {entry.recipe}", "bold"))
    if entry.problem:
        lines.append(safe(entry.problem, "red"))
    return lines


def print_tasks(console: Console, tasks: Sequence[ListedTask], groups: Mapping[str, int]) -> None:
    """Print each task with its groups, steps and instruction, then the groups with their numbers of tasks.

    If names are longer than half of the terminal, the rest of a row is printed below the name.
    """
    if max(len(listed.task.name) for listed in tasks) <= console.width // 2:
        console.print(_task_table(tasks, with_groups=bool(groups)))
    else:
        for listed in tasks:
            facts = [*listed.groups, f"{listed.task.max_episode_steps} steps", listed.task.instruction]
            console.print(safe(listed.task.name, "bold"), soft_wrap=True)
            console.print(safe("    " + " · ".join(fact for fact in facts if fact), "dim"), soft_wrap=True)
    if groups:
        sizes = ", ".join(f"{group} ({count(n, 'task')})" for group, n in groups.items())
        console.print(Text.assemble("\nGroups: ", safe(sizes)), soft_wrap=True)


def _task_table(tasks: Sequence[ListedTask], *, with_groups: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("task", no_wrap=True)
    table.add_column("steps", justify="right")
    if with_groups:
        table.add_column("groups", style="dim")
    table.add_column("instruction", style="dim")
    for listed in tasks:
        task = listed.task
        groups = [safe(", ".join(listed.groups))] if with_groups else []
        table.add_row(safe(task.name), str(task.max_episode_steps), *groups, safe(task.instruction))
    return table
