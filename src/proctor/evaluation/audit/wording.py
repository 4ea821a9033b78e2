"""Words that the sentences of several checks share."""

from __future__ import annotations


def named(feature: str, index: int) -> str:
    """Name an element of a feature: ``observation.state[6]``."""
    return f"{feature}[{index}]"


def number(value: float) -> str:
    """Format a number with three digits."""
    return f"{value:.3g}"


def share_of_episodes(share: float) -> str:
    """Format a share (0 to 1) of episodes."""
    return "every episode" if share >= 1 else f"{share:.0%} of the episodes"
