"""The state of a running engine, for a display."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proctor.types import TaskKey


@dataclass(frozen=True, slots=True)
class Load:
    """The number of workers in each state at this moment, and how well inference is used.

    A worker is ``waiting`` if its episode waits for the policy, or if there is no episode for it. ``running`` is the
    number of episodes under way per task. ``inference_share`` is the part of the time since the policy was loaded that
    its slots were busy, 0 to 1, and ``mean_batch`` the observations per forward pass. Both are None before the policy
    is loaded, and if the actions come from inside the workers.
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
        """The number of workers."""
        return self.starting + self.building + self.simulating + self.waiting
