"""The result of an evaluation, as :func:`proctor.evaluate` returns it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proctor.errors import ConfigError
from proctor.reports.export import COLUMNS, episode_rows
from proctor.reports.notebook import result_html
from proctor.results.eval_info import build_eval_info
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary
from proctor.statistics.counts import Counts
from proctor.statistics.intervals import Interval
from proctor.types import EpisodeSpec

if TYPE_CHECKING:
    from proctor.evaluation.recording import Recording


@dataclass(frozen=True)
class TaskResult:
    """The result of one task.

    ``pc_success`` and ``interval`` (95 %) are in percent, and None if no episode was completed or if the success of one
    is unknown. ``n_episodes`` counts the completed episodes, ``n_errors`` those that could not be run. The means of
    rewards and lengths (in steps) are over completed episodes, and None if there are none.
    """

    suite: str
    task_id: int
    name: str
    pc_success: float | None
    interval: tuple[float, float] | None
    n_episodes: int
    n_errors: int
    avg_sum_reward: float | None
    avg_length: float | None


@dataclass(frozen=True, repr=False)
class EvalResult:
    """The result of an evaluation: the run directory, the numbers, and what was evaluated.

    ``n_videos_to_come`` videos are still to be made, in at most ``video_budget_s`` seconds (infinity if the user gave
    their number); ``n_videos_left_out`` were not made in that time. ``video_problems`` are the episodes that were to
    get a video and have none, and why. ``losses`` has a sentence about each shard that died.
    ``recording`` is the dataset of the episodes, None if none was asked for. ``n_measured`` is the number of episodes
    that this session was to run.

    In a notebook, a result is shown as a table of tasks with some of the videos.
    """

    directory: Path
    summary: Summary
    run: RunInfo
    n_videos_to_come: int = 0
    n_videos_left_out: int = 0
    video_budget_s: float = math.inf
    video_problems: Mapping[EpisodeSpec, str] = field(default_factory=dict)
    losses: tuple[str, ...] = ()
    recording: Recording | None = None
    n_measured: int = 0

    def __repr__(self) -> str:
        counts = self.summary.overall
        rate = "unknown" if self.pc_success is None else f"{self.pc_success:.1f}"
        if self.interval is not None:
            rate += " ({:.1f} … {:.1f})".format(*self.interval)
        numbers = f"pc_success={rate}, n_episodes={counts.n_completed}, n_errors={counts.n_errors}"
        return f"{type(self).__name__}({numbers}, directory={str(self.directory)!r})"

    def _repr_html_(self) -> str:
        return result_html(self.summary, self.directory)

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of ``eval_info.json``."""
        return build_eval_info(self.summary, self.run)

    @property
    def pc_success(self) -> float | None:
        """The success rate over all completed episodes, in percent.

        None if no episode was completed, or if the success of one is unknown.
        """
        return _percent(self.summary.overall)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of :attr:`pc_success`, in percent; None if there is no rate."""
        return _percents(self.summary.pooled_interval())

    @property
    def tasks(self) -> tuple[TaskResult, ...]:
        """The result of each task, in the order of the plan."""
        return tuple(
            TaskResult(
                task.task.suite,
                task.task.task_id,
                task.task.name,
                _percent(task.counts),
                _percents(self.summary.interval(task.counts)),
                task.counts.n_completed,
                task.counts.n_errors,
                task.counts.mean_sum_reward,
                task.counts.mean_length,
            )
            for task in self.summary.tasks
        )

    @property
    def n_errors(self) -> int:
        """The number of episodes that could not be run."""
        return self.summary.overall.n_errors

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with a row per episode and the columns that ``proctor export`` writes.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigError(
                f"pandas is not installed ({error}); install it with: pip install pandas, or read result.info, which "
                "holds the same episodes as dictionaries."
            ) from None
        rows = ([column.cell(row) for column in COLUMNS] for row in episode_rows(self.summary))
        return pd.DataFrame(rows, columns=[column.name for column in COLUMNS])


def _percent(counts: Counts) -> float | None:
    return None if counts.rate is None else 100 * counts.rate


def _percents(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (100 * interval.low, 100 * interval.high)
