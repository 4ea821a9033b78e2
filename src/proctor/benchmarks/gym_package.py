"""Gymnasium, or in an interpreter without it (``--env.python``) the old gym, whose spaces and registry are alike."""

from __future__ import annotations

from typing import Any

try:
    import gymnasium as package
    from gymnasium.envs import registration
    from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
except ImportError:
    import gym as package
    from gym.envs import registration
    from gym.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

__all__ = [
    "Box",
    "Dict",
    "Discrete",
    "MultiBinary",
    "MultiDiscrete",
    "Text",
    "Tuple",
    "load_env_creator",
    "package",
    "registered",
    "registration",
]

load_env_creator = getattr(registration, "load_env_creator", None) or registration.load


def registered() -> dict[str, Any]:
    """Return the registered environments by their ids."""
    found: dict[str, Any] = (package if hasattr(package, "registry") else registration).registry
    return found
