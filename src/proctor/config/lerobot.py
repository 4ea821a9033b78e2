"""Configuration classes LeRobot users know, under the same names, with the same fields and defaults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from proctor.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """A dataset. ``root`` of None means the dataset cache under ``HF_LEROBOT_HOME``."""

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
            raise ConfigError(f"dataset.episodes holds negative indices {negative}; episodes are numbered from 0.")
        if twice := sorted(e for e, n in Counter(episodes).items() if n > 1):
            raise ConfigError(f"dataset.episodes names {twice} more than once; name each episode once.")


@dataclass(frozen=True, kw_only=True)
class WandBConfig:
    """Weights & Biases."""

    enable: bool = False
    disable_artifact: bool = False
    project: str = "lerobot"
    entity: str | None = None
    notes: str | None = None
    run_id: str | None = None
    mode: str | None = None
    add_tags: bool = True

    def __post_init__(self) -> None:
        if self.mode not in (None, "online", "offline", "disabled"):
            raise ConfigError(f"wandb.mode is '{self.mode}'; it is one of online, offline, disabled.")


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """Parameter-efficient fine-tuning."""

    target_modules: list[str] | str | None = None
    full_training_modules: list[str] | None = None
    method_type: str = "LORA"
    init_type: str | None = None
    r: int = 16
