"""``proctor runs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from proctor.cli.output import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from proctor.reports.runs import RunRow

_SHOWN = 20


def runs_command(folder: Path | None = None, /, *, all: bool = False, json: bool = False) -> int:  # noqa: A002 - flags
    """List the evaluations here, the last one first: name, policy, benchmark, success rate, state, date.

    These are the runs in outputs/eval and outputs/sweep, and those that were begun from this directory, or lie below
    it, elsewhere. A part of a name, if no other run has it, stands for the run in the other commands.

    Parameters
    ----------
    folder
        List the runs below this folder instead.
    all
        List every run, and not the last 20 only.
    json
        Print the list as JSON.
    """
    from proctor.reports.runs import plain_row, read_row
    from proctor.results.run_index import EVALUATIONS, runs_here

    found = runs_here(folder)
    shown = found if all or json else found[:_SHOWN]
    rows = [read_row(directory) for directory in shown]
    if json:
        print_json([plain_row(row) for row in rows])
        return 0
    console = Console()
    if not rows:
        console.print(f"There is no run in {folder or EVALUATIONS}. Begin one with: proctor eval", soft_wrap=True)
        return 0
    _print(console, rows, len(found) - len(shown))
    return 0


def _print(console: Console, rows: Sequence[RunRow], n_hidden: int) -> None:
    from proctor.reports.runs import runs_table

    table: Table = runs_table(rows, console.width)
    console.print(table)
    if n_hidden:
        console.print(f"{n_hidden} older ones are listed by: proctor runs --all", style="dim", soft_wrap=True)
