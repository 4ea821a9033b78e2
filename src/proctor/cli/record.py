"""``proctor record``."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from proctor.cli.run_names import chosen_run
from proctor.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from proctor.evaluation.recording import Recording
    from proctor.results.summary import Summary, TaskSummary
    from proctor.types import EpisodeResult

_INCOMPLETE = 1


def record_command(  # noqa: PLR0913 - the command's flags
    run_dir: Path | None = None,
    /,
    *,
    episode: str = "all",
    task: str | None = None,
    output: Path | None = None,
    repo_id: str | None = None,
    private: bool = False,
    trust_remote_code: bool = False,
) -> int:
    """Record episodes of an evaluation as one LeRobotDataset by running their recorded actions again.

    The dataset holds what the policy saw and did at each step, and for each episode its task, seed, initial state and
    success. If a replay does not end as the episode did, the episode is left out, the difference is printed, and the
    exit status is 1. The policy is not needed, but the simulator and LeRobot are. Nothing is uploaded.

    Parameters
    ----------
    run_dir
        A run directory, a part of its name that no other run here has, or nothing for the run that began last.
    episode
        The episodes of each task: all, failures, successes, or numbers with commas (0,3,7).
    task
        The name of the only task to record, or SUITE/NUMBER; all tasks if not given.
    output
        The folder of the dataset, which does not exist yet; RUN_DIR/recording if not given.
    repo_id
        The name of the dataset on the Hub, for the command that pushes it, which is printed; that of the evaluation if
        not given.
    private
        Make the printed command push a private dataset.
    trust_remote_code
        Consent to running code that is not installed here; RUN_DIR does not hold consent that was given before.
    """
    from proctor.evaluation.recording import record_run
    from proctor.results.summary import load_summary

    directory = chosen_run(run_dir)
    run, summary = load_summary(directory)
    results = _chosen(_tasks(summary, task), episode)
    options = run.config.get("eval", {})
    repo_id = repo_id or options.get("recording_repo_id")
    recording = record_run(directory, run, results, output, repo_id=repo_id, trust_remote_code=trust_remote_code)
    show_recording(recording, repo_id, private=private or bool(options.get("recording_private")))
    return _INCOMPLETE if recording.problems else 0


def show_recording(recording: Recording, repo_id: str | None, *, private: bool) -> None:
    """Print where a dataset is, why episodes are not in it, and how to push it if it has a name."""
    from proctor.reports.terminal import print_recording

    n_episodes, n_frames = recording.n_episodes, recording.n_frames
    print_recording(
        Console(), recording.path, n_episodes, n_frames, recording.problems, repo_id=repo_id, private=private
    )


def _tasks(summary: Summary, asked: str | None) -> list[TaskSummary]:
    """Find the tasks that the user asked for."""
    names = [(each, (each.task.name, f"{each.task.suite}/{each.task.task_id}")) for each in summary.tasks]
    found = [each for each, known_as in names if asked is None or asked in known_as]
    if asked is None or found:
        return found
    raise ConfigError(f"The run has no task '{asked}'.{did_you_mean(asked, chain(*(known for _, known in names)))}")


def _chosen(tasks: list[TaskSummary], asked: str) -> list[EpisodeResult]:
    """Find the episodes that the user asked for, in the order of the plan; only completed episodes have a recording."""
    from proctor.types import Outcome

    completed = [result for task in tasks for result in task.episodes if result.outcome is not Outcome.ERROR]
    wanted_success = {"failures": (False,), "successes": (True,), "all": (True, False, None)}.get(asked)
    if wanted_success is not None:
        chosen = [result for result in completed if result.success in wanted_success]
    else:
        numbers = _numbers(asked)
        chosen = [result for result in completed if result.spec.episode_index in numbers]
        if missing := numbers - {result.spec.episode_index for result in chosen}:
            listed = ", ".join(map(str, sorted(missing)))
            raise ConfigError(f"No task has a completed episode {listed}; `proctor show` says how many there are.")
    if not chosen:
        kind = {"failures": "failed ", "successes": "successful "}.get(asked, "completed ")
        raise ConfigError(f"The run has no {kind}episode to record; give another --episode, or --episode=all.")
    return chosen


def _numbers(asked: str) -> set[int]:
    try:
        return {int(number) for number in asked.split(",")}
    except ValueError:
        raise ConfigError(f"--episode is '{asked}'; it is all, failures, successes, or numbers with commas.") from None
