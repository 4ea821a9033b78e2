"""The block at the end of a run: a row per task, the headline with its interval, what went wrong, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.text import (
    count,
    duration,
    episode_error,
    first_line,
    mean_reward,
    name_cell,
    no_success_rate,
    number,
    number_range,
    percent,
    percent_range,
    policy_name,
    safe,
    tally,
    time_shares,
)
from proctor.results.headline import Basis, headline_of
from proctor.results.lock import holder_of
from proctor.results.profile import profile_of
from proctor.results.run_dir import RunInfo, resume_command
from proctor.results.summary import Summary, TaskSummary
from proctor.security.consent import GIVE_CONSENT, uninstalled_code
from proctor.security.redaction import REDACTED
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import LEVEL, Interval
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, TaskKey

# As many rows as one can take in. Above, suites are shown, and of the tasks those with problems and the weakest.
MAX_TASK_ROWS = 20
MAX_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run is found, and what is going on there.

    ``writer`` says who is writing to the directory, None if nobody is. ``n_videos`` lie there by now, and
    ``n_videos_to_come`` are being made.
    """

    directory: Path
    writer: str | None = None
    n_videos: int = 0
    n_videos_to_come: int = 0

    @classmethod
    def of(cls, directory: Path) -> Self:
        """As the directory itself shows it."""
        writers = filter(None, map(holder_of, sorted(directory.glob("journal*.lock"))))
        return cls(directory, next(writers, None), n_videos=sum(1 for _ in directory.glob("videos/*/*.mp4")))


def print_run(console: Console, run: RunInfo) -> None:
    """Print a line that says what ``run`` is an evaluation of."""
    console.print(safe(" · ".join(run_title(run)), "bold"), Text(""), sep="\n", soft_wrap=True)


def run_title(run: RunInfo) -> list[str]:
    """What ``run`` is an evaluation of: benchmark and tasks, policy, seed, date."""
    policy, env = run.config.get("policy", {}), run.config.get("env", {})
    return [
        " ".join(str(env[name]) for name in ("type", "task") if env.get(name)),
        policy_name(policy),
        f"seed {run.config.get('seed')}",
        run.provenance.date,
    ]


def print_summary(console: Console, summary: Summary, where: RunStatus, run: RunInfo | None = None) -> None:
    """Print what ``summary`` says of a ``run``: tables, headline, errors, and what one may want to do next."""
    console.print(_table(summary))
    if hidden := len(summary.tasks) - len(_shown_tasks(summary)):
        console.print(Text(f"{hidden} more tasks, none with a lower rate, are in the result file.", style="dim"))
    for line in [Text(""), *headline(summary), *errors(summary), Text("")]:
        console.print(line, soft_wrap=not console.is_terminal)  # a log is searched by line
    for line in _next_steps(summary, where, run):
        console.print(line, soft_wrap=True)  # a command or a path is copied


def print_videos(
    console: Console, directory: Path, videos: Collection[EpisodeSpec], problems: Mapping[EpisodeSpec, str]
) -> None:
    """Print where the videos of a run are once they are made, and which could not be made (``problems`` says why)."""
    if videos:
        console.print(_labelled("Videos", f"{len(videos)} in {directory / 'videos'}"), soft_wrap=True)
    print_unfilmed(console, problems)


def print_unfilmed(console: Console, problems: Mapping[EpisodeSpec, str]) -> None:
    """Print why episodes have no video, each reason once."""
    by_reason: dict[str, list[EpisodeSpec]] = {}
    for spec, problem in problems.items():
        by_reason.setdefault(first_line(problem), []).append(spec)
    for reason, specs in list(by_reason.items())[:MAX_PROBLEMS]:
        which = str(specs[0]) if len(specs) == 1 else f"{specs[0]} and {len(specs) - 1} more"
        console.print(_labelled("No video", f"{which}: {reason}", "yellow"), soft_wrap=True)
    if more := sum(map(len, list(by_reason.values())[MAX_PROBLEMS:])):
        console.print(_labelled("No video", f"of {count(more, 'more episode')}", "yellow"), soft_wrap=True)


