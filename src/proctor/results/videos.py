"""Where the videos of a run are. A video belongs to an episode by its name; which there are, the folder says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from proctor.types import EpisodeSpec

VIDEO_FOLDER = "videos"


def video_file(spec: EpisodeSpec) -> str:
    """The file of an episode's video, relative to the run directory."""
    suite = re.sub(r"[^\w.-]+", "_", spec.suite)
    return f"{VIDEO_FOLDER}/{suite}_{spec.task_id}/eval_episode_{spec.episode_index}.mp4"


def existing_videos(directory: Path, specs: Iterable[EpisodeSpec]) -> dict[EpisodeSpec, str]:
    """Those of the episodes that have a video, and its file."""
    found = {path.relative_to(directory).as_posix() for path in (directory / VIDEO_FOLDER).glob("*/*.mp4")}
    return {spec: file for spec in specs if (file := video_file(spec)) in found} if found else {}
