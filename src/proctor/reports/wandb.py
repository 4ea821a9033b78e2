"""An evaluation in Weights & Biases: rates with their intervals, a table of episodes with their videos, the files.

It is told of results that are on disk; what goes wrong there costs none of them. Nothing is sent that is not in the
run directory: no host name, no environment, no code, and the configuration without its secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proctor.config import WandBConfig
from proctor.errors import MissingExtraError, ProctorError
from proctor.reports.export import COLUMNS, episode_rows
from proctor.reports.text import first_line
from proctor.results.run_dir import RunDirectory, Shard
from proctor.results.summary import Summary
from proctor.security.redaction import redact_text

if TYPE_CHECKING:
    import wandb

_MAX_ROWS = 10_000
"""Of a table; Weights & Biases shows no more. The file in the artifact has all episodes."""

_MAX_TAG = 64
_LOGIN_TIMEOUT_S = 60


class WandBError(ProctorError):
    """Weights & Biases did not take the evaluation."""


def check_wandb(config: WandBConfig) -> None:
    """See to it, before anything runs, that what is asked for can be done.

    Raises:
        MissingExtraError: it is enabled, and the package is not installed.
    """
    if config.wanted:
        try:
            import wandb  # noqa: F401 - whether it can be
        except ImportError as error:
            raise MissingExtraError("wandb", "wandb", str(error)) from None


def log_evaluation(
    config: WandBConfig, directory: Path, job_name: str | None, summary: Summary, info: Mapping[str, Any]
) -> str:
    """Log the evaluation in ``directory``, whose ``eval_info.json`` holds ``info``. Gives where it is, for the user.

    Raises:
        WandBError: it could not be logged; the message says why.
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
    try:
        with wandb.init(
            dir=directory,
            project=config.project,
            entity=config.entity,
            name=redact_text(job_name or directory.resolve().name),
            notes=redact_text(config.notes) if config.notes else None,
            tags=_tags(info) if config.add_tags else None,
            id=config.run_id,
            resume="allow" if config.run_id else None,
            mode=config.mode,  # type: ignore[arg-type]  # WandBConfig has checked which there are
            job_type="eval",
            config={name: info[name] for name in ("config", "fingerprint", "provenance")},
            settings=settings,
        ) as run:
            run.summary.update(dict(measurements(info)))
            run.log({"tasks": _tasks(info), "episodes": _episodes(summary), **_videos(directory, summary)})
            if not config.disable_artifact:
                run.log_artifact(_artifact(directory, info, run.id))
    except Exception as error:  # whatever a service and its client raise
        reason = first_line(str(error)).rstrip(".") or type(error).__name__
        raise WandBError(f"Weights & Biases did not take them: {reason}.") from error
    finally:
        wandb.teardown()  # only then everything is in the offline run's file, and no process is left
    if run.offline:
        folder = Path(run.dir).parent
        return f"{folder} (upload it with: wandb sync {folder})"
    return run.url or run.path


def measurements(info: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every rate, mean, count and end of an interval by its name: overall, of the mean over tasks, of the headline, by
    suite, by task.

    ``overall/pc_success``, ``macro/pc_success_low``, ``suite/libero_goal/n_errors``,
    ``task/libero_goal/3/avg_length_high``: as in ``eval_info.json``, with the number of the task. A number that does
    not exist is left out.
    """
    yield from _numbers("overall", info["overall"])
    yield from _numbers("macro", info["macro"] or {})
    yield from _numbers("headline", info["headline"] or {})
    for suite, group in info["per_group"].items():
        yield from _numbers(f"suite/{suite}", group)
    for task in info["per_task"]:
        figures = {name: value for name, value in task.items() if name != "task_id"}
        yield from _numbers(f"task/{task['task_group']}/{task['task_id']}", figures)


def _numbers(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, int | float):
            yield f"{prefix}/{name}", value
        elif name.endswith("_interval") and value is not None:
            stem = name.removesuffix("_interval")
            yield from zip((f"{prefix}/{stem}_low", f"{prefix}/{stem}_high"), value, strict=True)


def _tags(info: Mapping[str, Any]) -> list[str]:
    """As LeRobot tags its training runs."""
    fingerprint, asked = info["fingerprint"], info["config"]["policy"]
    policy = fingerprint["policy"]["type"] if asked.get("path") else asked.get("type", "function")
    tags = [f"policy:{policy}", f"seed:{fingerprint['seed']}", f"env:{fingerprint['benchmark']['name']}"]
    return [tag[:_MAX_TAG] for tag in tags]


def _tasks(info: Mapping[str, Any]) -> wandb.Table:
    """A row per task: what it is, its counts, rate and means, each with the ends of its interval."""
    import wandb

    rows = [
        {
            "suite": task["task_group"],
            "task_id": task["task_id"],
            "task": task["task"],
            **dict(_numbers("", {name: value for name, value in task.items() if name != "task_id"})),
        }
        for task in info["per_task"]
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    data = [[row.get(name) for name in names] for row in rows]
    return wandb.Table(columns=[name.removeprefix("/") for name in names], data=data)


def _episodes(summary: Summary) -> wandb.Table:
    """A row per episode, as ``proctor export`` writes them."""
    import wandb

    rows = islice(episode_rows(summary), _MAX_ROWS)
    data = [[column.cell(row) for column in COLUMNS] for row in rows]
    return wandb.Table(columns=[column.name for column in COLUMNS], data=data)


def _videos(directory: Path, summary: Summary) -> dict[str, list[wandb.Video]]:
    """By task, named as their folder is. Not in the table: its videos would lie outside the run directory."""
    import wandb

    videos: dict[str, list[wandb.Video]] = {}
    for task, result, file in episode_rows(summary):
        if file is not None:
            caption = f"{task.name} episode {result.spec.episode_index}: {result.outcome}"
            video = wandb.Video(str(directory / file), caption=caption, format="mp4")
            videos.setdefault(Path(file).parent.as_posix(), []).append(video)
    return videos


def _artifact(directory: Path, info: Mapping[str, Any], run_id: str) -> wandb.Artifact:
    """The files that say everything, as they are."""
    import wandb

    evaluation = info["config"]["eval"]
    artifact = wandb.Artifact(f"evaluation-{run_id}", type="evaluation")
    files = RunDirectory(directory, Shard(evaluation["shard_id"], evaluation["num_shards"]))
    for file in (files.whole.run_file, files.eval_info_file):
        artifact.add_file(str(file), policy="immutable")
    return artifact
