"""The status of a run directory: whether a process writes to it, and how many videos it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from proctor.results.run_dir import RunDirectory


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run directory at one moment.

    ``writer`` describes the process that writes to the directory, and is None if there is none. ``n_videos`` is the
    number of videos that are there, ``n_videos_to_come`` the number of those that are being made, in at most
    ``video_budget_s`` seconds.
    """

    directory: Path
    writer: str | None = None
    n_videos: int = 0
    n_videos_to_come: int = 0
    video_budget_s: float = math.inf

    @classmethod
    def of(cls, directory: Path) -> Self:
        """Look at the locks and videos in ``directory``, without disturbing a process that writes there."""
        files = RunDirectory(directory)
        return cls(directory, files.writer(), n_videos=sum(1 for _ in files.video_files()))

    @property
    def is_live(self) -> bool:
        """A process writes results to the directory."""
        return self.writer is not None
