"""Any environment registered with Gymnasium, by its id."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Discrete

from proctor.benchmarks.base import (
    Benchmark,
    SimEnv,
    Step,
    digest_of,
    draw_without_display,
    mujoco_state,
    set_mujoco_state,
)
from proctor.benchmarks.gymnasium_spaces import ObservationNames, action_box
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.plugins import import_module, install_command
from proctor.types import Array, Task

_SET_BY_US = {"id", "max_episode_steps", "disable_env_checker"}
_USUAL_SUCCESS_KEY = "is_success"
_TRIED_STEPS = 5
_TRIED_SEED = 1000


@dataclass(frozen=True, kw_only=True)
class SuccessConfig(EnvConfig):
    """How success is told where the environment has no adapter that knows."""

    success_key: str = _USUAL_SUCCESS_KEY
    """Where a step's info says whether it succeeded; is_success, else success, if not given."""

    success_threshold: float | None = None
    """Where info says nothing: an episode whose rewards sum up to at least this much, at its end, has succeeded."""


@dataclass(frozen=True, kw_only=True)
class GymnasiumConfig(SuccessConfig):
    """``--env.type=gymnasium``. ``task``: an environment's id, several with commas."""

    type: str = "gymnasium"

    module: str | None = None
    """Python package to import first, where importing it is what registers the ids: gym_pusht, gymnasium_robotics."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """JSON: arguments of gymnasium.make, such as {"obs_type": "pixels_agent_pos"}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if ours := sorted(_SET_BY_US & self.kwargs.keys()):
            raise ConfigError(f"env.kwargs holds {', '.join(ours)}; use env.task and env.episode_length instead.")


class GymnasiumEnv(SimEnv):
    """A Gymnasium environment, whoever made it. It observes in every step, so not looking saves nothing here.

    Whether it is deterministic it shows when it is built: two episodes of a few steps, with one seed and the same
    actions, are the same or they are not.

    Raises:
        ConfigError: it cannot be seeded, or a policy could not make anything of what it observes or takes.
    """

    def __init__(self, env: Any, name: str, config: SuccessConfig) -> None:
        self._env, self._name, self._config = env, name, config
        self._names = ObservationNames(env.observation_space, name)
        self.observation_space = self._names.space
        self.action_space = action_box(env.action_space, name)
        self.fps = float(env.metadata.get("render_fps") or 30)
        self.drawable = env.render_mode == "rgb_array"
        self._seen: Any = None
        self._return = 0.0
        _require_seeding(env, name)
        declared = env.spec is None or not env.spec.nondeterministic
        self.deterministic = declared and self._tried_episode() == self._tried_episode()

    def _tried_episode(self) -> list[tuple[float, str, str]]:
        """Rewards, observations and states of a few steps."""
        actions = copy.deepcopy(self._env.action_space)
        actions.seed(_TRIED_SEED)
        self._seen, _ = self._env.reset(seed=_TRIED_SEED)
        moments = [(0.0, digest_of(self._observe().values()), self.state_hash())]
        for _ in range(_TRIED_STEPS):
            self._seen, reward, terminated, truncated, _ = self._env.step(actions.sample())
            moments.append((float(reward), digest_of(self._observe().values()), self.state_hash()))
            if terminated or truncated:
                break
        return moments

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
        key, threshold = self._config.success_key, self._config.success_threshold
        if key in info:
            return bool(info[key])
        if key == _USUAL_SUCCESS_KEY and "success" in info:
            return bool(info["success"])
        if over and key != _USUAL_SUCCESS_KEY and threshold is None:
            raise ConfigError(
                f"{self._name} says nothing of '{key}' (env.success_key) when an episode ends; its info has "
                f"{', '.join(sorted(info)) or 'nothing'}."
            )
        return over and threshold is not None and self._return >= threshold

    def _observe(self) -> Mapping[str, Array]:
        return self._names.of(self._seen)

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        if not self.drawable:
            raise ConfigError(f"{self._name} cannot be drawn: it has no render mode rgb_array.")
        if self._mujoco is None:
            return np.asarray(self._env.render())
        before = mujoco_state(*self._mujoco)
        frame = np.asarray(self._env.render())
        set_mujoco_state(*self._mujoco, before)  # Fetch places its markers with a `forward`, which moves the solver
        return frame

    def state(self) -> Iterable[Array]:
        """MuJoCo's state where there is one, and the last observation, which may hold a goal."""
        if self._mujoco is not None:
            yield mujoco_state(*self._mujoco)
        yield from self._observe().values()

    @property
    def _mujoco(self) -> tuple[Any, Any] | None:
        """MuJoCo's model and data, if that is what simulates."""
        simulator = self._env.unwrapped
        data = getattr(simulator, "data", None)
        return (simulator.model, data) if hasattr(data, "qpos") else None

    def close(self) -> None:
        self._env.close()


