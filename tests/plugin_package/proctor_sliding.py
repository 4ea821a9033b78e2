"""Sliding: a puck on a line that must come to rest at its middle. Somebody else's benchmark, in its own package."""

from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from proctor import Benchmark, EnvConfig, SimEnv, Step, Task


@dataclass(frozen=True, kw_only=True)
class SlidingConfig(EnvConfig):
    """``--env.type=sliding``."""

    type: str = "sliding"

    friction: float = 0.1
    """Part of its speed that the puck loses in a step."""


class SlidingEnv(SimEnv):
    """Position and velocity of the puck; the action pushes it."""

    fps = 20.0

    def __init__(self, friction):
        self._keeps = 1 - friction
        self.observation_space = gymnasium.spaces.Dict(
            {
                "observation.image": Box(0, 255, (16, 32, 3), np.uint8),
                "observation.state": Box(-np.inf, np.inf, (2,), np.float64),
            }
        )
        self.action_space = Box(-1, 1, (1,), np.float32)

    def reset(self, seed, init_state_id, *, look):
        self._state = np.array([np.random.default_rng(seed).uniform(-1, 1), 0.0])
        return self._observe() if look else None

    def step(self, action, *, look):
        position, velocity = self._state
        velocity = self._keeps * velocity + 0.1 * float(action[0])
        self._state = np.array([position + velocity, velocity])
        success = bool(np.abs(self._state).max() < 0.05)
        return Step(
            -float(np.abs(self._state).sum()),
            success,
            False,
            success,
            self._observe() if look and not success else None,
        )

    def render(self, camera=None, size=None):
        frame = np.zeros((16, 32, 3), np.uint8)
        frame[:, int(np.clip(16 + 10 * self._state[0], 0, 31))] = 255
        return frame

    def state(self):
        return [self._state]

    def expert_action(self):
        position, velocity = self._state
        return np.clip([-10 * (self._keeps * velocity + 0.5 * position)], -1, 1).astype(np.float32)

    def _observe(self):
        with self.looking():
            image = self.render()
        return {"observation.image": image, "observation.state": self._state.copy()}


class Sliding(Benchmark):
    """One task of 60 steps."""

    name = "sliding"
    extra = "sliding"
    protocol = "sliding-1"
    draws_with_gl = False
    distributions = ("proctor-sliding", "numpy")
    config_class = SlidingConfig

    def tasks(self):
        return [Task("sliding", 0, "slide-v1", "Bring the puck to rest in the middle", 60)]

    def make_env(self, task):
        return SlidingEnv(self.config.friction)
