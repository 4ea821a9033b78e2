"""The result of an evaluation, as :func:`proctor.evaluate` returns it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from proctor.results.eval_info import build_eval_info
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary
from proctor.types import EpisodeSpec


@dataclass(frozen=True, repr=False)
class EvalResult:
    """The result of an evaluation: the run directory, the numbers, and what was evaluated.

    ``n_videos_to_come`` videos are still to be made, in at most ``video_budget_s`` seconds (infinity if the user gave
    their number); ``n_videos_left_out`` were not made in that time. ``video_problems`` are the episodes that were to
    get a video and have none, and why. ``losses`` has a sentence about each shard that died.
    """

    directory: Path
    summary: Summary
    run: RunInfo
    n_videos_to_come: int = 0
    n_videos_left_out: int = 0
    video_budget_s: float = math.inf
    video_problems: Mapping[EpisodeSpec, str] = field(default_factory=dict)
    losses: tuple[str, ...] = ()

    def __repr__(self) -> str:
        counts = self.summary.overall
        rate = "unknown" if self.pc_success is None else f"{self.pc_success:.1f}"
        numbers = f"pc_success={rate}, n_episodes={counts.n_completed}, n_errors={counts.n_errors}"
        return f"{type(self).__name__}({numbers}, directory={str(self.directory)!r})"

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of ``eval_info.json``."""
        return build_eval_info(self.summary, self.run)

    @property
    def pc_success(self) -> float | None:
        """The success rate over all completed episodes, in percent.

        None if no episode was completed, or if the success of one is unknown.
        """
        rate = self.summary.overall.rate
        return None if rate is None else 100 * rate

    @property
    def n_errors(self) -> int:
        """The number of episodes that could not be run."""
        return self.summary.overall.n_errors
