"""A policy as somebody else's package brings it: registered under a name that LeRobot does not know, as is a step."""

from .configuration_wanderer import WandererConfig
from .pause import PauseStep

__all__ = ["PauseStep", "WandererConfig"]
