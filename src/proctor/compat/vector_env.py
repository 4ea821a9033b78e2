"""A benchmark's task as a Gymnasium vector environment, for code that wants to step it itself.

:func:`~proctor.compat.eval_policy` never steps one of these: it takes from it which task is meant, and lets the engine
run the episodes. Its caller gets an ordinary ``AsyncVectorEnv`` (or ``SyncVectorEnv``), started on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from proctor.benchmarks.base import Benchmark, SimEnv
from proctor.types import Array, Task


class SimGymEnv(gymnasium.Env):  # type: ignore[misc]
    """A :class:`~proctor.benchmarks.base.SimEnv` as a Gymnasium environment that looks at every step.

    Observations are dictionaries with LeRobot's feature names; ``info["is_success"]`` is absent after a step that
    does not report success. If the simulator no longer looks because the episode is over, the last observation is
    repeated.
    """

    def __init__(self, benchmark: Benchmark, task: Task) -> None:
        self._env: SimEnv = benchmark.make_env(task)
        self._task = task
        self._seen: Mapping[str, Array] = {}
        self._n_steps = 0
        self.observation_space, self.action_space = self._env.observation_space, self._env.action_space
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": self._env.fps}
        self.render_mode = "rgb_array"
        self.task_description, self.task = task.instruction, task.name
        self._max_episode_steps = task.max_episode_steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Begin an episode; without a seed one is drawn. ``options["init_state_id"]`` names a stored initial state."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        self._seen = self._env.reset(drawn, (options or {}).get("init_state_id"), look=True) or {}
        self._n_steps = 0
        return dict(self._seen), {"is_success": False}

    def step(self, action: Array) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        step = self._env.step(action, look=True)
        self._n_steps += 1
        self._seen = step.observation or self._seen
        truncated = step.truncated or self._n_steps >= self._max_episode_steps
        info = {} if step.success is None else {"is_success": step.success}
        return dict(self._seen), step.reward, step.terminated, truncated, info

    def render(self) -> Array:
        return self._env.render()

    def close(self) -> None:
        self._env.close()


class TaskVectorEnv(VectorEnv):  # type: ignore[misc]
    """``num_envs`` copies of one task. Nothing is built before the first ``reset`` or look at a space."""

    def __init__(self, benchmark: Benchmark, task: Task, num_envs: int, *, use_async_envs: bool) -> None:
        self.benchmark, self.task, self.num_envs = benchmark, task, num_envs
        self.use_async_envs = use_async_envs and num_envs > 1

    @cached_property
    def started(self) -> VectorEnv:
        """The environment that does the work."""
        make = partial(SimGymEnv, self.benchmark, self.task)
        if self.use_async_envs:  # never fork: a GL context does not survive it
            return AsyncVectorEnv([make] * self.num_envs, context="spawn")
        return SyncVectorEnv([make] * self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        return self.started.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        return self.started.step(actions)

    def render(self) -> Any:
        return self.started.render()

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.started.call(name, *args, **kwargs)

    def close(self, **kwargs: Any) -> None:
        """Close what was started; the next use starts it anew."""
        if (started := self.__dict__.pop("started", None)) is not None:
            started.close(**kwargs)

    @property
    def observation_space(self) -> Any:
        return self.started.observation_space

    @property
    def action_space(self) -> Any:
        return self.started.action_space

    @property
    def single_observation_space(self) -> Any:
        return self.started.single_observation_space

    @property
    def single_action_space(self) -> Any:
        return self.started.single_action_space

    @property
    def metadata(self) -> Any:
        return self.started.metadata
