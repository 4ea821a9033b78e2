"""Sentences about one evaluation that the terminal and the HTML page share.

They are made of the numbers of :mod:`proctor.results`, and hold text of a simulator or an error message only as
:func:`~proctor.reports.text.safe` text.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from proctor.reports.text import (
    count,
    duration,
    episode_error,
    no_success_rate,
    number,
    number_range,
    pace_of,
    percent,
    percent_range,
    policy_name,
)
from proctor.results.headline import Basis, headline_of
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary
from proctor.statistics.intervals import LEVEL
from proctor.types import TaskKey

_MOST_NUMBERS = 10
"""The most numbers of tasks in a title."""
_LONGEST_NAME = 40
MEANS_METHOD = f"({LEVEL:.0%} bootstrap)"
"""The end of the line of means, which says what their intervals are."""


def run_title(run: RunInfo) -> list[str]:
    """Name what ``run`` evaluates: benchmark and tasks, policy, seed, date."""
    policy, env = run.config.get("policy", {}), run.config.get("env", {})
    return [
        " ".join(str(env[name]) for name in ("type", "task") if env.get(name)) + _chosen_tasks(env.get("task_ids")),
        policy_name(policy),
        f"seed {run.config.get('seed')}",
        run.provenance.date,
    ]


def _chosen_tasks(task_ids: object) -> str:
    """Name the tasks of a suite that were chosen by their numbers; "" if none were."""
    if not isinstance(task_ids, list) or not task_ids:
        return ""
    more = len(task_ids) - _MOST_NUMBERS
    shown = ", ".join(map(str, task_ids[:_MOST_NUMBERS]))
    return f", {'task' if len(task_ids) == 1 else 'tasks'} {shown}" + (f" and {more} more" if more > 0 else "")


EXACTNESS = {
    "bitwise": "bitwise: the same run gives the same results to the bit",
    "numerical": "numerical: the same run gives the same results up to the last digits of floating-point numbers",
    "statistical": "statistical: the policy's server draws random numbers that the run does not decide",
}


def circumstances(run: RunInfo) -> Iterator[tuple[str, str]]:
    """Give labels and texts of what a reader must know to compare the results: the protocol, exactness and a delay.

    A benchmark with one protocol, and a policy in this process without a delay, give none.
    """
    env = run.config.get("env", {})
    if protocol := env.get("protocol"):
        yield "Protocol", f"{env.get('type')} as {protocol} runs it"
    if exactness := (run.opened_policy or {}).get("exactness"):
        yield "Exactness", EXACTNESS.get(exactness, str(exactness))
    if delay := run.fingerprint.get("inference", {}).get("delay"):
        late = f"{delay['steps']} steps" if "steps" in delay else f"{delay['ms']:g} ms"
        yield "Delay", f"each chunk of actions takes over {late} late (when_late={delay['when_late']})"


def headline_lines(summary: Summary) -> list[Text]:
    """State the success rate with its interval, then means, what one must know of them, an early stop and the speed, a
    line each.

    If the success of an episode is unknown, the mean reward takes the place of the rate.
    """
    first = _rewards(summary) if summary.overall.n_unknown else _success(summary)
    lines = [*first, *_means(summary), *_cautions(summary)]
    if (stop := summary.stop) is not None:
        lines.append(
            Text(
                f"Stopped early after {stop.episodes_per_task} of {count(stop.planned_per_task, 'episode')} per task: "
                f"the interval is at most {100 * stop.width:g} points wide"
            )
        )
    if summary.wall_s is not None:
        episodes, speed = count(len(summary.episodes), "episode"), summary.episodes_per_s
        pace = "" if speed is None else f", {pace_of(speed)} with start-up"
        lines.append(Text(f"{episodes} in {duration(summary.wall_s)}{pace}"))
    return lines


def _success(summary: Summary) -> Iterator[Text]:
    """State the rate of :mod:`proctor.results.headline`. It is called the success rate only if every planned episode is
    completed.
    """
    overall, shown = summary.overall, headline_of(summary)
    if shown is None:
        yield Text(f"No final success rate; {_why_none(summary)}.")
        return
    of = f"{shown.counts.n_successes} of {count(shown.counts.n_completed, 'episode')}"
    if shown.basis is Basis.TASKS:
        of = f"mean over {len(summary.tasks)} tasks, {of}"
    interval = f"  ({LEVEL:.0%} interval {percent_range(shown.interval)}, {shown.method}; {of})"
    if shown.basis is Basis.ROUNDS:
        yield Text(f"No final success rate; so far {percent(shown.rate)}{interval}")
    elif overall.n_completed < overall.n_planned:
        yield Text(f"No final success rate; of the completed episodes {percent(shown.rate)}{interval}")
    else:
        yield Text.assemble((f"Success rate {percent(shown.rate)}", "bold"), interval)


def _rewards(summary: Summary) -> Iterator[Text]:
    """State the mean reward, and why there is no success rate."""
    counts, interval = summary.overall, summary.mean_intervals.sum_reward
    n, planned = counts.n_sum_rewards, counts.n_planned
    over = f"over {n} of {count(planned, 'episode')}" if n < planned else count(n, "episode")
    sure = "" if interval is None else f"{LEVEL:.0%} interval {number_range(interval)}, bootstrap; "
    yield Text.assemble((f"Mean reward {number(counts.mean_sum_reward)}", "bold"), f"  ({sure}{over})")
    yield Text(no_success_rate(counts), "yellow")


def _why_none(summary: Summary) -> str:
    """Explain why not even a preliminary rate can be given."""
    if not summary.missing:
        return "no episode was completed"
    if not summary.episodes:
        return "no episode has a result yet"
    return "one so far needs a completed episode 0 of every task, and some of these are missing or ended in an error"


def _means(summary: Summary) -> Iterator[Text]:
    """State mean reward and mean length with their intervals, if there are any; the reward only if it is not above."""
    overall, known = summary.overall, summary.mean_intervals
    parts = []
    if known.sum_reward is not None and not overall.n_unknown:
        parts.append(f"reward {number(overall.mean_sum_reward)} ({number_range(known.sum_reward)})")
    if known.length is not None:
        parts.append(f"steps {number(overall.mean_length, 1)} ({number_range(known.length, 1)})")
    if parts:
        yield Text(f"Mean {', mean '.join(parts)}  {MEANS_METHOD}")


def _cautions(summary: Summary) -> Iterator[Text]:
    """State what a reader must know to read the rate and the means correctly."""
    overall = summary.overall
    if summary.success_key is not None and overall.rate == 0:
        yield Text(
            f"No step's info held a true '{summary.success_key}' (env.success_key), and an episode without a reported "
            "success counts as a failure.",
            "yellow",
        )
    if (n := overall.n_sum_rewards) < overall.n_completed:
        yield Text(
            f"The mean reward is over {n} of {count(overall.n_completed, 'episode')}; the others have no finite one.",
            "yellow",
        )
    if repeated := [task for task in summary.tasks if task.n_repeated]:
        first, more = repeated[0], f" So it is with {count(len(repeated) - 1, 'other task')}."
        yield Text(
            f"{first.n_repeated} of {count(first.counts.n_completed, 'episode')} of {first.task.name} repeat another "
            "one, with the same length, rewards and final state; each counts, so intervals are too narrow."
            + (more if len(repeated) > 1 else ""),
            "yellow",
        )


def error_lines(summary: Summary) -> list[Text]:
    """State how many episodes could not be run, the bounds of the rate, and why the first one could not be run."""
    overall, first = summary.overall, summary.first_error
    if first is None:
        return []
    bounds = (
        f" Bounds, with errors counted as failures … as successes: {percent_range(overall.bounds)} %"
        if overall.bounds is not None
        else ""
    )
    return [
        Text(
            f"{count(overall.n_errors, 'episode')} ended in an error, which is not a failure and in no rate.{bounds}",
            "red",
        ),
        Text.assemble(("First error: ", "red"), episode_error(*first)),
    ]


def command_to_replay(directory: Path, summary: Summary, task: TaskKey) -> str:
    """Make the command that renders the video of an episode of a task, up to the episode's number.

    The task is given by its name, or by suite and number if several tasks have that name or the name is long.
    """
    names = [each.task.name for each in summary.tasks]
    (name,) = (each.task.name for each in summary.tasks if each.task.key == task)
    option = name if names.count(name) == 1 and len(name) <= _LONGEST_NAME else f"{task.suite}/{task.task_id}"
    return f"proctor replay {shlex.quote(str(directory))} --task {shlex.quote(option)} --episode"
