"""The numbers of episodes that tell two policies apart, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from rich.console import Console
from rich.table import Table

_DESIGNS = {"paired": "the same for both (same seeds)", "independent": "different ones"}


def print_episodes_needed(console: Console, needed: Mapping[str, int], n_tasks: int) -> None:
    """Print the number of episodes of each policy that are ``needed``, by design (``paired``, ``independent``).

    If there are several tasks, the number per task is printed too.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("episodes of each policy")
    table.add_column("all", justify="right")
    if n_tasks > 1:
        table.add_column("per task", justify="right")
    for design, n in needed.items():
        table.add_row(_DESIGNS[design], str(n), *([str(ceil(n / n_tasks))] if n_tasks > 1 else []))
    console.print(table)
