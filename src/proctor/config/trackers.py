"""Logging to trackers besides Weights & Biases: ``--trackio.<field>``, ``--tensorboard.<field>``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrackioConfig:
    """Trackio: ``--trackio.<field>``."""

    enable: bool = False
    """Log the results to Trackio, on this machine, after they are written to disk."""

    project: str = "lerobot"
    """Project to log to."""

    name: str | None = None
    """Run to log to, such as the training's; the default is the name of the run directory."""


@dataclass(frozen=True, kw_only=True)
class TensorBoardConfig:
    """TensorBoard: ``--tensorboard.<field>``."""

    log_dir: str | None = None
    """Directory to write an event file into, such as the training's, after the results are written to disk."""