def print_logged(console: Console, where: str) -> None:
    """Print where the results have been logged to, besides the run directory."""
    console.print(_labelled("Logged to", where), soft_wrap=True)


def print_not_logged(console: Console, problem: str, again: str) -> None:
    """Print why the results could not be logged, and the command that tries it again."""
    console.print(_labelled("Not logged", f"{problem} Try again with: {again}", "yellow"), soft_wrap=True)


def _table(summary: Summary) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown, with_suites = _shown_tasks(summary), has_suites(summary)
    if with_suites:
        table.add_column("suite", min_width=5)
    table.add_column("task", min_width=8)
    with_errors = summary.overall.n_errors > 0
    names = ["success", "rate", f"{LEVEL:.0%} interval", "reward", "steps", *(["errors"] if with_errors else [])]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    if with_suites and len(shown) < len(summary.tasks):
        for suite, counts in summary.groups.items():
            table.add_row(
                name_cell(suite), Text("all", style="bold"), *_cells(counts, summary.pooled_interval(suite), len(names))
            )
        table.add_section()
    for task in shown:
        cells = [name_cell(task.task.name)]
        if with_suites:
            cells = [name_cell(task.task.suite), name_cell(f"{task.task.task_id} {task.task.name}")]
        table.add_row(*cells, *_cells(task.counts, summary.interval(task.counts), len(names)))
    return table


def has_suites(summary: Summary) -> bool:
    """Whether suites say more than tasks: tasks that were named one by one are each a suite of that name."""
    return any(task.task.suite != task.task.name for task in summary.tasks)


def _shown_tasks(summary: Summary) -> list[TaskSummary]:
    if len(summary.tasks) <= MAX_TASK_ROWS:
        return list(summary.tasks)
    ranked = sorted(summary.tasks, key=_worry)
    chosen = {id(task) for task in ranked[:MAX_TASK_ROWS]}
    return [task for task in summary.tasks if id(task) in chosen]


def _worry(task: TaskSummary) -> tuple[bool, bool, float]:
    """Errors first, then low rates; of a task without a result there is nothing to say yet."""
    rate = task.counts.rate
    return not task.counts.n_errors, rate is None, rate or 0.0


def _cells(counts: Counts, interval: Interval | None, n: int) -> list[str]:
    """The first ``n`` of what there is to say."""
    return [
        tally(counts),
        percent(counts.rate),
        percent_range(interval),
        mean_reward(counts),
        number(counts.mean_length, 1),
        str(counts.n_errors) if counts.n_errors else "",
    ][:n]


def headline(summary: Summary) -> list[Text]:
    """The success rate and how sure it is, then means, an early stop, pace, and where the time went; a line each.

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
        episodes, speed = count(len(summary.episodes), "episode"), number(summary.episodes_per_s)
        lines.append(Text(f"{episodes} in {duration(summary.wall_s)}, {speed} episodes/s"))
    profile = profile_of(summary)
    if shares := time_shares(profile.total, profile.rest_s or 0.0):
        lines.append(Text(f"Time of workers: {' · '.join(shares)}", "dim"))
    return lines


def _success(summary: Summary) -> Iterator[Text]:
    """The rate is called the success rate only once every planned episode has run to its end.

    Before, it is over the rounds of the plan that are complete (what ends first is successes), and its interval the one
    that may be looked at however often.
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
    """The mean reward, and why there is no success rate."""
    counts, interval = summary.overall, summary.mean_intervals.sum_reward
    n, planned = counts.n_sum_rewards, counts.n_planned
    over = f"over {n} of {count(planned, 'episode')}" if n < planned else count(n, "episode")
    sure = "" if interval is None else f"{LEVEL:.0%} interval {number_range(interval)}, bootstrap; "
    yield Text.assemble((f"Mean reward {number(counts.mean_sum_reward)}", "bold"), f"  ({sure}{over})")
    yield Text(no_success_rate(counts), "yellow")


def _why_none(summary: Summary) -> str:
    """Why not even a preliminary rate can be given."""
    if not summary.missing:
        return "no episode was completed"
    if not summary.episodes:
        return "no episode has a result yet"
    return (
        "a rate so far is over complete rounds of the plan, and of the first round (episode 0 of every task) "
        "not every episode is completed"
    )


