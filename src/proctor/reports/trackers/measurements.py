"""The numbers of an evaluation by name, for programs that draw numbers over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proctor.errors import ProctorError
from proctor.results.eval_info import stream_eval_info
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary

STEP = "eval/step"
"""The name of the training step of the checkpoint that was evaluated."""


class TrackerError(ProctorError):
    """A tracker did not take the evaluation."""


def measurements(run: RunInfo, summary: Summary) -> Iterator[tuple[str, float]]:
    """Give every rate, mean, count and end of an interval with its name: overall, of the mean over tasks, of the
    headline, by suite, by task.

    The names are those of ``eval_info.json``, with the number of the task: ``overall/pc_success``,
    ``macro/pc_success_low``, ``suite/libero_goal/n_errors``, ``task/libero_goal/3/avg_length_high``. A number that does
    not exist is left out.
    """
    info = stream_eval_info(summary, run)
    yield from numbers_of("overall", info["overall"])
    yield from numbers_of("macro", info["macro"] or {})
    yield from numbers_of("headline", info["headline"] or {})
    for suite, group in info["per_group"].items():
        yield from numbers_of(f"suite/{suite}", group)
    for task in info["per_task"]:
        figures = {name: value for name, value in task.items() if name != "task_id"}
        yield from numbers_of(f"task/{task['task_group']}/{task['task_id']}", figures)


def measurements_of_step(run: RunInfo, summary: Summary) -> Iterator[tuple[str, float]]:
    """Give the same numbers under the names that belong into a training's run, beside its losses.

    They are ``eval/overall/pc_success``, ``eval/headline/pc_success_low``, ``eval/<suite>/n_errors``,
    ``eval/<suite>/<task>/avg_length_high``.
    """
    for name, value in measurements(run, summary):
        yield f"eval/{name.removeprefix('suite/').removeprefix('task/')}", value


def numbers_of(prefix: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Give every number among ``figures`` with its name, and both ends of every interval."""
    for name, value in figures.items():
        if isinstance(value, int | float):
            yield f"{prefix}/{name}", value
        elif name.endswith("_interval") and value is not None:
            stem = name.removesuffix("_interval")
            yield from zip((f"{prefix}/{stem}_low", f"{prefix}/{stem}_high"), value, strict=True)
