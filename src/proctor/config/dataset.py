"""A dataset as LeRobot's users describe it, with the same names, fields and defaults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from proctor.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """A dataset. If ``root`` is None, the dataset is in the cache under ``HF_LEROBOT_HOME``."""

    repo_id: str
    root: str | None = None
    episodes: list[int] | None = None
    image_transforms: dict[str, Any] = field(default_factory=dict)
    revision: str | None = None
    use_imagenet_stats: bool = True
    video_backend: str = "pyav"
    streaming: bool = False

    def __post_init__(self) -> None:
        episodes = self.episodes or []
        if negative := sorted({e for e in episodes if e < 0}):
            raise ConfigError(f"dataset.episodes contains {negative}; episodes are numbered from 0.")
        if twice := sorted(e for e, n in Counter(episodes).items() if n > 1):
            raise ConfigError(f"dataset.episodes contains {twice} more than once; list each episode once.")
