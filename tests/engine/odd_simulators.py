"""An environment that returns or raises something odd in the episodes of chosen seeds, and a policy."""

from __future__ import annotations

import sys
from asyncio import CancelledError

import gymnasium as gym
import numpy as np

FIRST_SEED = 1000
N_STEPS = 5
STRIKES_AT = 3
HUGE = 50_000_000


class UnspeakableError(Exception):
    """An exception whose text cannot be made."""

    def __str__(self):
        raise ValueError("no text")


def raise_(error):
    raise error


def endless():
    return endless()


RAISED = {
    "raises": lambda: raise_(RuntimeError("as many do")),
    "raises SystemExit": lambda: sys.exit(0),
    "raises GeneratorExit": lambda: raise_(GeneratorExit()),
    "raises StopIteration": lambda: raise_(StopIteration()),
    "raises CancelledError": lambda: raise_(CancelledError()),
    "raises BaseException": lambda: raise_(BaseException("a panic")),
    "raises KeyboardInterrupt": lambda: raise_(KeyboardInterrupt()),
    "raises MemoryError": lambda: raise_(MemoryError()),
    "raises what has no text": lambda: raise_(UnspeakableError()),
    "raises a lone surrogate": lambda: raise_(RuntimeError("a file called \udcff")),
    "raises control characters": lambda: raise_(RuntimeError("\x1b[31mred\x1b[0m \0 <script>")),
    "raises 50 MB": lambda: raise_(RuntimeError("x" * HUGE)),
    "recurses": endless,
    "asks": input,
}
OBSERVED = {
    "observes objects": lambda: {"agent_pos": np.array([{"a": 1}, [1, 2, 3]], object)},
    "observes a ragged list": lambda: {"agent_pos": [[1.0], [1.0, 2.0]]},
    "observes text": lambda: {"agent_pos": np.array(["a", "b"])},
    "observes records": lambda: {"agent_pos": np.zeros(2, [("a", "O")])},
    "observes another shape": lambda: {"agent_pos": np.zeros(7, np.float32)},
    "observes too much": lambda: {"agent_pos": np.zeros(HUGE // 4, np.float32)},
    "observes None": lambda: None,
    "observes nothing": dict,
    "observes a number": lambda: 3.0,
    "observes complex numbers": lambda: {"agent_pos": np.zeros(2, complex)},
    "observes a wider dtype": lambda: {"agent_pos": np.full(2, 0.5, np.float64)},
    "observes a list": lambda: {"agent_pos": [0.5, 0.5]},
    "observes NaN": lambda: {"agent_pos": np.full(2, np.nan, np.float32)},
    "observes more": lambda: {"agent_pos": np.full(2, 0.5, np.float32), "more": np.zeros(3)},
}
RETURNED = {
    "rewards NaN": {"reward": np.nan},
    "rewards infinity": {"reward": np.inf},
    "rewards an array of one": {"reward": np.ones(1)},
    "rewards an array of two": {"reward": np.ones(2)},
    "rewards text": {"reward": "1.5"},
    "rewards None": {"reward": None},
    "rewards complex numbers": {"reward": 1 + 2j},
    "rewards more than a double holds": {"reward": 10**400},
    "ends with an int of numpy's": {"terminated": np.int64(1)},
    "ends with an array of two": {"terminated": np.array([True, False])},
    "ends with None": {"terminated": None},
    "ends with text": {"terminated": "no"},
    "informs of None": {"info": None},
    "succeeds with NaN": {"info": {"is_success": np.nan}},
    "succeeds with an array of two": {"info": {"is_success": np.array([True, False])}},
    "succeeds with a mapping": {"info": {"is_success": {"task": False}}},
    "succeeds with text": {"info": {"is_success": "no"}},
    "succeeds with an array of one": {"info": {"is_success": np.array([0])}},
}
STRUCTURES = {
    "steps into four": lambda step: step[:4],
    "steps into None": lambda step: None,
    "resets to one": lambda reset: reset[:1],
    "resets to None": lambda reset: None,
}
FRAMES = {
    "draws floats": lambda frame: frame.astype(float),
    "draws None": lambda frame: None,
    "draws other sizes": lambda frame: np.zeros((32 + 2 * np.random.randint(1, 9), 32, 3), np.uint8),
    "draws alpha": lambda frame: np.zeros((32, 32, 4), np.uint8),
    "draws a pixel": lambda frame: frame[:1, :1],
    "draws 50 MB": lambda frame: np.zeros((4096, 4096, 3), np.uint8),
    "draws and raises": lambda frame: sys.exit(0),
}
ODDITIES = ["nothing", *RAISED, *OBSERVED, *RETURNED, *STRUCTURES, *FRAMES, "nothing at last"]
"""What happens in the episode of each seed from ``FIRST_SEED`` on."""


class Odd(gym.Env):
    """Counts its steps. What the seed stands for happens at a step, or, for every other seed, at the reset if it can
    happen there. It cannot be closed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - Gymnasium's
    observation_space = gym.spaces.Dict({"agent_pos": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)})
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, *, tame=False, render_mode=None):
        self.tame, self.render_mode = tame, render_mode
        self.n_steps, self.odd = 0, "nothing"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        self.odd = "nothing" if self.tame else ODDITIES[seed - FIRST_SEED]
        reset = (self.observed(), {})
        return STRUCTURES[self.odd](reset) if self.odd.startswith("resets") else reset

    def step(self, action):
        self.n_steps += 1
        returned = {"reward": float(action.sum()), "terminated": self.n_steps >= N_STEPS}
        returned["info"] = {"is_success": returned["terminated"]}
        if self.strikes:
            returned |= RETURNED.get(self.odd, {})
        step = (self.observed(), returned["reward"], returned["terminated"], False, returned["info"])
        return STRUCTURES[self.odd](step) if self.strikes and self.odd.startswith("steps") else step

    @property
    def strikes(self):
        return self.n_steps == STRIKES_AT

    def observed(self):
        if self.n_steps == (0 if ODDITIES.index(self.odd) % 2 else STRIKES_AT):
            RAISED.get(self.odd, bool)()
            if self.odd in OBSERVED:
                return OBSERVED[self.odd]()
        return {"agent_pos": np.full(2, self.n_steps / 10, np.float32)}

    def render(self):
        frame = np.full((32, 32, 3), 40 * self.n_steps, np.uint8)
        return FRAMES[self.odd](frame) if self.odd in FRAMES and self.strikes else frame

    def close(self):
        raise SystemExit(0)


gym.register("Odd-v0", Odd, max_episode_steps=9)


def act(observation):
    """Act on what was observed."""
    return np.clip(observation["observation.state"][:2], -1, 1)
