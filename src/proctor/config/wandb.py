"""Logging to Weights & Biases: ``--wandb.<field>``."""

from __future__ import annotations

from dataclasses import dataclass

from proctor.errors import ConfigError


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
    """Id of a Weights & Biases run to resume; the default is a new run. With the training's run, the numbers of a
    checkpoint are logged over its training step as eval/<suite>/pc_success and the like, and nothing else changes."""

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