def _means(summary: Summary) -> Iterator[Text]:
    """Rewards, unless they are the headline, and lengths, where enough is known of them."""
    overall, known = summary.overall, summary.mean_intervals
    parts = []
    if known.sum_reward is not None and not overall.n_unknown:
        parts.append(f"reward {number(overall.mean_sum_reward)} ({number_range(known.sum_reward)})")
    if known.length is not None:
        parts.append(f"steps {number(overall.mean_length, 1)} ({number_range(known.length, 1)})")
    if parts:
        yield Text(f"Mean {', mean '.join(parts)}  ({LEVEL:.0%} intervals, bootstrap)")


def _cautions(summary: Summary) -> Iterator[Text]:
    """What one must know of the rate and the means in order not to misread them."""
    overall = summary.overall
    if summary.success_key is not None and overall.rate == 0:
        yield Text(
            f"No step's info held a true '{summary.success_key}' (env.success_key), and a step that says nothing of "
            "success counts as a failure.",
            "yellow",
        )
    if (n := overall.n_sum_rewards) < overall.n_completed:
        yield Text(
            f"The mean reward is over {n} of {count(overall.n_completed, 'episode')}; the others have no finite one.",
            "yellow",
        )


def errors(summary: Summary) -> list[Text]:
    """How many episodes could not be run, what that may mean for the rate, and why the first could not."""
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
            f"{count(overall.n_errors, 'episode')} ended in an error, which is no failure and in no rate.{bounds}",
            "red",
        ),
        Text.assemble(("First error: ", "red"), episode_error(*first)),
    ]


def _next_steps(summary: Summary, where: RunStatus, run: RunInfo | None) -> Iterator[Text]:
    """What lies where, and the commands for what one may want next, ready to be copied."""
    directory = shlex.quote(str(where.directory))
    yield _labelled("Results", str(where.directory))
    if where.n_videos_to_come:
        yield _labelled("Videos", f"{where.n_videos_to_come} are being made in {where.directory / 'videos'}")
    elif where.n_videos:
        yield _labelled("Videos", f"{where.n_videos} in {where.directory / 'videos'}")
    if not summary.complete:
        missing, planned = len(summary.missing), count(summary.overall.n_planned, "episode")
        yield _labelled("Missing", f"{missing} of {planned} have no result yet", "yellow")
    if where.writer:
        yield _labelled("Running", where.writer, "yellow")
    elif (not summary.complete or summary.overall.n_errors) and not (run and run.fingerprint.get("unidentified")):
        command = f"proctor resume {directory}" if run is None else resume_command(run, where.directory)
        yield _labelled("Go on", command, "bold")
    env = {} if run is None else {"env": run.config.get("env")}
    if (result := _worth_watching(summary)) is not None and REDACTED not in str(env):
        command = replay_command(where.directory, summary, result.spec.task)
        consent = f" {GIVE_CONSENT}" if uninstalled_code(env) else ""
        remark = {True: "the first success", False: "the first failure", None: "the first episode"}[result.success]
        yield _labelled("Watch", f"{command} {result.spec.episode_index}{consent}", "bold", f"   {remark}")
    yield _labelled("Look again", f"proctor show {directory}", "bold")


def _labelled(label: str, text: str, style: str = "", remark: str = "") -> Text:
    return Text.assemble((f"{label:<12}", "dim"), safe(text, style), (remark, "dim"))


def _worth_watching(summary: Summary) -> EpisodeResult | None:
    """The first failure, else the first episode of unknown success, else the first success."""
    completed = [result for result in summary.episodes if result.outcome is not Outcome.ERROR]
    return min(completed, key=lambda result: (False, None, True).index(result.success), default=None)


def replay_command(directory: Path, summary: Summary, task: TaskKey) -> str:
    """What films an episode of a task, up to the episode's number. The task is given by its name, where that names one
    task only.
    """
    names = [each.task.name for each in summary.tasks]
    (name,) = (each.task.name for each in summary.tasks if each.task.key == task)
    option = name if names.count(name) == 1 else f"{task.suite}/{task.task_id}"
    return f"proctor replay {shlex.quote(str(directory))} --task {shlex.quote(option)} --episode"
