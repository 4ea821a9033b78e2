"""What a running engine is busy with, for people who watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proctor.types import TaskKey


@dataclass(frozen=True, slots=True)
class Load:
    """Workers by what they do at this moment, and how well inference is used.

    ``waiting`` workers have nothing to do: their episode waits for the policy, or there is no episode left. ``running``
    counts the episodes under way per task. ``inference_share`` is the part of the time since the policy was loaded that
    its slots were busy, 0 to 1; it and ``mean_batch``, the observations per forward pass, are None before, and where
    the actions come from inside the workers.
    """

    starting: int = 0
    building: int = 0
    simulating: int = 0
    waiting: int = 0
    running: Mapping[TaskKey, int] = field(default_factory=dict)
    loading_policy: bool = False
    inference_share: float | None = None
    mean_batch: float | None = None

    @property
    def workers(self) -> int:
        return self.starting + self.building + self.simulating + self.waiting
