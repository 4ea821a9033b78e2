"""Formats numbers and foreign names for the terminal and for pages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.text import Text

from proctor.statistics.counts import Counts
from proctor.statistics.intervals import LEVEL, Interval
from proctor.types import AttemptError, EpisodeSpec, Timings

NONE = "-"
WORTH_SAYING = 0.005
"""The smallest part of a time that is shown."""
_PART_NAMES = {"wait": "waiting", "startup": "start-up"}


def safe(text: str, style: str = "") -> Text:
    """Make one line of a name from a simulator or of an error message, without control characters.

    The result is a ``Text``, so rich does not take it for markup either.
    """
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text), style)


def name_cell(text: str, style: str = "") -> Text:
    """Make a table's cell of a foreign name. It leaves room for the numbers beside it, and is cut instead of folded."""
    cell = safe(text, style)
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def names_within(names: Sequence[str], room: int) -> list[str]:
    """Shorten names that do not all fit into ``room`` characters, so that they differ in what a narrow table shows.

    Words at the beginning that all names have in common are replaced by an ellipsis, and if the names still do not fit,
    those at the end, too.
    """
    if len(names) < 2 or max(map(len, names)) <= room:
        return list(names)
    words = [re.split(r"(?<=[_ -])", name) for name in names]
    first = _n_common(words)
    short = ["…" * bool(first) + "".join(each[first:]) for each in words]
    if max(map(len, short)) <= room or not (last := _n_common([each[first:][::-1] for each in words])):
        return short
    return ["…" * bool(first) + "".join(each[first:-last]) + "…" for each in words]


def _n_common(words: Sequence[Sequence[str]]) -> int:
    """Count the words at the beginning that all names share, 0 for a single one; a word of each name is left."""
    columns = zip(*(each[:-1] for each in words), strict=False)
    n = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    return n if n > 1 else 0


def first_line(text: str, limit: int = 200) -> str:
    """Return the first line of a message that is not blank, cut to ``limit`` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def episode_error(spec: EpisodeSpec, error: AttemptError) -> Text:
    """Describe in one line which episode could not be run, and why."""
    return safe(f"{spec}: {error.kind}: {first_line(error.message)}")


def count(n: int, noun: str) -> str:
    """Format a number of things: ``1 episode``, ``2 episodes``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def percent(rate: float | None, digits: int = 1) -> str:
    """Format a rate (0 to 1) in percent."""
    return NONE if rate is None else f"{100 * rate:.{digits}f} %"


def share(part: float) -> str:
    """Format a part of something (0 to 1) in whole percent."""
    return f"{100 * part:.0f} %"


def percent_range(interval: Interval | None, digits: int = 1) -> str:
    """Format an interval of rates (0 to 1) in percent, without the sign."""
    return NONE if interval is None else f"{100 * interval.low:.{digits}f} … {100 * interval.high:.{digits}f}"


def number(value: float | None, digits: int = 2) -> str:
    """Format a number with a fixed number of digits after the point."""
    return NONE if value is None else f"{value:.{digits}f}"


def number_range(interval: Interval | None, digits: int = 2) -> str:
    """Format an interval of numbers with a fixed number of digits after the point."""
    return NONE if interval is None else f"{interval.low:.{digits}f} … {interval.high:.{digits}f}"


def tally(counts: Counts) -> str:
    """Format the successes of the completed episodes: ``3/4``, or ``-`` if the success of one of them is unknown."""
    return NONE if counts.n_unknown else f"{counts.n_successes}/{counts.n_completed}"


def mean_reward(counts: Counts) -> str:
    """Format the mean reward, with the number of episodes that have one if not every completed episode does."""
    mean, n = number(counts.mean_sum_reward), counts.n_sum_rewards
    return mean if n == counts.n_completed or not n else f"{mean} (of {n})"


def figure_names(*, with_errors: bool) -> list[str]:
    """Name the columns of :func:`figures`. Errors are shown only if there are any."""
    return ["success", "rate", f"{LEVEL:.0%} interval", "reward", "steps", *(["errors"] if with_errors else [])]


def figures(counts: Counts, interval: Interval | None, *, with_errors: bool) -> list[str]:
    """Format the numbers of a task or a suite as the cells of its row, in the order of :func:`figure_names`."""
    return [
        tally(counts),
        percent(counts.rate),
        percent_range(interval),
        mean_reward(counts),
        number(counts.mean_length, 1),
        *([str(counts.n_errors or "")] if with_errors else []),
    ]


def no_success_rate(counts: Counts) -> str:
    """Explain why episodes, of which the success of some is unknown, have no success rate, and what would give one."""
    if counts.n_unknown == counts.n_completed:
        return "Success: this environment reports none; give --env.success_key or --env.success_threshold."
    return (
        f"No success rate: the environment did not report success or failure of {counts.n_unknown} of "
        f"{count(counts.n_completed, 'episode')}. If it reports successes only, give --env.success_key: an episode "
        "without a reported success is then a failure."
    )


def duration(seconds: float | None) -> str:
    """Format a duration: ``8.3 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def pace_of(episodes_per_s: float) -> str:
    """Format a speed: ``15.1 episodes/min``. Everything that shows a speed to a reader shows it in this unit."""
    pace = 60 * episodes_per_s
    return f"{pace:.1f} episodes/min" if pace < 100 else f"{pace:,.0f} episodes/min"


def part_name(part: str) -> str:
    """Return the name under which a part of :class:`~proctor.types.Timings` is shown."""
    return _PART_NAMES.get(part, part)


def time_shares(timings: Timings, tail: float = 0.0) -> list[str]:
    """Format the parts of the workers' time, the largest first, without negligible ones.

    ``tail`` is the time that belongs to no episode, in seconds.
    """
    seconds = {part_name(part): spent for part, spent in timings.parts.items()} | {"tail": tail}
    total = sum(seconds.values())
    ranked = sorted(seconds, key=lambda name: -seconds[name])
    return [f"{name} {share(seconds[name] / total)}" for name in ranked if seconds[name] > WORTH_SAYING * total]


def policy_label(policy: Mapping[str, Any]) -> str:
    """Name the policy of a run in a few words: its type, the last part of its path, or training and step of a
    checkpoint; ``policy`` is the run's ``config.policy``.
    """
    if not (path := str(policy.get("path") or "")):
        return str(policy.get("type") or "")
    parts = [part for part in Path(path).parts if part != "pretrained_model"]
    if len(parts) > 2 and parts[-2] == "checkpoints":
        return f"{parts[-3]} {parts[-1]}"
    return parts[-1] if parts else path


def policy_name(policy: Mapping[str, Any]) -> str:
    """Name a run's policy by the path of its checkpoint, relative to the working directory if it is in there, or by its
    type; ``policy`` is the run's ``config.policy``.
    """
    if not (path := str(policy.get("path") or "")):
        return str(policy.get("type") or "")
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)
