"""A policy as somebody else's package brings it: registered under a name that LeRobot does not know."""

from .configuration_wanderer import WandererConfig

__all__ = ["WandererConfig"]
