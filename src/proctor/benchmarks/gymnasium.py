"""Any environment registered with Gymnasium, by its id."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Box, Dict, Discrete

from proctor.benchmarks.base import Benchmark, SimEnv, Step, draw_without_display, mujoco_state
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task

_SET_BY_US = {"id", "max_episode_steps", "disable_env_checker"}


@dataclass(frozen=True, kw_only=True)
class GymnasiumConfig(EnvConfig):
    """``--env.type=gymnasium``. ``task``: an environment's id, several with commas."""

    type: str = "gymnasium"

    module: str | None = None
    """Python package to import first, where importing it is what registers the ids: gym_pusht, gymnasium_robotics."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """JSON: arguments of gymnasium.make, such as {"obs_type": "pixels_agent_pos"}."""

    success_key: str = "is_success"
    """Where a step's info says whether it succeeded; "success" is looked at where this one is missing."""

    success_threshold: float | None = None
    """Where info says nothing: an episode whose rewards sum up to at least this much, at its end, has succeeded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if ours := sorted(_SET_BY_US & self.kwargs.keys()):
            raise ConfigError(f"env.kwargs holds {', '.join(ours)}; use env.task and env.episode_length instead.")


class GymnasiumEnv(SimEnv):
    """One Gymnasium environment. It observes in every step, so not looking saves nothing here."""

    def __init__(self, task: Task, config: GymnasiumConfig) -> None:
        self._env = _make(task, config.kwargs)
        self._task_name, self._config = task.name, config
        self._seen: Any = None
        self._return = 0.0
        self._names = ObservationNames(self._env.observation_space, task.name)
        self.observation_space = self._names.space
        self.action_space = action_box(self._env.action_space, task.name)
        self.fps = float(self._env.metadata.get("render_fps") or 30)
        self.drawable = self._env.render_mode == "rgb_array"
        self.deterministic = not _spec(task.name).nondeterministic

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._seen, _ = self._env.reset(seed=seed)
        self._return = 0.0
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        self._seen, reward, terminated, truncated, info = self._env.step(self._native(action))
        self._return += float(reward)
        over = bool(terminated or truncated)
        return Step(
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=self._succeeded(info, over=over),
            observation=self._observe() if look and not over else None,
        )

    def _native(self, action: Array) -> Any:
        """The action as the environment takes it; a discrete one is the nearest number there is."""
        if isinstance(self._env.action_space, Discrete):
            return int(np.clip(np.rint(action[0]), self.action_space.low[0], self.action_space.high[0]))
        return np.asarray(action, self.action_space.dtype)

    def _succeeded(self, info: Mapping[str, Any], *, over: bool) -> bool:
        for key in (self._config.success_key, "success"):
            if key in info:
                return bool(info[key])
        threshold = self._config.success_threshold
        return over and threshold is not None and self._return >= threshold

    def _observe(self) -> Mapping[str, Array]:
        return self._names.of(self._seen)

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        if not self.drawable:
            raise ConfigError(f"{self._task_name} cannot be drawn: it has no render mode rgb_array.")
        return np.asarray(self._env.render())

    def state(self) -> Iterable[Array]:
        """MuJoCo's state where there is one, else the last observation."""
        simulator = self._env.unwrapped
        model, data = getattr(simulator, "model", None), getattr(simulator, "data", None)
        if hasattr(data, "qpos"):
            return (mujoco_state(model, data),)
        return self._observe().values()

    def close(self) -> None:
        self._env.close()


def _spec(env_id: str) -> Any:
    """The registry's entry."""
    try:
        return gymnasium.registry[env_id]
    except KeyError:
        raise ConfigError(
            f"No Gymnasium environment '{env_id}' is registered.{did_you_mean(env_id, gymnasium.registry)} "
            "If a package registers it, name the package: --env.module=PACKAGE."
        ) from None


def _make(task: Task, kwargs: Mapping[str, Any]) -> Any:
    """Construct the environment, able to draw where it can. Drawing begins when it is asked for."""
    entry_point = _spec(task.name).entry_point
    try:
        creator = entry_point if callable(entry_point) else load_env_creator(entry_point)
        drawable = "rgb_array" in getattr(creator, "metadata", {}).get("render_modes", ())
        render_mode = {"render_mode": "rgb_array"} if drawable else {}
        return gymnasium.make(
            task.name,
            max_episode_steps=task.max_episode_steps,
            disable_env_checker=True,
            **{**render_mode, **kwargs},
        )
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise ConfigError(f"{task.name} needs a package that is not installed: {error}") from error


