"""Numbers and foreign names as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.text import Text

from proctor.statistics.counts import Counts
from proctor.statistics.intervals import Interval
from proctor.types import AttemptError, EpisodeSpec, Timings

NONE = "-"
WORTH_SAYING = 0.005
"""The part of a time below which it is not mentioned."""
_PART_NAMES = {"wait": "waiting", "startup": "start-up"}


def safe(text: str, style: str = "") -> Text:
    """A name from a simulator or an error message, as one line: no control character of it reaches the terminal.

    Being a ``Text``, it is not read as rich's markup either.
    """
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text), style)


def name_cell(text: str, style: str = "") -> Text:
    """A foreign name in a table: it gives way to the numbers beside it, and is cut rather than folded."""
    cell = safe(text, style)
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def first_line(text: str, limit: int = 200) -> str:
    """The first line of a message that says something."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def episode_error(spec: EpisodeSpec, error: AttemptError) -> Text:
    """Which episode could not be run, and why, in one line."""
    return safe(f"{spec}: {error.kind}: {first_line(error.message)}")


def count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def percent(rate: float | None) -> str:
    return NONE if rate is None else f"{100 * rate:.1f} %"


def share(part: float) -> str:
    """A part of something, 0 to 1, where a whole percent is exact enough."""
    return f"{100 * part:.0f} %"


def percent_range(interval: Interval | None, digits: int = 1) -> str:
    return NONE if interval is None else f"{100 * interval.low:.{digits}f} … {100 * interval.high:.{digits}f}"


def number(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def number_range(interval: Interval | None, digits: int = 2) -> str:
    return NONE if interval is None else f"{interval.low:.{digits}f} … {interval.high:.{digits}f}"


def tally(counts: Counts) -> str:
    """Successes of completed episodes: ``3/4``; nothing if the success of one of them is unknown."""
    return NONE if counts.n_unknown else f"{counts.n_successes}/{counts.n_completed}"


def mean_reward(counts: Counts) -> str:
    """The mean of the episodes' rewards, and over how many it is if not every completed episode has one."""
    mean, n = number(counts.mean_sum_reward), counts.n_sum_rewards
    return mean if n == counts.n_completed or not n else f"{mean} (of {n})"


def no_success_rate(counts: Counts) -> str:
    """Why episodes of which some have an unknown success have no success rate, and what would give them one."""
    if counts.n_unknown == counts.n_completed:
        return "Success: this environment reports none; give --env.success_key or --env.success_threshold."
    return (
        f"No success rate: the environment did not report success or failure of {counts.n_unknown} of "
        f"{count(counts.n_completed, 'episode')}. If it reports successes only, give --env.success_key: an episode "
        "without a reported success is then a failure."
    )


def duration(seconds: float | None) -> str:
    """``8.3 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def part_name(part: str) -> str:
    """How a part of :class:`~proctor.types.Timings` is called."""
    return _PART_NAMES.get(part, part)


def time_shares(timings: Timings, tail: float = 0.0) -> list[str]:
    """Where the time of workers went, largest first, as far as it is worth saying. ``tail`` is no episode's."""
    seconds = {part_name(part.name): float(getattr(timings, part.name)) for part in fields(timings)} | {"tail": tail}
    total = sum(seconds.values())
    ranked = sorted(seconds, key=lambda name: -seconds[name])
    return [f"{name} {share(seconds[name] / total)}" for name in ranked if seconds[name] > WORTH_SAYING * total]


def policy_name(policy: Mapping[str, Any]) -> str:
    """What a run's ``config.policy`` is called: its checkpoint's path, relative if it lies in the working directory, or
    its type.
    """
    if not (path := policy.get("path")):
        return str(policy.get("type") or "")
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)
