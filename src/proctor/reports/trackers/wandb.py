"""An evaluation in Weights & Biases: rates with their intervals, a table of episodes with their videos, the files.

The results are on disk before they are sent, so no failure of the service loses any. Nothing is sent that is not in the
run directory: no host name, no environment variable, no code, and the configuration without its secrets.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from proctor.config import WandBConfig
from proctor.reports.export import COLUMNS, episode_rows
from proctor.reports.text import first_line
from proctor.reports.trackers.measurements import STEP, TrackerError, measurements, measurements_of_step, numbers_of
from proctor.results.eval_info import stream_eval_info
from proctor.results.run_dir import RunDirectory, Shard
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary
from proctor.security.redaction import redact_text

if TYPE_CHECKING:
    import wandb

_MAX_ROWS = 10_000
"""The most rows of a table that Weights & Biases shows. The file in the artifact has all episodes."""

_MAX_TAG = 64
_LOGIN_TIMEOUT_S = 60


def log_to_wandb(config: WandBConfig, directory: Path, job_name: str | None, run: RunInfo, summary: Summary) -> str:
    """Log the evaluation in ``directory``, which holds its ``eval_info.json``.

    Returns:
        The address of what was logged, for people to read.

    Raises:
        TrackerError: the evaluation could not be logged; the message gives the reason.
    """
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        host="",
        login_timeout=_LOGIN_TIMEOUT_S,
    )
    of_training = config.run_id is not None and run.checkpoint_step is not None
    try:
        with wandb.init(
            dir=directory,
            project=config.project,
            entity=config.entity,
            notes=redact_text(config.notes) if config.notes else None,
            id=config.run_id,
            resume="allow" if config.run_id else None,
            mode=config.mode,  # type: ignore[arg-type]  # WandBConfig has checked which there are
            settings=settings,
            **({} if of_training else _description(config, directory, job_name, run)),
        ) as logged:
            tables = {"tasks": _tasks(run, summary), "episodes": _episodes(summary), **_videos(directory, summary)}
            if of_training:
                logged.define_metric("eval/*", step_metric=STEP)
                numbers = {STEP: run.checkpoint_step, **dict(measurements_of_step(run, summary))}
                logged.log({**numbers, **{f"eval/{name}": table for name, table in tables.items()}})
            else:
                logged.summary.update(dict(measurements(run, summary)))
                logged.log(tables)
            if not config.disable_artifact:
                logged.log_artifact(_artifact(directory, run, logged.id))
    except Exception as error:  # the client raises errors of many kinds, also those of the network
        reason = first_line(str(error)).rstrip(".") or type(error).__name__
        raise TrackerError(f"Weights & Biases did not take them: {reason}.") from error
    finally:
        wandb.teardown()  # writes everything into an offline run's file, and ends wandb's own process
    if logged.offline:
        folder = Path(logged.dir).parent
        return f"{folder} (upload it with: wandb sync {folder})"
    return logged.url or logged.path


def _description(config: WandBConfig, directory: Path, job_name: str | None, run: RunInfo) -> dict[str, Any]:
    """Describe a run that is an evaluation's own. A training's run has its own name, tags and configuration."""
    return {
        "name": redact_text(job_name or directory.resolve().name),
        "tags": _tags(run) if config.add_tags else None,
        "job_type": "eval",
        "config": {name: to_builtins(getattr(run, name)) for name in ("config", "fingerprint", "provenance")},
    }


def _tags(run: RunInfo) -> list[str]:
    """Make the tags that LeRobot gives its training runs."""
    fingerprint, asked = run.fingerprint, run.config["policy"]
    policy = fingerprint["policy"]["type"] if asked.get("path") else asked.get("type", "function")
    tags = [f"policy:{policy}", f"seed:{fingerprint['seed']}", f"env:{fingerprint['benchmark']['name']}"]
    return [tag[:_MAX_TAG] for tag in tags]


def _tasks(run: RunInfo, summary: Summary) -> wandb.Table:
    """Make a table with a row per task: its name, counts, rate and means, each with the ends of its interval."""
    import wandb

    rows = [
        {
            "suite": task["task_group"],
            "task_id": task["task_id"],
            "task": task["task"],
            **dict(numbers_of("", {name: value for name, value in task.items() if name != "task_id"})),
        }
        for task in stream_eval_info(summary, run)["per_task"]
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    data = [[row.get(name) for name in names] for row in rows]
    return wandb.Table(columns=[name.removeprefix("/") for name in names], data=data)


def _episodes(summary: Summary) -> wandb.Table:
    """Make a table with a row per episode, as ``proctor export`` writes it."""
    import wandb

    rows = islice(episode_rows(summary), _MAX_ROWS)
    data = [[column.cell(row) for column in COLUMNS] for row in rows]
    return wandb.Table(columns=[column.name for column in COLUMNS], data=data)


def _videos(directory: Path, summary: Summary) -> dict[str, list[wandb.Video]]:
    """Make a panel of videos for each task, named by its folder.

    They are not in the table of episodes, because wandb copies a table's videos to a place outside the run directory.
    """
    import wandb

    videos: dict[str, list[wandb.Video]] = {}
    for task, result, file in episode_rows(summary):
        if file is not None:
            caption = f"{task.name} episode {result.spec.episode_index}: {result.outcome}"
            video = wandb.Video(str(directory / file), caption=caption, format="mp4")
            videos.setdefault(Path(file).parent.as_posix(), []).append(video)
    return videos


def _artifact(directory: Path, run: RunInfo, run_id: str) -> wandb.Artifact:
    """Make an artifact of the two files that hold the whole evaluation, unchanged."""
    import wandb

    evaluation = run.config["eval"]
    artifact = wandb.Artifact(f"evaluation-{run_id}", type="evaluation")
    files = RunDirectory(directory, Shard(evaluation["shard_id"], evaluation["num_shards"]))
    for file in (files.whole.run_file, files.eval_info_file):
        artifact.add_file(str(file), policy="immutable")
    return artifact
