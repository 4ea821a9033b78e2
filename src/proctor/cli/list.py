"""``proctor list``."""

from __future__ import annotations

from rich.console import Console

from proctor.cli.output import print_json


def list_command(benchmark: str | None = None, /, *, json: bool = False) -> int:
    """List benchmarks and policies, or the tasks of one benchmark. No simulator is started.

    Parameters
    ----------
    benchmark
        List the tasks of this benchmark, as --env.task takes them.
    json
        Print the list as JSON.
    """
    from proctor.cli import listing
    from proctor.cli.listing_tables import print_entries, print_tasks

    if benchmark is None:
        kinds = {"benchmarks": listing.benchmarks(), "policies": listing.policies()}
        if json:
            print_json({kind: [listing.plain_entry(entry) for entry in entries] for kind, entries in kinds.items()})
        else:
            print_entries(Console(), kinds)
        return 0
    tasks, groups = listing.tasks_of(benchmark), listing.group_sizes(benchmark)
    if json:
        plain = [listing.plain_task(listed) for listed in tasks]
        print_json({"benchmark": benchmark, "groups": groups, "tasks": plain})
    else:
        print_tasks(Console(), tasks, groups)
    return 0
