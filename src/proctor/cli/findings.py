"""Prints what ``proctor doctor`` finds."""

from __future__ import annotations

from rich.console import Console

from proctor.doctor import Check, Finding, Status
from proctor.reports.text import safe

_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.BROKEN: "bold red", Status.ABSENT: "dim"}


def print_finding(console: Console, check: Check, finding: Finding, width: int) -> None:
    """Print a line for a check, whose name is padded to ``width``, and below it the remedy if one is needed."""
    status = safe(f"{finding.status:<8}", _STYLES[finding.status])
    console.print(status.append(f" {check.name:<{width}}  ", "bold").append(safe(finding.message)), soft_wrap=True)
    if finding.remedy and finding.status is not Status.OK:
        console.print(safe(f"{'':<8} {'':<{width}}  → {finding.remedy}", "dim"), soft_wrap=True)
