"""The block at the end of a run: a row per task, the headline with its interval, what went wrong, what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.audit import audit_lines
from proctor.reports.sentences import (
    MEANS_METHOD,
    circumstances,
    command_to_replay,
    error_lines,
    headline_lines,
    run_title,
)
from proctor.reports.shards import shard_of, shard_sentence, steps_to_merge
from proctor.reports.text import (
    count,
    duration,
    figure_names,
    figures,
    first_line,
    name_cell,
    names_within,
    percent_range,
    safe,
)
from proctor.results.headline import Basis, Headline, headline_of
from proctor.results.run_dir import RunDirectory
from proctor.results.run_index import EVALUATIONS
from proctor.results.run_info import RunInfo, resume_command
from proctor.results.run_status import RunStatus
from proctor.results.summary import Summary, TaskSummary
from proctor.security.consent import GIVE_CONSENT, uninstalled_code
from proctor.security.redaction import REDACTED
from proctor.statistics.intervals import LEVEL
from proctor.types import EpisodeResult, EpisodeSpec, Outcome

# If there are more tasks than a reader can take in, suites are shown, and the tasks with errors and the lowest rates.
MAX_TASK_ROWS = 20
MAX_PROBLEMS = 5
_FEWEST_ROWS, _OTHER_LINES = 10, 16
_WIDEST = 100
_WIDTH_OF_FIGURES, _WIDTH_OF_SUITE = 52, 16


def print_run(console: Console, run: RunInfo) -> None:
    """Print a line that names what ``run`` evaluates."""
    console.print(safe(" · ".join(run_title(run)), "bold"), Text(""), sep="\n", soft_wrap=True)


def print_summary(console: Console, summary: Summary, status: RunStatus, run: RunInfo | None = None) -> None:
    """Print the results of a run: the headline, a table, errors, and commands for what one may want to do next.

    ``run`` is None if its description is not known; then commands that depend on it are left out.
    """
    headline, *more = headline_lines(summary)
    audit = audit_lines(status.directory, summary.overall.rate)
    if run is not None and (shard := shard_of(run)) is not None:
        console.print(Text(shard_sentence(shard, summary, run), "bold yellow"), soft_wrap=True)
        headline = Text(headline.plain.replace("Success rate", "Of this shard", 1))
    for line in _prominent(console, headline, summary) if console.is_terminal else [headline]:
        console.print(line, soft_wrap=not console.is_terminal)  # a log is searched by line
    for line in [*more, *error_lines(summary), *audit, Text("")]:
        short = line.plain.removesuffix(f"  {MEANS_METHOD}")
        fits = not console.is_terminal or len(line) <= console.width
        console.print(line if fits else Text(short, line.style), soft_wrap=not console.is_terminal)
    shown = _shown_tasks(summary, _most_rows(console))
    console.print(_table(summary, shown, console.width))
    if hidden := len(summary.tasks) - len(shown):
        console.print(Text(f"{hidden} more tasks, none with a lower rate, are in the result file.", style="dim"))
    console.print()
    if console.is_terminal and status.n_videos_to_come:
        status = replace(status, n_videos=0, n_videos_to_come=0)  # a bar and a line about them follow
    for line in _next_steps(summary, status, run):
        console.print(line, soft_wrap=True)  # a command or a path is copied


def print_nothing_to_do(console: Console, summary: Summary) -> None:
    """Print that a run was complete before this session."""
    had = f"all {count(len(summary.episodes), 'episode')} had a result already"
    console.print(f"Nothing to do: {had}. To run them again, give another --output_dir.", "", sep="\n", soft_wrap=True)


def print_videos(
    console: Console, directory: Path, videos: Collection[EpisodeSpec], problems: Mapping[EpisodeSpec, str]
) -> None:
    """Print where the videos of a run are once they are made, and why others could not be made (``problems``)."""
    if videos:
        console.print(_labelled("Videos", f"{len(videos)} in {RunDirectory(directory).videos}"), soft_wrap=True)
    print_video_problems(console, problems)


def print_left_out(console: Console, directory: Path, n_videos: int, budget_s: float) -> None:
    """Print how many videos there was no time for, and how to get them."""
    command = f"proctor replay {shlex.quote(str(directory))} --task=… --episode=…"
    how = f"any is made on a click in proctor view, or by: {command}"
    text = f"{count(n_videos, 'video')} that would take longer than {duration(budget_s)}; {how}"
    console.print(_labelled("Left out", text), soft_wrap=True)


def print_video_problems(console: Console, problems: Mapping[EpisodeSpec, str]) -> None:
    """Print the reasons why episodes have no video, each reason once."""
    _print_problems(console, "No video", problems)


def print_recording(  # noqa: PLR0913 - what there is to print
    console: Console,
    path: Path,
    n_episodes: int,
    n_frames: int,
    problems: Mapping[EpisodeSpec, str],
    *,
    repo_id: str | None,
    private: bool,
) -> None:
    """Print what the dataset at ``path`` holds, why episodes are not in it (``problems``), and how to push it."""
    if n_episodes:
        size = f"{count(n_episodes, 'episode')}, {count(n_frames, 'frame')}"
        console.print(_labelled("Dataset", f"{size} in {path}"), soft_wrap=True)
        if repo_id is not None:
            push = f"LeRobotDataset({repo_id!r}, root={str(path.absolute())!r}).push_to_hub(private={private})"
            code = f"from lerobot.datasets.lerobot_dataset import LeRobotDataset; {push}"
            console.print(_labelled("Push it", f"python -c {shlex.quote(code)}"), soft_wrap=True)
    _print_problems(console, "No record", problems)


def _print_problems(console: Console, label: str, problems: Mapping[EpisodeSpec, str]) -> None:
    """Print the reasons why episodes have not what they were to have, each reason once."""
    by_reason: dict[str, list[EpisodeSpec]] = {}
    for spec, problem in problems.items():
        by_reason.setdefault(first_line(problem), []).append(spec)
    for reason, specs in list(by_reason.items())[:MAX_PROBLEMS]:
        which = str(specs[0]) if len(specs) == 1 else f"{specs[0]} and {len(specs) - 1} more"
        console.print(_labelled(label, f"{which}: {reason}", "yellow"), soft_wrap=True)
    if more := sum(map(len, list(by_reason.values())[MAX_PROBLEMS:])):
        console.print(_labelled(label, f"of {count(more, 'more episode')}", "yellow"), soft_wrap=True)


def print_logged(console: Console, where: str) -> None:
    """Print where the results have been logged to, besides the run directory."""
    console.print(_labelled("Logged to", where), soft_wrap=True)


def print_not_logged(console: Console, problem: str, again: str) -> None:
    """Print why the results could not be logged, and the command that tries it again."""
    console.print(_labelled("Not logged", f"{problem} Try again with: {again}", "yellow"), soft_wrap=True)


def _prominent(console: Console, headline: Text, summary: Summary) -> Iterator[Text]:
    """Lay out the headline for a terminal: the rate in colour beside a bar, and below it how sure the rate is."""
    shown = headline_of(summary)
    if shown is None:
        yield headline
        return
    rate = headline.plain.partition("  (")[0]
    line = Text.assemble((rate, _style_of(summary)), "  ")
    if not console.options.ascii_only:
        line.append_text(rate_bar(shown, min(console.width - 1, _WIDEST) - len(line)))
    yield line
    parts = [f"{LEVEL:.0%} interval {percent_range(shown.interval)}, {shown.method}"]
    parts.append(f"{shown.counts.n_successes} of {count(shown.counts.n_completed, 'episode')}")
    if shown.basis is Basis.TASKS:
        parts.append(count(len(summary.tasks), "task"))
    yield Text(" · ".join(parts))


def _style_of(summary: Summary) -> str:
    return "bold green" if summary.complete and not summary.overall.n_errors else "bold yellow"


def rate_bar(shown: Headline, width: int) -> Text:
    """Draw a success rate as a bar: its successes, its failures, and between them how far the interval reaches."""
    ends = (0.0, shown.interval.low, shown.rate, shown.interval.high, 1.0)
    low, rate, high = (round(width * end) for end in ends[1:-1])
    parts = (("█", low, "green"), ("▓", rate - low, "green"), ("▒", high - rate, "red"), ("░", width - high, "red"))
    return Text.assemble(*((char * max(0, n), style) for char, n, style in parts))


def _table(summary: Summary, shown: Sequence[TaskSummary], width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    several = len(summary.groups) > 1 and summary.has_suites
    if several:
        table.add_column("suite", min_width=5)
    table.add_column(_name_column(summary), min_width=8)
    with_errors = summary.overall.n_errors > 0
    for name in figure_names(with_errors=with_errors):
        table.add_column(name, justify="right", no_wrap=True)
    if summary.has_suites and len(shown) < len(summary.tasks):
        for suite, counts in summary.groups.items():
            numbers = figures(counts, summary.pooled_interval(suite), with_errors=with_errors)
            table.add_row(*([name_cell(suite)] if several else []), Text("all", style="bold"), *numbers)
        table.add_section()
    names = names_within([task.task.name for task in shown], width - _WIDTH_OF_FIGURES - _WIDTH_OF_SUITE * several)
    for task, name in zip(shown, names, strict=True):
        cells = [name_cell(f"{task.task.task_id} {name}" if summary.has_suites else name)]
        if several:
            cells.insert(0, name_cell(task.task.suite))
        table.add_row(*cells, *figures(task.counts, summary.interval(task.counts), with_errors=with_errors))
    return table


def _name_column(summary: Summary) -> Text:
    """Give the title of the column of tasks, which names the suite if all tasks are of one."""
    suites = list(summary.groups)
    return name_cell(suites[0] if summary.has_suites and len(suites) == 1 else "task")


def _most_rows(console: Console) -> int:
    """Choose how many tasks are shown: in a terminal so many that the headline above them stays visible."""
    if not console.is_terminal:
        return MAX_TASK_ROWS
    return min(MAX_TASK_ROWS, max(_FEWEST_ROWS, console.height - _OTHER_LINES))


def _shown_tasks(summary: Summary, at_most: int) -> list[TaskSummary]:
    if len(summary.tasks) <= at_most:
        return list(summary.tasks)
    ranked = sorted(summary.tasks, key=_worry)
    chosen = {id(task) for task in ranked[:at_most]}
    return [task for task in summary.tasks if id(task) in chosen]


def _worry(task: TaskSummary) -> tuple[bool, bool, float]:
    """Rank a task: those with errors first, then those with low rates, and last those without a result."""
    rate = task.counts.rate
    return not task.counts.n_errors, rate is None, rate or 0.0


def _next_steps(summary: Summary, status: RunStatus, run: RunInfo | None) -> Iterator[Text]:
    """Give the paths of results and videos, and commands for what one may want to do next, ready to be copied."""
    directory, videos = shlex.quote(str(status.directory)), RunDirectory(status.directory).videos
    for label, text in () if run is None else circumstances(run):
        yield _labelled(label, text)
    yield _labelled("Results", str(status.directory))
    if status.n_videos_to_come:
        most, at_most = "", ""
        if not math.isinf(status.video_budget_s):
            most, at_most = "up to ", f", for at most {duration(status.video_budget_s)}"
        yield _labelled("Videos", f"{most}{status.n_videos_to_come} are being made in {videos}{at_most}")
    elif status.n_videos:
        yield _labelled("Videos", f"{status.n_videos} in {videos}")
    if not summary.complete:
        missing, planned = len(summary.missing), count(summary.overall.n_planned, "episode")
        yield _labelled("Missing", f"{missing} of {planned} have no result yet", "yellow")
    if status.writer:
        yield _labelled("Running", status.writer, "yellow")
    else:
        yield from _to_complete(summary, status.directory, run)
    env = {} if run is None else {"env": run.config.get("env")}
    if (result := _worth_watching(summary)) is not None and REDACTED not in str(env):
        command = command_to_replay(status.directory, summary, result.spec.task)
        consent = f" {GIVE_CONSENT}" if uninstalled_code(env) else ""
        remark = {True: "the first success", False: "the first failure", None: "the first episode"}[result.success]
        yield _labelled("Watch", f"{command} {result.spec.episode_index}{consent}", "bold", f"   {remark}")
    yield _labelled("View", _command_to_view(status.directory), "bold", "   in the browser")
    yield _labelled("Report", f"proctor report {directory}", "bold", "   as one page")


def _to_complete(summary: Summary, directory: Path, run: RunInfo | None) -> Iterator[Text]:
    """Give the commands that complete a run to which no process writes."""
    yield from (_labelled(label, text, "bold") for label, text in steps_to_merge(directory))
    is_shard = run is not None and shard_of(run) is not None
    if not is_shard and (not summary.complete or summary.overall.n_errors) and not (run and run.unidentified):
        quoted = shlex.quote(str(directory))
        command = f"proctor resume {quoted}" if run is None else resume_command(run, directory)
        yield _labelled("Go on", command, "bold")


def _command_to_view(directory: Path) -> str:
    """Give the command that shows a run among the others of its folder."""
    is_usual = directory.absolute().is_relative_to(EVALUATIONS.absolute())
    return "proctor view" if is_usual else f"proctor view {shlex.quote(str(directory))}"


def _labelled(label: str, text: str, style: str = "", remark: str = "") -> Text:
    return Text.assemble((f"{label:<12}", "dim"), safe(text, style), (remark, "dim"))


def _worth_watching(summary: Summary) -> EpisodeResult | None:
    """Choose the first failure, else the first episode of unknown success, else the first success."""
    completed = [result for result in summary.episodes if result.outcome is not Outcome.ERROR]
    return min(completed, key=lambda result: (False, None, True).index(result.success), default=None)
