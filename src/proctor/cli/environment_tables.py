"""Prints what ``proctor env list`` lists, as a table or as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.interpreters.environments import State
from proctor.interpreters.overview import NOT_CREATED, Row
from proctor.reports.text import name_cell, safe

_STYLES = {State.READY: "bold green", State.STALE: "yellow", State.BROKEN: "bold red", NOT_CREATED: "dim"}


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print a row for each recipe and environment: its state, Python, size, what it is for, and where it is."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("environment", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("Python", no_wrap=True)
    table.add_column("MB", no_wrap=True, justify="right")
    table.add_column("--env.type", no_wrap=True)
    table.add_column("", style="dim")
    for row in rows:
        style = _STYLES[row.state]
        facts = [safe(row.name, style), safe(row.state, style), safe(_python(row)), safe(_size(row))]
        table.add_row(*facts, safe(", ".join(row.benchmarks)), name_cell(row.recipe.summary if row.recipe else ""))
    console.print(table)
    for row in rows:
        if row.environment is not None:
            console.print(safe(f"{row.name}: {row.environment.folder}", "dim"), soft_wrap=True)
    console.print(Text("\nproctor env create NAME creates one; sizes with ~ are estimates.", "dim"))


def plain_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Make plain values of recipes and environments, for JSON."""
    return [
        {
            "name": row.name,
            "state": row.state,
            "benchmarks": row.benchmarks,
            "python": row.environment.facts.python if row.environment else None,
            "megabytes": row.environment.facts.megabytes if row.environment else None,
            "created": row.environment.facts.created if row.environment else None,
            "path": str(row.environment.folder) if row.environment else None,
            "interpreter": str(row.environment.interpreter) if row.environment else None,
            "recipe": str(row.recipe.path) if row.recipe else row.environment and row.environment.facts.own_recipe,
            "wanted_python": row.recipe.python if row.recipe else None,
            "estimated_megabytes": row.recipe.disk_mb if row.recipe else None,
            "licence": row.recipe.licence if row.recipe else None,
        }
        for row in rows
    ]


def _python(row: Row) -> str:
    if row.environment is not None:
        return row.environment.facts.python
    return row.recipe.python if row.recipe else ""


def _size(row: Row) -> str:
    if row.environment is not None:
        return str(row.environment.facts.megabytes)
    return f"~{row.recipe.disk_mb}" if row.recipe else ""
