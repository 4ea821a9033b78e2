"""The block at the end of a run: a row per task, the headline with its interval, what went wrong, what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proctor.reports.audit import audit_lines
from proctor.reports.sentences import circumstances, command_to_replay, error_lines, headline_lines, run_title
from proctor.reports.text import count, duration, figure_names, figures, first_line, name_cell, safe
from proctor.results.run_dir import RunDirectory
from proctor.results.run_info import RunInfo, resume_command
from proctor.results.run_status import RunStatus
from proctor.results.summary import Summary, TaskSummary
from proctor.security.consent import GIVE_CONSENT, uninstalled_code
from proctor.security.redaction import REDACTED
from proctor.types import EpisodeResult, EpisodeSpec, Outcome

# If there are more tasks than a reader can take in, suites are shown, and the tasks with errors and the lowest rates.
MAX_TASK_ROWS = 20
MAX_PROBLEMS = 5


def print_run(console: Console, run: RunInfo) -> None:
    """Print a line that names what ``run`` evaluates."""
    console.print(safe(" · ".join(run_title(run)), "bold"), Text(""), sep="\n", soft_wrap=True)


def print_summary(console: Console, summary: Summary, status: RunStatus, run: RunInfo | None = None) -> None:
    """Print the results of a run: a table, the headline, errors, and commands for what one may want to do next.

    ``run`` is None if its description is not known; then commands that depend on it are left out.
    """
    console.print(_table(summary))
    if hidden := len(summary.tasks) - len(_shown_tasks(summary)):
        console.print(Text(f"{hidden} more tasks, none with a lower rate, are in the result file.", style="dim"))
    audit = audit_lines(status.directory, summary.overall.rate)
    for line in [Text(""), *headline_lines(summary), *error_lines(summary), *audit, Text("")]:
        console.print(line, soft_wrap=not console.is_terminal)  # a log is searched by line
    for line in _next_steps(summary, status, run):
        console.print(line, soft_wrap=True)  # a command or a path is copied


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


def _table(summary: Summary) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown, with_suites = _shown_tasks(summary), summary.has_suites
    if with_suites:
        table.add_column("suite", min_width=5)
    table.add_column("task", min_width=8)
    with_errors = summary.overall.n_errors > 0
    for name in figure_names(with_errors=with_errors):
        table.add_column(name, justify="right", no_wrap=True)
    if with_suites and len(shown) < len(summary.tasks):
        for suite, counts in summary.groups.items():
            numbers = figures(counts, summary.pooled_interval(suite), with_errors=with_errors)
            table.add_row(name_cell(suite), Text("all", style="bold"), *numbers)
        table.add_section()
    for task in shown:
        cells = [name_cell(task.task.name)]
        if with_suites:
            cells = [name_cell(task.task.suite), name_cell(f"{task.task.task_id} {task.task.name}")]
        table.add_row(*cells, *figures(task.counts, summary.interval(task.counts), with_errors=with_errors))
    return table


def _shown_tasks(summary: Summary) -> list[TaskSummary]:
    if len(summary.tasks) <= MAX_TASK_ROWS:
        return list(summary.tasks)
    ranked = sorted(summary.tasks, key=_worry)
    chosen = {id(task) for task in ranked[:MAX_TASK_ROWS]}
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
    elif (not summary.complete or summary.overall.n_errors) and not (run and run.fingerprint.get("unidentified")):
        command = f"proctor resume {directory}" if run is None else resume_command(run, status.directory)
        yield _labelled("Go on", command, "bold")
    env = {} if run is None else {"env": run.config.get("env")}
    if (result := _worth_watching(summary)) is not None and REDACTED not in str(env):
        command = command_to_replay(status.directory, summary, result.spec.task)
        consent = f" {GIVE_CONSENT}" if uninstalled_code(env) else ""
        remark = {True: "the first success", False: "the first failure", None: "the first episode"}[result.success]
        yield _labelled("Watch", f"{command} {result.spec.episode_index}{consent}", "bold", f"   {remark}")
    yield _labelled("Look again", f"proctor show {directory}", "bold")


def _labelled(label: str, text: str, style: str = "", remark: str = "") -> Text:
    return Text.assemble((f"{label:<12}", "dim"), safe(text, style), (remark, "dim"))


def _worth_watching(summary: Summary) -> EpisodeResult | None:
    """Choose the first failure, else the first episode of unknown success, else the first success."""
    completed = [result for result in summary.episodes if result.outcome is not Outcome.ERROR]
    return min(completed, key=lambda result: (False, None, True).index(result.success), default=None)
