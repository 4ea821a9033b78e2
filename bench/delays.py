"""Simulators and an accelerator that only wait, without using the CPU, so that only waiting times are measured.

They represent no real device. A step sleeps for ``step_ms`` with a spread of ``spread`` (standard deviation over mean),
a forward pass of *n* rows for ``fixed_ms + n * row_ms``, padded rows included. A reset takes no time, so that the end
of an episode changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import gymnasium
import numpy as np

from proctor.benchmarks.base import Benchmark, SimEnv, Step
from proctor.config import EnvConfig
from proctor.policies.base import EpisodeMemory, Policy
from proctor.types import Array, EpisodeSpec, Observation, Task

DELAY_BENCHMARK = "delays:DelayBenchmark"
_OVERSLEPT_S = 0.001
"""If a sleep ends at most this late, the next step is shorter by it: the system's timer is not part of a simulator."""


@dataclass(frozen=True, kw_only=True)
class DelayConfig(EnvConfig):
    """``steps`` is the length of an episode, ``step_ms`` and ``spread`` are the duration of a step.

    With an ``image_size`` the simulator also gives two images of so many pixels each way.
    """

    steps: int = 1000
    step_ms: float = 20.0
    spread: float = 0.2
    image_size: int = 0


def step_seconds(config: DelayConfig, generator: np.random.Generator, size: int | tuple[int, ...]) -> Array:
    """Draw durations of steps in seconds, an array of shape ``size``."""
    mean = config.step_ms / 1000
    return np.maximum(0.0, generator.normal(mean, config.spread * mean, size))


class DelayEnv(SimEnv):
    """A simulator that sleeps."""

    fps = 10.0
    drawable = False

    def __init__(self, config: DelayConfig) -> None:
        box = gymnasium.spaces.Box
        size = config.image_size
        cameras = ("observation.images.image", "observation.images.image2") if size else ()
        images = dict.fromkeys(cameras, box(0, 255, (size, size, 3), np.uint8))
        self.observation_space = gymnasium.spaces.Dict({"observation.state": box(-1, 1, (4,), np.float32), **images})
        self.action_space = box(-1, 1, (4,), np.float32)
        self._config = config
        self._generator = np.random.default_rng()
        self._until = 0.0
        self._seen: dict[str, Array] = {"observation.state": np.zeros(4, np.float32)}
        self._seen |= {camera: np.zeros((size, size, 3), np.uint8) for camera in cameras}

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._generator = np.random.default_rng(seed)
        return self._seen if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        now = time.perf_counter()
        began = self._until if now - self._until < _OVERSLEPT_S else now
        self._until = began + float(step_seconds(self._config, self._generator, 1)[0])
        time.sleep(max(0.0, self._until - now))
        return Step(0.0, False, False, False, self._seen if look else None)

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        raise NotImplementedError

    def state(self) -> Iterable[Array]:
        return ()


class DelayBenchmark(Benchmark):
    """A benchmark with one task in which only time passes."""

    name: ClassVar[str] = "delays"
    extra: ClassVar[str] = ""
    protocol: ClassVar[str] = "delays-1"
    config_class = DelayConfig
    config: DelayConfig

    def tasks(self) -> list[Task]:
        return [Task("delays", 0, "wait", "", self.config.steps)]

    def make_env(self, task: Task) -> SimEnv:
        return DelayEnv(self.config)


class Device(NamedTuple):
    """The speed of an accelerator."""

    name: str
    fixed_ms: float
    row_ms: float

    def seconds(self, rows: int) -> float:
        """Return the seconds of a forward pass of ``rows`` rows."""
        return (self.fixed_ms + rows * self.row_ms) / 1000


class Pass(NamedTuple):
    """One forward pass: its begin and end, and the episodes whose observations were in it."""

    began: float
    ended: float
    episodes: tuple[EpisodeSpec, ...]


class DelayPolicy(Policy):
    """A policy that sleeps as long as the device would compute, one pass at a time, and records its passes."""

    def __init__(self, device: Device, n_action_steps: int, batch_size: int) -> None:
        self.n_action_steps, self.batch_size = n_action_steps, batch_size
        self.passes: list[Pass] = []
        self._device = device
        self._chunk = np.zeros((n_action_steps, 4), np.float32)

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        began = time.perf_counter()
        time.sleep(self._device.seconds(len(observations)))
        asked = tuple(dict.fromkeys(memory.stream.spec for memory in memories))  # padding repeats an episode
        self.passes.append(Pass(began, time.perf_counter(), asked))
        return [self._chunk] * len(observations)
