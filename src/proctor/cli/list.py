"""``proctor list``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from proctor.cli.listing import Entry, ListedTask


def list_command(benchmark: str | None = None, /, *, json: bool = False) -> int:
    """List benchmarks and policies, or the tasks of one benchmark. No simulator is started.

    Parameters
    ----------
    benchmark
        List its tasks, as --env.task takes them.
    json
        As JSON.
    """
    from rich.console import Console

    from proctor.cli import listing
    from proctor.cli.output import print_json

    if benchmark is None:
        kinds = {"benchmarks": listing.benchmarks(), "policies": listing.policies()}
        if json:
            print_json({kind: [_plain(entry) for entry in entries] for kind, entries in kinds.items()})
        else:
            _print_entries(Console(), kinds)
        return 0
    tasks, groups = listing.tasks_of(benchmark), listing.group_sizes(benchmark)
    if json:
        print_json({"benchmark": benchmark, "groups": groups, "tasks": [_plain_task(listed) for listed in tasks]})
    else:
        _print_tasks(Console(), tasks, groups)
    return 0


def _plain(entry: Entry) -> dict[str, Any]:
    needs = entry.requirements
    return {
        "name": entry.name,
        "summary": entry.summary,
        "usable": entry.usable,
        "present": needs.present,
        "missing": needs.missing,
        "install": None if needs.met else needs.command,
        "problem": entry.problem or None,
    }


def _plain_task(listed: ListedTask) -> dict[str, Any]:
    task = listed.task
    return {
        "task": task.name,
        "instruction": task.instruction,
        "max_episode_steps": task.max_episode_steps,
        "groups": listed.groups,
    }


def _print_entries(console: Console, kinds: Mapping[str, Sequence[Entry]]) -> None:
    """A row per benchmark and policy: its name, what it is, and whether it can be used or how it could be."""
    from rich.table import Table
    from rich.text import Text

    from proctor.reports.text import safe

    for kind, entries in kinds.items():
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(kind, no_wrap=True)
        table.add_column("")
        for entry in entries:
            needs = entry.requirements
            about = [safe(entry.summary)] if entry.summary else []
            if needs.present:
                versions = ", ".join(f"{name} {version}" for name, version in needs.present.items())
                about.append(safe(versions, "dim"))
            if not needs.met:
                about += [safe(f"missing: {', '.join(needs.missing)}", "yellow"), safe(needs.command, "bold")]
            if entry.problem:
                about.append(safe(entry.problem, "red"))
            name = safe(entry.name, "bold green" if entry.usable else "bold yellow")
            table.add_row(name, Text("\n").join(about))
        console.print(table)
        console.print()
    console.print(Text("proctor list BENCHMARK lists its tasks.", "dim"))


def _print_tasks(console: Console, tasks: Sequence[ListedTask], groups: Mapping[str, int]) -> None:
    """Each task with its groups, steps and instruction, beside its name or, where names are long, below; the groups."""
    from rich.text import Text

    from proctor.reports.text import count, safe

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
    from rich.table import Table

    from proctor.reports.text import safe

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("task", no_wrap=True)
    table.add_column("steps", justify="right")
    if with_groups:
        table.add_column("groups", style="dim")
    table.add_column("instruction", style="dim")
    for listed in tasks:
        task = listed.task
        held_by = [safe(", ".join(listed.groups))] if with_groups else []
        table.add_row(safe(task.name), str(task.max_episode_steps), *held_by, safe(task.instruction))
    return table
