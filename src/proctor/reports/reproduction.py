"""Known results and what a run shows of them: the list of all, the protocol of one, and the comparison."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.comparison import p_value, points, points_range
from proctor.reports.text import NONE, percent
from proctor.results.provenance import Provenance
from proctor.results.reproduction import KnownRate, KnownResult, Reproduction, Verdict, all_hold

_STYLES = {Verdict.AGREES: "green", Verdict.EQUAL: "green"}
_EQUAL = "The run gives the recorded number of successes."
_NOT_EQUAL = (
    "The run gives another number of successes than the recorded one. With another kind of CPU or other versions some "
    "episodes may end differently; run.json says what was installed."
)
_AGREES = "The run agrees with that result: no difference is shown."
_DOES_NOT_AGREE = "The run does not agree with that result: a difference is shown."


def print_known_results(console: Console, results: Iterable[KnownResult]) -> None:
    """Print a table of the results that can be measured again."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "result", "what"):
        table.add_column(column, no_wrap=column != "what", overflow="fold")
    for result in results:
        table.add_row(result.name, _known(result.rates[-1]), result.title)
    console.print(table, Text("\nproctor reproduce NAME measures one of them again.", "dim"), sep="\n")


def print_known_result(console: Console, known: KnownResult) -> None:
    """Print what is known of a result: its source, protocol, differences, rates, and the command."""
    console.print(Text(known.title, "bold"))
    lines = [("recorded by" if known.recorded else "published in", known.source), ("protocol", known.protocol)]
    lines += [("differs", difference) for difference in known.differences]
    lines += [("rate" if rate.suite is None else rate.suite, _known(rate)) for rate in known.rates]
    lines += [("first", known.before)] if known.before else []
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    command = Text.assemble(("command  ", "dim"), shlex.join(["proctor", "eval", *known.options]))
    console.print(table)
    console.print(command, soft_wrap=True)  # on one line, so that it can be copied


def print_reproductions(console: Console, known: KnownResult, found: Sequence[Reproduction]) -> None:
    """Print the measured rates beside the known ones, and what that shows."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for column in ("recorded" if known.recorded else "published", "measured", "points", "95% interval", "p", ""):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for each in found:
        table.add_row(*_cells(each))
    console.print(Text(""), table, sep="\n")
    console.print(Text(_conclusion(found), "bold"), soft_wrap=not console.is_terminal)


def _conclusion(found: Sequence[Reproduction]) -> str:
    verdicts = {each.verdict for each in found}
    if Verdict.DIFFERENT in verdicts:
        return _NOT_EQUAL
    if not all_hold(found):
        return _DOES_NOT_AGREE
    return _EQUAL if verdicts == {Verdict.EQUAL} else _AGREES


def rows_in_markdown(known: KnownResult, found: Sequence[Reproduction], provenance: Provenance) -> str:
    """Return a row of a Markdown table for each rate: name, known and measured rate, verdict, versions, processor."""
    versions = ", ".join(f"{name} {version}" for name, version in provenance.packages.items() if version)
    rows = (
        [known.name, *map(str, _cells(each)), versions, provenance.cpu or NONE, provenance.date[:10]] for each in found
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _known(rate: KnownRate) -> str:
    number = NONE if rate.n_episodes is None else str(rate.n_episodes)
    if rate.n_successes is not None:
        return f"{percent(rate.rate)} ({rate.n_successes} of {number})"
    digits = 1 if math.isclose(rate.rate, round(rate.rate, 3)) else 2
    return percent(rate.rate, digits) + (f" of {number}" if rate.n_episodes else "")


def _cells(each: Reproduction) -> list[str | Text]:
    measured = f"{percent(each.measured.rate)} ({each.measured.successes} of {each.measured.n})"
    return [
        each.known.suite or "all",
        _known(each.known),
        measured,
        points(each.difference),
        points_range(each.interval),
        NONE if each.p_value is None else p_value(each.p_value),
        Text(each.verdict, _STYLES.get(each.verdict, "red")),
    ]
