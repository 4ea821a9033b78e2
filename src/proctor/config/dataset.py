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
    """The dataset's name, user/name."""

    root: str | None = None
    """The directory that holds it; by default it is in LeRobot's cache, or comes from the Hub."""

    episodes: list[int] | None = None
    """The indices of the episodes, as a list: '[0,3]'; all by default."""

    image_transforms: dict[str, Any] = field(default_factory=dict)
    """LeRobot's random image transforms, as JSON: '{"enable": true}'; none by default."""

    revision: str | None = None
    """A revision of the Hub: a branch, a tag or a commit."""

    use_imagenet_stats: bool = True
    """Accepted as LeRobot's training has it. A checkpoint brings its own statistics of images, so that no result
    depends on it."""

    video_backend: str = "pyav"
    """What decodes videos: pyav or torchcodec."""

    streaming: bool = False
    """Read the frames in their order, without first downloading the dataset."""

    def __post_init__(self) -> None:
        episodes = self.episodes or []
        if negative := sorted({e for e in episodes if e < 0}):
            raise ConfigError(f"dataset.episodes contains {negative}; episodes are numbered from 0.")
        if twice := sorted(e for e, n in Counter(episodes).items() if n > 1):
            raise ConfigError(f"dataset.episodes contains {twice} more than once; list each episode once.")
