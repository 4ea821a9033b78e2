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
    """Weights & Biases: ``--wandb.<field>``."""

    enable: bool = False
    """Log the results to Weights & Biases once they are on disk."""

    disable_artifact: bool = False
    """Keep run.json and eval_info.json out of it; numbers, tables and videos are logged in any case."""

    project: str = "lerobot"
    """The project."""

    entity: str | None = None
    """The user or team; your own if not given."""

    notes: str | None = None
    """A remark, shown beside the run."""

    run_id: str | None = None
    """Go on with this run of Weights & Biases; a new one if not given."""

    mode: str | None = None
    """online, offline (a folder in the run directory, for wandb sync) or disabled; what WANDB_MODE says, else online,
    if not given."""

    add_tags: bool = True
    """Tag it with policy, seed and benchmark."""

    def __post_init__(self) -> None:
        if self.mode not in (None, "online", "offline", "disabled"):
            raise ConfigError(f"wandb.mode is '{self.mode}'; it is one of online, offline, disabled.")

    @property
    def wanted(self) -> bool:
        """Whether anything is to be logged."""
        return self.enable and self.mode != "disabled"


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """Parameter-efficient fine-tuning."""

    target_modules: list[str] | str | None = None
    full_training_modules: list[str] | None = None
    method_type: str = "LORA"
    init_type: str | None = None
    r: int = 16
