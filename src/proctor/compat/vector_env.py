"""A benchmark's task as a Gymnasium vector environment, for code that wants to step it itself.

:func:`~proctor.compat.eval_policy` never steps one of these: it takes from it which task is meant, and lets the engine
run the episodes. Its caller gets an ordinary ``AsyncVectorEnv`` (or ``SyncVectorEnv``), started on first use.

Observations are dictionaries with the names of LeRobot's features (``observation.image``), or as LeRobot's own
environments give them, for its ``preprocess_observation``: ``pixels``, an array or a dictionary of cameras,
``agent_pos``, ``environment_state``, and any other without ``observation.``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from proctor.benchmarks.base import Benchmark, SimEnv
from proctor.errors import ConfigError
from proctor.evaluation.evaluator import Evaluator
from proctor.types import Array, Task

_LEROBOTS = {
    "observation.image": ("pixels",),
    "observation.state": ("agent_pos",),
    "observation.environment_state": ("environment_state",),
}


class LeRobotNames:
    """Gives features the names that LeRobot's environments have for them: see the module.

    Raises:
        ConfigError: an environment has both one image without a name and images with names.
    """

    def __init__(self, features: Iterable[str]) -> None:
        self._places = {name: _lerobot_place(name) for name in features}
        if len({len(place) for place in self._places.values() if place[0] == "pixels"}) > 1:
            raise ConfigError("LeRobot's names have no place for observation.image beside observation.images.<camera>.")

    def of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of features, in dictionaries by LeRobot's names."""
        named: dict[str, Any] = {}
        for name, value in values.items():
            *outer, last = self._places[name]
            inner = named
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = value
        return named


def _lerobot_place(name: str) -> tuple[str, ...]:
    if name.startswith(images := "observation.images."):
        return ("pixels", name.removeprefix(images))
    return _LEROBOTS.get(name, (name.removeprefix("observation."),))


def _as_space(named: Mapping[str, Any]) -> gymnasium.spaces.Dict:
    return gymnasium.spaces.Dict(
        {name: _as_space(part) if isinstance(part, dict) else part for name, part in named.items()}
    )


class SimGymEnv(gymnasium.Env):  # type: ignore[misc]
    """A :class:`~proctor.benchmarks.base.SimEnv` as a Gymnasium environment that looks at every step.

    ``info["is_success"]`` is absent after a step that does not report success. If the simulator no longer looks because
    the episode is over, the last observation is repeated. With ``lerobot_names``, observations are those of LeRobot's
    environments.
    """

    def __init__(self, benchmark: Benchmark, task: Task, *, lerobot_names: bool = False) -> None:
        self._env: SimEnv = benchmark.make_env(task)
        self._names = LeRobotNames(self._env.observation_space) if lerobot_names else None
        self._task = task
        self._seen: Mapping[str, Array] = {}
        self._n_steps = 0
        self.action_space = self._env.action_space
        spaces = self._env.observation_space
        self.observation_space = spaces if self._names is None else _as_space(self._names.of(spaces.spaces))
        self.fps = float(self._env.fps)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": self.fps}
        self.render_mode = "rgb_array"
        self.task_description, self.task = task.instruction, task.name
        self._max_episode_steps = task.max_episode_steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; without a seed one is drawn. ``options["init_state_id"]`` names a stored initial state."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        self._seen = self._env.reset(drawn, (options or {}).get("init_state_id"), look=True) or {}
        self._n_steps = 0
        return self._named(), {"is_success": False}

    def step(self, action: Array) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        step = self._env.step(action, look=True)
        self._n_steps += 1
        self._seen = step.observation or self._seen
        truncated = step.truncated or self._n_steps >= self._max_episode_steps
        info = {} if step.success is None else {"is_success": step.success}
        return self._named(), step.reward, step.terminated, truncated, info

    def _named(self) -> dict[str, Any]:
        return dict(self._seen) if self._names is None else self._names.of(self._seen)

    def render(self) -> Array:
        return self._env.render()

    def close(self) -> None:
        self._env.close()


class SharedEvaluator:
    """The evaluator of all environments that one call has made. It is made when it is first used; once it is closed,
    the next use makes another one.
    """

    def __init__(self, make: Callable[[], Evaluator]) -> None:
        self._make = make

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator, with the simulators that it has built."""
        return self._make()

    def close(self) -> None:
        """End the evaluator and its simulators, if there are any."""
        if (evaluator := self.__dict__.pop("evaluator", None)) is not None:
            evaluator.close()


class TaskVectorEnv(VectorEnv):  # type: ignore[misc]
    """``num_envs`` copies of one task. Nothing is built before the first ``reset`` or look at a space.

    ``shared`` has the simulators with which the engine evaluates this task, and the others that were made with it.
    """

    def __init__(  # noqa: PLR0913 - what an environment is made of
        self,
        benchmark: Benchmark,
        task: Task,
        num_envs: int,
        shared: SharedEvaluator,
        *,
        use_async_envs: bool,
        lerobot_names: bool = False,
    ) -> None:
        self.benchmark, self.task, self.num_envs, self.shared = benchmark, task, num_envs, shared
        self.use_async_envs = use_async_envs and num_envs > 1
        self._lerobot_names = lerobot_names

    @cached_property
    def started(self) -> VectorEnv:
        """The environment that does the work."""
        self.shared.close()  # never more simulators than were asked for
        make = partial(SimGymEnv, self.benchmark, self.task, lerobot_names=self._lerobot_names)
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

    def get_attr(self, name: str) -> Any:
        return self.started.get_attr(name)

    def close(self, **kwargs: Any) -> None:
        """Close what was started, and the simulators that evaluations have left; the next use starts them anew."""
        self.stop_stepping(**kwargs)
        self.shared.close()

    def stop_stepping(self, **kwargs: Any) -> None:
        """Close what was started to be stepped."""
        if (started := self.__dict__.pop("started", None)) is not None:
            started.close(**kwargs)

    @property
    def envs(self) -> Any:
        """The single environments, if they are in this process."""
        return self.started.envs

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
