"""Real-time chunking: a checkpoint that fits each chunk to the actions that are executed while it is inferred.

LeRobot's ``rtc_config`` enables it. Importing this imports neither torch nor lerobot;
:mod:`~proctor.policies.lerobot.guidance` computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIELD = "rtc_config"
_DEFAULT_HORIZON = 10  # of lerobot.policies.rtc.RTCConfig


def is_real_time(config: Mapping[str, Any]) -> bool:
    """Say whether a checkpoint's configuration enables real-time chunking.

    A configuration without ``enabled`` enables it, as in LeRobot 0.6; in LeRobot 0.4 it does not.
    """
    found = config.get(FIELD)
    return isinstance(found, Mapping) and found.get("enabled", True) is not False


def written_out(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give ``rtc_config`` with the fields whose absence has another meaning in another version of LeRobot."""
    return {"enabled": True, "execution_horizon": _DEFAULT_HORIZON, **config[FIELD]}


def misfit(config: Mapping[str, Any], n_action_steps: int, chunk_size: int) -> tuple[str, str] | None:
    """Give the field of the configuration that real-time chunking cannot work with, and why; None if all fit.

    ``n_action_steps`` is the number of actions that are executed before the next look, of the ``chunk_size`` that
    are predicted.
    """
    settings = config[FIELD]
    enabled, horizon = settings["enabled"], settings["execution_horizon"]
    if type(enabled) is not bool:
        return FIELD, f"has enabled={enabled!a:.80}; it must be true or false"
    if type(horizon) is not int or not 1 <= horizon <= chunk_size:
        return FIELD, (
            f"has execution_horizon={horizon!a:.80}; it must be a whole number, at least 1 and at most {chunk_size}, "
            "the actions of a chunk"
        )
    if n_action_steps >= chunk_size:
        return "n_action_steps", (
            f"is {n_action_steps}, which is a whole chunk, so nothing is left over for real-time chunking (rtc_config) "
            f"to continue, and LeRobot would pull the next chunk towards zeros; give fewer, as "
            f"--policy.n_action_steps={max(1, chunk_size // 2)}, or turn it off: --policy.rtc_config=null"
        )
    return None
