"""A simulator and a policy that cost nothing, so that only the engine is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np

from proctor.benchmarks.base import Benchmark, SimEnv, Step
from proctor.config import EnvConfig
from proctor.policies.base import EpisodeMemory, Policy
from proctor.types import Array, Observation, Task

NULL_BENCHMARK = "null:NullBenchmark"


@dataclass(frozen=True, kw_only=True)
class NullConfig(EnvConfig):
    """``steps`` is the length of an episode; ``image_size`` is the height and width of an image, 0 for none."""

    steps: int = 100
    image_size: int = 0
    n_tasks: int = 1


class NullEnv(SimEnv):
    """A simulator that does nothing."""

    fps = 10.0
    drawable = False

    def __init__(self, config: NullConfig) -> None:
        box = gymnasium.spaces.Box
        spaces = {"observation.state": box(-1, 1, (4,), np.float32)}
        self._seen: dict[str, Array] = {"observation.state": np.zeros(4, np.float32)}
        if size := config.image_size:
            spaces["observation.image"] = box(0, 255, (size, size, 3), np.uint8)
            self._seen["observation.image"] = np.zeros((size, size, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = box(-1, 1, (4,), np.float32)
        self._blind, self._looking = Step(0.0, False, False, False), Step(0.0, False, False, False, self._seen)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        return self._seen if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        return self._looking if look else self._blind

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        raise NotImplementedError

    def state(self) -> Iterable[Array]:
        return ()


class NullBenchmark(Benchmark):
    """Tasks in which nothing happens."""

    name: ClassVar[str] = "null"
    extra: ClassVar[str] = ""
    protocol: ClassVar[str] = "null-1"
    config_class = NullConfig
    config: NullConfig

    def tasks(self) -> list[Task]:
        return [Task("null", i, f"null-{i}", "", self.config.steps) for i in range(self.config.n_tasks)]

    def make_env(self, task: Task) -> SimEnv:
        return NullEnv(self.config)


class NullPolicy(Policy):
    """A policy that returns zeros immediately."""

    def __init__(self, n_action_steps: int, batch_size: int) -> None:
        self.n_action_steps, self.batch_size = n_action_steps, batch_size
        self._chunk = np.zeros((n_action_steps, 4), np.float32)

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        return [self._chunk] * len(observations)
