"""The audit of a run's inputs on a terminal: all of it, and its line in the final block."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.errors import ConfigError
from proctor.reports.text import count, safe
from proctor.results.audit import Audit, Severity, read_audit, worth_a_line

_STYLES = {Severity.SEVERE: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}
_LEFT_OUT = ("histograms", "pictures", "training")


def print_audit(console: Console, audit: Audit) -> None:
    """Print the findings, what was compared, and what could not be compared."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("severity", "evidence", "finding"):
        table.add_column(name, overflow="fold", no_wrap=name != "finding")
    for finding in audit.findings:
        table.add_row(Text(finding.severity, _STYLES[finding.severity]), Text(finding.source), safe(finding.sentence))
    if audit.findings:
        console.print(table)
    elif audit.n_episodes:
        console.print(safe("Nothing that the policy was given or gave looks wrong.", "green"))
    for remark in audit.remarks:
        console.print(Text.assemble(("Note: ", "yellow"), safe(remark)), soft_wrap=True)
    compared = f"{count(audit.n_episodes, 'episode')}; evidence: {', '.join(audit.sources)}"
    console.print(Text(compared, "dim"), soft_wrap=True)


def plain_audit(audit: Audit) -> Mapping[str, Any]:
    """Give an audit as plain JSON values, without what only a page can show."""
    values: dict[str, Any] = msgspec.to_builtins(audit)
    return {name: value for name, value in values.items() if name not in _LEFT_OUT}


def audit_lines(directory: Path, success_rate: float | None) -> Iterator[Text]:
    """Give the line of the final block about the run in ``directory``; none if nothing is worth one.

    ``success_rate`` is 0 to 1, None if it is not known: if the policy works, weak evidence is left out.
    """
    try:
        audit = read_audit(directory)
    except ConfigError:  # proctor audit says what is wrong with the file
        return
    found = [] if audit is None else worth_a_line(audit, success_rate)
    if found:
        more = f" {count(len(found) - 1, 'more finding')}:" if len(found) > 1 else " Details:"
        line = Text.assemble(("Inputs: ", "bold yellow"), safe(found[0].sentence, "yellow"))
        yield line.append(f"{more} proctor audit {shlex.quote(str(directory))}")