class ObservationNames:
    """What a policy calls the parts of an environment's observations.

    Raises:
        ConfigError: a part is neither an image nor a vector.
    """

    def __init__(self, space: Any, env_id: str) -> None:
        leaves = {_feature_name(path, box, env_id): (path, box) for path, box in _leaves(space)}
        self._paths = {name: path for name, (path, _) in leaves.items()}
        self.space = Dict({name: box for name, (_, box) in leaves.items()})

    def of(self, observation: Any) -> dict[str, Array]:
        """An observation under those names; of a vector environment, each part with its leading batch axis."""
        return {name: _at(observation, path) for name, path in self._paths.items()}


def _leaves(space: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every space that is not a dictionary, with the keys that lead to it."""
    if isinstance(space, Dict):
        for name, inner in space.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path, space


def _at(observation: Any, path: tuple[str, ...]) -> Array:
    for name in path:
        observation = observation[name]
    return np.asarray(observation)


def _feature_name(path: tuple[str, ...], space: Any, env_id: str) -> str:
    """What a policy calls this part of an observation."""
    is_image = isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] == 3
    if not is_image and not (isinstance(space, Box) and len(space.shape) == 1):
        part = ".".join(path) or "the observation"
        raise ConfigError(f"{env_id}: {part} is {space}; it must be an image (uint8, height x width x 3) or a vector.")
    match path:
        case ():
            return "observation.image" if is_image else "observation.state"
        case ("pixels",):
            return "observation.image"
        case ("pixels", camera):
            return f"observation.images.{camera}"
        case ("agent_pos",):
            return "observation.state"
        case _:
            return ".".join(("observation", *path))


def action_box(space: Any, env_id: str) -> Box:
    """The actions as a policy gives them."""
    if isinstance(space, Discrete):
        first = int(space.start)
        return Box(first, first + int(space.n) - 1, (1,), np.float32)
    if isinstance(space, Box) and len(space.shape) == 1:
        return space
    raise ConfigError(f"{env_id}: actions are {space}; they must be a vector (Box of one dimension) or Discrete.")


class Gymnasium(Benchmark):
    """Environments of the Gymnasium registry, run as registered.

    ============  ======================================================================================
    suite, task   ``gymnasium``; the ids given, numbered in their order; there is no instruction
    observation   an image (uint8, H x W x 3) is ``observation.image``, a vector ``observation.state``; of a
                  dictionary, ``pixels`` is ``observation.image`` (or, a dictionary of cameras,
                  ``observation.images.<camera>``), ``agent_pos`` is ``observation.state`` and any other key
                  ``observation.<key>``; dtypes are the environment's
    action        a vector, as the environment has it; Discrete(n) is float32 (1,), rounded to the nearest
                  number (halves to the even one) and clipped to those there are
    episode       until the environment terminates, or the registered number of steps, then truncated; the
                  seed is passed to ``reset``
    success       ``info[success_key]``, else ``info["success"]``; else, with ``success_threshold``, whether the
                  sum of rewards has reached it when the episode ends; else never
    reward        the environment's
    ============  ======================================================================================

    An environment without a registered number of steps needs ``episode_length``. The ``reward_threshold`` that some
    ids are registered with is not used: it is meant for the mean of a hundred episodes. The sum is compared at the end
    because where rewards are negative it begins above any threshold.
    """

    name: ClassVar[str] = "gymnasium"
    extra: ClassVar[str] = ""  # gymnasium itself is always installed; what an id needs besides is its own affair
    protocol: ClassVar[str] = "gymnasium-1"
    config_class: ClassVar[type[EnvConfig]] = GymnasiumConfig
    config: GymnasiumConfig

    def __init__(self, config: GymnasiumConfig) -> None:
        super().__init__(config)
        self.distributions = ("gymnasium", "mujoco", "numpy")
        if config.module:
            self.distributions += tuple(packages_distributions().get(config.module.partition(".")[0], ()))

    def tasks(self) -> list[Task]:
        names = dict.fromkeys(self.config.task_names())
        if not names:
            raise ConfigError("gymnasium needs --env.task: the id of an environment, such as CartPole-v1.")
        self._register()
        return [Task("gymnasium", task_id, name, "", self._limit(name)) for task_id, name in enumerate(names)]

    def make_env(self, task: Task) -> SimEnv:
        self._register()
        return GymnasiumEnv(task, self.config)

    def _register(self) -> None:
        """Import the package that registers the ids, in whichever process this is."""
        draw_without_display()  # many environments import pygame
        if self.config.module is None:
            return
        try:
            importlib.import_module(self.config.module)
        except ImportError as error:
            raise ConfigError(f"env.module={self.config.module} cannot be imported: {error}.") from error

    def _limit(self, env_id: str) -> int:
        limit = _spec(env_id).max_episode_steps or self.config.episode_length
        if limit is None:
            raise ConfigError(f"{env_id} is registered without a number of steps; give --env.episode_length.")
        return int(limit)
