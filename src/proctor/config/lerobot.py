"""Configuration classes that LeRobot users know, with the same names, fields and defaults."""

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


@dataclass(frozen=True, kw_only=True)
class WandBConfig:
    """Weights & Biases: ``--wandb.<field>``."""

    enable: bool = False
    """Log the results to Weights & Biases after they are written to disk."""

    disable_artifact: bool = False
    """Do not upload run.json and eval_info.json; numbers, tables and videos are still logged."""

    project: str = "lerobot"
    """Project to log to."""

    entity: str | None = None
    """User or team that owns the project; the default is your own account."""

    notes: str | None = None
    """Notes, shown beside the run."""

    run_id: str | None = None
    """Id of a Weights & Biases run to resume; the default is a new run."""

    mode: str | None = None
    """online, offline (writes a folder in the run directory, for wandb sync) or disabled. The default is the value of
    WANDB_MODE, else online."""

    add_tags: bool = True
    """Tag the run with policy, seed and benchmark."""

    def __post_init__(self) -> None:
        if self.mode not in (None, "online", "offline", "disabled"):
            raise ConfigError(f"wandb.mode is '{self.mode}'; it must be one of online, offline, disabled.")

    @property
    def wanted(self) -> bool:
        """True if something is to be logged."""
        return self.enable and self.mode != "disabled"


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """Parameter-efficient fine-tuning."""

    target_modules: list[str] | str | None = None
    full_training_modules: list[str] | None = None
    method_type: str = "LORA"
    init_type: str | None = None
    r: int = 16
