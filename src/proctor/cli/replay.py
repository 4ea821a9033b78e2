"""``proctor replay``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from proctor.cli.run_names import chosen_run
from proctor.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from proctor.results.summary import Summary, TaskSummary
    from proctor.types import EpisodeResult

_WITHOUT_VIDEO = 1


def replay_command(  # noqa: PLR0913 - the command's flags
    run_dir: Path | None = None,
    /,
    *,
    episode: str,
    task: str | None = None,
    camera: str | None = None,
    size: str | None = None,
    fps: float | None = None,
    trust_remote_code: bool = False,
) -> int:
    """Render videos of episodes of an evaluation by running their recorded actions again.

    If a replay does not end as the episode did (length, reward, success, simulator state), the difference is printed,
    there is no video, and the exit status is 1. The policy is not needed, but the simulator is. Reports show the videos
    that are made without --camera, --size and --fps; another camera, size or speed gives a file of its own beside them.

    Parameters
    ----------
    run_dir
        A run directory, a part of its name that no other run here has, or nothing for the run that began last.
    episode
        The numbers of the episodes, with commas (0,3,7), or failures, or all.
    task
        The name of the task, or SUITE/NUMBER. Needed if the run has several tasks.
    camera
        The camera of the video; that of the evaluation's other videos if not given (--eval.video_camera).
    size
        Width and height of the video in pixels, such as 640x480; those of the other videos if not given.
    fps
        The largest number of frames per simulated second; that of the other videos if not given.
    trust_remote_code
        Consent to running code that is not installed here; RUN_DIR does not hold consent that was given before.
    """
    from proctor.evaluation.videos import replay, replay_options, variant_of
    from proctor.reports.terminal import print_video_problems
    from proctor.results.run_dir import RunDirectory
    from proctor.results.summary import load_summary

    directory = chosen_run(run_dir)
    run, summary = load_summary(directory)
    episodes = _chosen(_task(summary, task), episode)
    if fps is not None and not fps > 0:  # NaN is not either
        raise ConfigError(f"--fps is {fps}; it must be positive.")
    options = replay_options(run, fps, camera, None if size is None else _pixels(size))
    problems = replay(directory, run, episodes, options, trust_remote_code=trust_remote_code)
    console = Console()
    for result in episodes:
        if result.spec not in problems:
            file = RunDirectory(directory).video_file(result.spec, variant_of(run, options))
            console.print(_description(result, file), soft_wrap=True)
    print_video_problems(console, problems)
    return _WITHOUT_VIDEO if problems else 0


def _pixels(size: str) -> tuple[int, int]:
    """Width and height."""
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", size)
    if match is None or min(int(match[1]), int(match[2])) < 2:
        raise ConfigError(f"--size is '{size}'; it is WIDTHxHEIGHT in pixels, such as 640x480.")
    return int(match[1]), int(match[2])


def _description(result: EpisodeResult, file: Path) -> Text:
    """Describe how the episode went, and where its video is."""
    from proctor.reports.text import count, number, safe

    assert result.length is not None  # a run directory knows it
    how = f"{result.outcome} after {count(result.length, 'step')}, reward {number(result.sum_reward)}"
    return safe(f"{result.spec}: {how}, as recorded: {file}")


def _task(summary: Summary, asked: str | None) -> TaskSummary:
    """Find the task that the user asked for."""
    tasks = {f"{task.task.suite}/{task.task.task_id}": task for task in summary.tasks}
    found = [task for key, task in tasks.items() if asked in (None, key, task.task.name)]
    if len(found) == 1:
        return found[0]
    names = [task.task.name for task in tasks.values()]
    if asked is None or found:
        raise ConfigError(f"Which task? Give --task, one of {', '.join(tasks if found and asked else names)}.")
    raise ConfigError(f"The run has no task '{asked}'.{did_you_mean(asked, [*names, *tasks])}")


def _chosen(task: TaskSummary, asked: str) -> Sequence[EpisodeResult]:
    """Find the episodes that the user asked for; only completed episodes have a recording."""
    from proctor.reports.text import count
    from proctor.types import Outcome

    completed = {result.spec.episode_index: result for result in task.episodes if result.outcome is not Outcome.ERROR}
    if asked in ("all", "failures"):
        chosen = [result for result in completed.values() if asked == "all" or result.success is False]
        if not chosen:
            hint = (
                f" The environment did not report whether {count(unknown, 'episode')} succeeded: give --episode=all."
                if (unknown := task.counts.n_unknown)
                else ""
            )
            raise ConfigError(f"{task.task.name} has no {'completed' if asked == 'all' else 'failed'} episode.{hint}")
        return chosen
    try:
        numbers = list(dict.fromkeys(int(number) for number in asked.split(",")))
    except ValueError:
        raise ConfigError(f"--episode is '{asked}'; it is numbers with commas, failures, or all.") from None
    if missing := [str(number) for number in numbers if number not in completed]:
        raise ConfigError(
            f"{task.task.name} has no completed episode {', '.join(missing)}; it has {len(completed)}"
            + (f", numbered {min(completed)} to {max(completed)}." if completed else ".")
        )
    return [completed[number] for number in numbers]