def _distributions_of(package: str) -> tuple[str, ...]:
    """What an importable package was installed by; most often something of the same name."""
    try:
        return (distribution(package).metadata["Name"],)
    except PackageNotFoundError:
        return tuple(packages_distributions().get(package, ()))  # reads the files of everything that is installed


def _require_seeding(env: Any, name: str) -> None:
    parameters = inspect.signature(env.unwrapped.reset).parameters.values()
    if not any(parameter.name == "seed" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise ConfigError(
            f"{name} cannot be seeded: its reset takes no seed, as Gymnasium's environments do since 0.26. Without one "
            "no episode could be told from another."
        )


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


class Gymnasium(Benchmark):
    """Environments of the Gymnasium registry, run as registered.

    ============  ======================================================================================
    suite, task   ``gymnasium``; the ids given, numbered in their order; there is no instruction
    observation   an image (uint8, H x W x 3) is ``observation.image``, a vector ``observation.state``; of a
                  dictionary, ``pixels`` is ``observation.image`` (or, a dictionary of cameras,
                  ``observation.images.<camera>``), ``agent_pos`` or ``observation`` is ``observation.state``
                  and any other key ``observation.<key>``; a text is the instruction; dtypes are the
                  environment's
    action        a vector, as the environment has it; Discrete(n) is float32 (1,), rounded to the nearest
                  number (halves to the even one) and clipped to those there are
    episode       until the environment terminates, or the registered number of steps, then truncated; the
                  seed is passed to ``reset``, and whether it makes two episodes equal is tried when the
                  environment is built: one that is not deterministic is filmed as it is measured
    success       ``info["is_success"]``, else ``info["success"]``, or ``info[success_key]``; else, with
                  ``success_threshold``, whether the sum of rewards has reached it when the episode ends; else
                  never
    reward        the environment's
    ============  ======================================================================================

    An environment without a registered number of steps needs ``episode_length``. The ``reward_threshold`` that some
    ids are registered with is not used: it is meant for the mean of a hundred episodes. The sum is compared at the end
    because where rewards are negative it begins above any threshold.

    Fetch and the hands (``proctor[gymnasium-robotics]``): ``module=gymnasium_robotics`` and ids such as
    ``FetchReach-v4`` or ``HandReach-v3``, each 50 steps of 0.04 s; success is their ``info["is_success"]``, and the
    goal to reach is ``observation.desired_goal``.
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
            self.distributions += _distributions_of(config.module.partition(".")[0])

    def tasks(self) -> list[Task]:
        names = dict.fromkeys(self.config.task_names())
        if not names:
            raise ConfigError("gymnasium needs --env.task: the id of an environment, such as CartPole-v1.")
        self._register()
        return [Task("gymnasium", task_id, name, "", self._limit(name)) for task_id, name in enumerate(names)]

    def make_env(self, task: Task) -> SimEnv:
        self._register()
        return GymnasiumEnv(_make(task, self.config.kwargs), task.name, self.config)

    def _register(self) -> None:
        """Import the package that registers the ids, in whichever process this is."""
        draw_without_display()  # many environments import pygame
        if self.config.module is None:
            return
        try:
            import_module(self.config.module)
        except ImportError as error:
            remedy = f"; install it with: {install_command(error.name)}" if error.name else ""
            raise ConfigError(f"env.module={self.config.module} cannot be imported: {error}{remedy}") from error

    def _limit(self, env_id: str) -> int:
        limit = _spec(env_id).max_episode_steps or self.config.episode_length
        if limit is None:
            raise ConfigError(f"{env_id} is registered without a number of steps; give --env.episode_length.")
        return int(limit)
