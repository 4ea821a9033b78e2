"""Delayed inference: what a robot executes while its policy infers, in control steps and without a clock.

A simulator waits for the policy, a robot does not. With a delay of K steps, the chunk that is inferred from the
observation at step t takes over at step t + K. Let n be the policy's ``n_action_steps``, and let the *rest* be the
actions of the chunk before that have not been executed, from its action for step t on.

- The first chunk of an episode is waited for: the robot stands still until it has its first actions.
- The policy looks every max(n, K) steps, because one inference is under way at a time.
- After a look at step t, the first K actions of the rest are executed. If the rest is shorter, the missing actions are
  the last executed action (``hold``) or zeros (``zero``), or the robot stands still until the chunk is there
  (``wait``): simulated time does not pass then, and the chunk takes over at its action number len(rest).
- Then the chunk is executed from its action number K on, up to its action number max(n, K); if it is shorter, the
  policy looks at its end. What is left of it is the rest of the next look.

No clock is read, so results do not depend on the number of workers or on the speed of the machine. A policy that adapts
a chunk to the one that is still being executed, as LeRobot's real-time chunking does, knows the delay from its
:class:`~proctor.policies.base.EpisodeMemory`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from proctor.errors import ConfigError, PolicyError
from proctor.types import Array


@dataclass(frozen=True)
class InferenceDelay:
    """The delay that the user asks for: in control steps, or in milliseconds of simulated time.

    ``when_late`` is hold, zero or wait: what happens if a chunk is used up before the next one takes over.
    """

    steps: int = 0
    ms: float = 0.0
    when_late: str = "hold"

    def __bool__(self) -> bool:
        return bool(self.steps or self.ms)

    def steps_at(self, fps: float) -> int:
        """Return the delay in control steps in a simulator that makes ``fps`` steps per simulated second.

        Raises:
            ConfigError: the delay is in milliseconds, and the simulator does not tell how many steps a second has.
        """
        if not self.ms:
            return self.steps
        if not 0 < fps < math.inf:
            raise ConfigError(
                f"eval.inference_delay_ms is {self.ms:g}, but the simulator's fps is {fps:g}, so milliseconds cannot "
                "be converted to steps; give eval.inference_delay_steps instead."
            )
        return math.ceil(self.ms * fps / 1000 - 1e-9)  # 100 ms at 30 steps a second are 3 steps whatever is rounded


class DelayedChunks:
    """The actions that one episode executes if each of its chunks arrives ``n_delay_steps`` steps late.

    ``n_action_steps`` is that of :class:`~proctor.policies.base.Policy`, and ``n_delay_steps`` is the delay in control
    steps.
    """

    def __init__(self, n_action_steps: int, n_delay_steps: int, when_late: str) -> None:
        self.n_delay_steps, self._when_late = n_delay_steps, when_late
        self._n_between_looks = max(n_action_steps, n_delay_steps)
        self._rest: Array | None = None
        """The actions for the steps from the next look on, ``(steps, action_size)``; None before the first chunk."""
        self._last: Array
        """The action that was executed last, ``(1, action_size)``."""

    def until_next_look(self, chunk: Array) -> Array:
        """Return the actions to execute until the policy looks again; ``chunk`` is inferred from the present look.

        Both are ``(steps, action_size)``, with at least one step.

        Raises:
            PolicyError: the chunk has no action for the step at which it takes over.
        """
        actions = chunk[: self._n_between_looks] if self._rest is None else self._bridged(self._rest, chunk)
        self._rest = chunk[self._n_between_looks :].copy()  # a policy may use the memory of a chunk again
        self._last = actions[-1:].copy()
        return actions

    def _bridged(self, rest: Array, chunk: Array) -> Array:
        bridge = rest[: self.n_delay_steps]
        begin = len(bridge) if self._when_late == "wait" else self.n_delay_steps
        if len(chunk) <= begin:
            raise PolicyError(
                f"the policy gave a chunk of {len(chunk)} actions, all of which are outdated when they arrive {begin} "
                f"steps late; expected at least {begin + 1}, so choose a smaller delay or a policy with longer chunks"
            )
        last = bridge[-1:] if len(bridge) else self._last
        filling = np.zeros_like(last) if self._when_late == "zero" else last
        missing = [filling] * (begin - len(bridge))
        return np.concatenate([bridge, *missing, chunk[begin : self._n_between_looks]])
