"""The runs of a working directory as rows of a table: ``proctor runs``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from proctor.errors import ProctorError
from proctor.reports.text import (
    count,
    first_line,
    mean_reward,
    name_cell,
    percent,
    percent_range,
    policy_label,
    safe,
)
from proctor.results.headline import Headline, headline_of
from proctor.results.run_info import RunInfo
from proctor.results.run_status import RunStatus
from proctor.results.summary import Summary, load_summary
from proctor.statistics.intervals import LEVEL

_WIDE = 100
_STATE_STYLES = {"finished": "green", "running": "cyan", "unfinished": "yellow"}


@dataclass(frozen=True)
class RunRow:
    """A run in a list. ``problem`` is the reason why it cannot be read, and the other fields are then empty.

    ``state`` is running, finished or unfinished. ``reward`` is the mean reward if there is no success rate.
    """

    directory: Path
    policy: str = ""
    benchmark: str = ""
    shown: Headline | None = None
    reward: str = ""
    state: str = ""
    n_done: int = 0
    n_planned: int = 0
    n_errors: int = 0
    date: str = ""
    problem: str = ""


def read_row(directory: Path) -> RunRow:
    """Read the run in ``directory``; one that cannot be read has a ``problem``."""
    try:
        run, summary = load_summary(directory)
    except ProctorError as error:
        return RunRow(directory, problem=first_line(str(error)))
    return _row(directory, run, summary)


def _row(directory: Path, run: RunInfo, summary: Summary) -> RunRow:
    env, counts = run.config.get("env", {}), summary.overall
    live = RunStatus.of(directory).is_live
    return RunRow(
        directory,
        policy_label(run.config.get("policy", {})),
        " ".join(str(env[name]) for name in ("type", "task") if env.get(name)),
        headline_of(summary),
        mean_reward(counts) if counts.n_unknown else "",
        "running" if live else "finished" if summary.complete else "unfinished",
        len(summary.episodes),
        counts.n_planned,
        counts.n_errors,
        run.provenance.date,
    )


def plain_row(row: RunRow) -> dict[str, Any]:
    """Make plain values of a row, for JSON; rates are in percent, as in ``eval_info.json``."""
    shown = row.shown
    interval = None if shown is None else [100 * shown.interval.low, 100 * shown.interval.high]
    return {
        "directory": str(row.directory),
        "policy": row.policy or None,
        "benchmark": row.benchmark or None,
        "pc_success": None if shown is None else 100 * shown.rate,
        "pc_success_interval": interval,
        "method": None if shown is None else shown.method,
        "state": row.state or None,
        "n_done": row.n_done,
        "n_planned": row.n_planned,
        "n_errors": row.n_errors,
        "date": row.date or None,
        "problem": row.problem or None,
    }


def runs_table(rows: Sequence[RunRow], width: int) -> Table:
    """Make a table of runs, at most ``width`` characters wide; rates have fewer digits if that is little.

    The last part of a run's path is its name if no other run has the same.
    """
    is_wide = width >= _WIDE
    digits = 1 if is_wide else 0
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2 if is_wide else 1, 0, 0))
    table.add_column("run", min_width=16)
    table.add_column("policy", min_width=6)
    table.add_column("benchmark", min_width=9)
    for title in ("rate", f"{LEVEL:.0%} interval"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("date", no_wrap=True)
    names = Counter(row.directory.name for row in rows)
    for row in rows:
        name = name_cell(row.directory.name if names[row.directory.name] == 1 else str(row.directory))
        if row.problem:
            table.add_row(name, "", "", "", "", Text("unreadable", "red"), "")
            continue
        shown = row.shown
        rate = percent(shown.rate, digits) if shown else f"reward {row.reward}" if row.reward else percent(None)
        interval = percent_range(shown.interval if shown else None, digits)
        cells = [name_cell(row.policy), name_cell(row.benchmark), Text(rate), Text(interval, "dim")]
        table.add_row(name, *cells, _state(row, is_wide=is_wide), safe(_local(row.date), "dim"))
    return table


def _state(row: RunRow, *, is_wide: bool) -> Text:
    done = "" if row.state == "finished" else f"{row.n_done}/{row.n_planned}"
    name = "" if row.state == "unfinished" and not is_wide else row.state
    text = Text(" ".join(filter(None, [name, done])), _STATE_STYLES[row.state])
    if row.n_errors:
        text.append(f", {count(row.n_errors, 'error')}", "red")
    return text


def _local(date: str) -> str:
    """Write a date in the user's time zone, as ``11-26 03:32``, with the year if it is another one."""
    try:
        moment = datetime.fromisoformat(date).astimezone()
    except ValueError:
        return date
    this_year = moment.year == datetime.now().astimezone().year
    return moment.strftime("%m-%d %H:%M" if this_year else "%Y-%m-%d")
