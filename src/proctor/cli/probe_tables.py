"""Prints what ``proctor probe`` found: what the policy was given, what was sent, what came back, and what is odd."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.evaluation.probe import Probe, Wire
from proctor.evaluation.probe_numbers import ActionNumbers, ArrayNumbers
from proctor.reports.sentences import EXACTNESS
from proctor.reports.text import NONE, count, number, percent, safe
from proctor.tuning.model import short_time
from proctor.types import Outcome

_MOST_DIMENSIONS = 32
_LONGEST = 300
_ENDS = {
    Outcome.SUCCESS: "success",
    Outcome.FAILURE: "no success",  # the episode was cut short, so that this is not a failure
    Outcome.UNKNOWN: "the environment reported neither success nor failure",
}


def print_probe(console: Console, found: Probe) -> None:
    """Print the tables, then the warnings."""
    console.print(_facts(_policy(found)))
    _section(console, "Given to the policy", _arrays(found.observations) if found.observations else None)
    if found.wire is not None:
        size = f"{found.wire.request_bytes} bytes per request, {found.wire.reply_bytes} bytes per reply"
        _section(console, f"Sent to the server ({size})", _arrays(found.wire.arrays))
        console.print(_facts(_said(found.wire)))
    if found.actions is not None:
        _section(console, _actions_title(found.actions), _actions(found.actions))
    console.print()
    console.print(_facts(_end(found)))
    for line in found.error.splitlines():
        console.print(safe(line, "red"))
    console.print()
    for label, sentences in (("Note: ", found.notes), ("Warning: ", found.warnings)):
        for sentence in sentences:
            console.print(Text.assemble((label, "yellow"), safe(sentence)))
    if not found.warnings and not found.error:
        console.print("Nothing looks odd.")


def _section(console: Console, title: str, table: Table | None) -> None:
    console.print(Text(f"\n{title}", "bold"))
    console.print(table if table is not None else Text("no arrays: the policy runs beside the simulator", "dim"))


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, "dim"), safe(value))
    return table


def _policy(found: Probe) -> Iterator[tuple[str, str]]:
    yield "policy", str(found.policy.get("type", ""))
    yield "episode", f"{found.task}: {found.spec}"
    for instruction in found.instructions:
        yield "instruction", repr(instruction)
    steps = found.n_action_steps
    yield "n_action_steps", "the whole chunk" if steps is None else str(steps)
    yield "look offsets", ", ".join(map(str, found.look_offsets)) or NONE
    yield "exactness", EXACTNESS.get(found.exactness or "", "not stated by the policy; proctor check measures it")


def _arrays(arrays: Sequence[ArrayNumbers]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("key", "shape", "dtype"):
        table.add_column(column)
    for column in ("min", "max", "mean"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in arrays:
        shape = "x".join(map(str, each.shape)) or "one number"
        table.add_row(safe(each.key), shape, each.dtype, *map(_short, (each.low, each.high, each.mean)))
    return table


def _said(wire: Wire) -> Iterator[tuple[str, str]]:
    for key, value in wire.values.items():
        yield f"{key}, first", repr(value)
    said = json.dumps(wire.server, ensure_ascii=False)
    yield "the server's first message", said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"


def _actions_title(actions: ActionNumbers) -> str:
    shapes = ", ".join("x".join(map(str, chunk)) for chunk in actions.chunks)
    return f"Actions that came back ({count(actions.n_chunks, 'chunk')} of {shapes}, {actions.dtype})"


def _actions(actions: ActionNumbers) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("dimension", "min", "max", "mean", "bounds", "outside"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in actions.dimensions[:_MOST_DIMENSIONS]:
        bounds = NONE if each.bounds is None else f"{each.bounds[0]:.4g} … {each.bounds[1]:.4g}"
        numbers = map(_short, (each.low, each.high, each.mean))
        table.add_row(str(each.index), *numbers, bounds, percent(each.outside))
    if (hidden := len(actions.dimensions) - _MOST_DIMENSIONS) > 0:
        table.add_row(f"and {hidden} more")
    table.add_row("all", "", "", "", "", percent(actions.outside), style="bold")
    return table


def _end(found: Probe) -> Iterator[tuple[str, str]]:
    if found.actions is not None:
        changes = "changes" if found.actions.last_changes_sign else "never changes"
        yield "last dimension", f"{changes} its sign"
        yield "NaN or infinite", count(found.actions.n_not_finite, "number")
    if found.latency is not None:
        spent = found.latency
        times = (f"{name} {short_time(seconds)}" for name, seconds in _times(spent.median, spent.p95, spent.first))
        yield "latency", f"{', '.join(times)} ({count(spent.n, 'request')})"
    if found.error:
        yield "end", "an error: the episode could not be run to its end"
        return
    rewards = f"sum of rewards {number(found.sum_reward)}, largest {number(found.max_reward)}"
    yield "end", f"{_ENDS[found.outcome]} in {count(found.steps or 0, 'step')}, {rewards}"


def _times(median: float, p95: float, first: float) -> Iterator[tuple[str, float]]:
    yield from (("median", median), ("95th percentile", p95), ("first", first))


def _short(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
