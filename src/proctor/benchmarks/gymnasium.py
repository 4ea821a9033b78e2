"""Environments that are registered with Gymnasium, selected by id."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from typing import Any, ClassVar

from proctor.benchmarks.base import (
    Benchmark,
    SimEnv,
    Step,
    digest_of,
    draw_without_display,
    mujoco_state,
    set_mujoco_state,
)
from proctor.benchmarks.gym_package import package, registered
from proctor.benchmarks.gymnasium_registry import creator_of, is_made_in_main, register_specs, spec_of, to_workers
from proctor.benchmarks.gymnasium_spaces import ObservationNames, action_box, native_action, rgb_frame
from proctor.benchmarks.returns import USUAL_SUCCESS_KEYS, decided, real_number, shown, success_in
from proctor.config import EnvConfig
from proctor.errors import ConfigError
from proctor.plugins import import_module, install_command_for
from proctor.security.foreign_code import described, is_ctrl_c
from proctor.types import Array, Task

_SET_BY_US = {"id", "max_episode_steps", "disable_env_checker"}
_TRIED_STEPS = 5
_TRIED_SEED = 1000


@dataclass(frozen=True, kw_only=True)
class SuccessConfig(EnvConfig):
    """Options that define success for environments whose adapter does not know it."""

    success_key: str | None = None
    """Key of a step's info that reports success; an episode without a report there is a failure. By default,
    is_success and then success are read, and an environment that reports neither has no success rate."""

    success_threshold: float | None = None
    """If info does not report success: an episode succeeds if the sum of its rewards, at its end, is at least this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.success_threshold is not None and not math.isfinite(self.success_threshold):
            raise ConfigError(f"env.success_threshold is {self.success_threshold}; it must be a finite number.")


@dataclass(frozen=True, kw_only=True)
class GymnasiumConfig(SuccessConfig):
    """``--env.type=gymnasium``. ``task``: ids of environments, separated by commas. ``module:id`` is an id whose
    module is added to ``module``.
    """

    type: str = "gymnasium"

    module: str | None = None
    """Python package to import first if the import registers the ids: gym_pusht, gymnasium_robotics; separate several
    with commas."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """JSON: arguments of gymnasium.make, such as {"obs_type": "pixels_agent_pos"}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if ours := sorted(_SET_BY_US & self.kwargs.keys()):
            raise ConfigError(f"env.kwargs contains {', '.join(ours)}; use env.task and env.episode_length instead.")
        named = [name.rpartition(":") for name in self.task_names()]
        if modules := dict.fromkeys(module for module, _, _ in named if module):
            object.__setattr__(self, "module", ",".join(dict.fromkeys([*self.modules(), *modules])))
            object.__setattr__(self, "task", ",".join(env_id for _, _, env_id in named))

    def modules(self) -> list[str]:
        """Return the names in ``module``, split at its commas."""
        return [name.strip() for name in (self.module or "").split(",") if name.strip()]


class GymnasiumEnv(SimEnv):
    """A Gymnasium environment of any origin. It observes in every step, so a step without ``look`` is not faster.

    The constructor tests if it is deterministic: it runs two episodes of a few steps with one seed and the same
    actions, and compares them.

    Raises:
        ConfigError: it cannot be seeded, has Gym's old interface, or has actions that a policy cannot give.
    """

    def __init__(self, env: Any, name: str, config: SuccessConfig) -> None:
        self._env, self._name, self._config = env, name, config
        self._names = ObservationNames(env.observation_space, name)
        self.observation_space = self._names.space
        self.action_space = action_box(env.action_space, name)
        self.fps = float(env.metadata.get("render_fps") or 30)
        self.drawable = env.render_mode == "rgb_array"
        self.notes = tuple(filter(None, [self._names.left_out]))
        self._seen: Any = None
        self._return = 0.0
        _require_seeding(env, name)
        declared = env.spec is None or not env.spec.nondeterministic
        self.deterministic = self._acts_alike() and declared

    def _acts_alike(self) -> bool:
        try:
            return self._tried_episode() == self._tried_episode()
        except ConfigError:
            raise
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            _require_present_interface(self._env, self._name)
            raise RuntimeError(f"{self._name} was tried for a few steps and raised {described(error)}") from error

    def _tried_episode(self) -> list[tuple[str, str, str]]:
        """Return rewards, observations and states of a few steps, as digests."""
        actions = copy.deepcopy(self._env.action_space)
        actions.seed(_TRIED_SEED)
        first = self._env.reset(seed=_TRIED_SEED)
        if not (isinstance(first, tuple) and len(first) == 2 and isinstance(first[1], Mapping)):
            raise _old_interface(self._name, "its reset does not give (observation, info)")
        self._seen, _ = first
        moments = [("", digest_of(self._observe().values()), self.state_hash())]
        for _ in range(_TRIED_STEPS):
            self._seen, reward, terminated, truncated, _ = self._env.step(actions.sample())
            moments.append((shown(reward), digest_of(self._observe().values()), self.state_hash()))
            with suppress(ValueError):  # an episode's step raises it again, and it becomes that episode's error
                if decided(terminated, "") or decided(truncated, ""):
                    break
        return moments

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._seen, _ = self._env.reset(seed=seed)
        self._return = 0.0
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        self._seen, reward, terminated, truncated, info = self._env.step(
            native_action(action, self._env.action_space, self.action_space)
        )
        reward = real_number(reward, "the reward")
        terminated, truncated = decided(terminated, "terminated"), decided(truncated, "truncated")
        over = terminated or truncated
        self._return += reward
        return Step(
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            success=self._succeeded(info, over=over),
            observation=self._observe() if look and not over else None,
        )

    def _succeeded(self, info: Any, *, over: bool) -> bool | None:
        """Return success after a step, from info, else from the sum of rewards, else from ``success_key`` being set."""
        key, threshold = self._config.success_key, self._config.success_threshold
        # A run.json of earlier versions contains the first usual key, which then also means the second one.
        success = success_in(info, USUAL_SUCCESS_KEYS if key in (None, USUAL_SUCCESS_KEYS[0]) else (key,))
        if success is not None:
            return success
        if threshold is not None:
            return self._return >= threshold if over and math.isfinite(self._return) else None
        return None if key is None else False

    def _observe(self) -> Mapping[str, Array]:
        return self._names.of(self._seen)

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        if not self.drawable:
            raise ConfigError(
                f"{self._name} cannot be rendered: it has no render mode rgb_array, or its constructor takes no "
                "render_mode."
            )
        if self._mujoco is None:
            return rgb_frame(self._env.render())
        before = mujoco_state(*self._mujoco)
        frame = rgb_frame(self._env.render())
        set_mujoco_state(*self._mujoco, before)  # Fetch places its markers with a `forward`, which changes the solver
        return frame

    def state(self) -> Iterable[Array]:
        """MuJoCo's state if MuJoCo is used, and the last observation, which may contain a goal."""
        if self._mujoco is not None:
            yield mujoco_state(*self._mujoco)
        yield from self._observe().values()

    @property
    def _mujoco(self) -> tuple[Any, Any] | None:
        """MuJoCo's model and data; None if the environment does not use MuJoCo."""
        simulator = self._env.unwrapped
        data = getattr(simulator, "data", None)
        return (simulator.model, data) if hasattr(data, "qpos") else None

    def close(self) -> None:
        self._env.close()


def _distributions_of(package: str) -> tuple[str, ...]:
    """Return the distributions that installed an importable package; usually one of the same name."""
    try:
        return (distribution(package).metadata["Name"],)
    except PackageNotFoundError:
        return tuple(packages_distributions().get(package, ()))  # slow: it reads the file lists of all distributions


def _require_seeding(env: Any, name: str) -> None:
    parameters = inspect.signature(env.unwrapped.reset).parameters.values()
    if not any(parameter.name == "seed" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise ConfigError(
            f"{name} cannot be seeded: its reset takes no seed, as Gymnasium's environments do since 0.26; without a "
            f"seed, episodes could not be repeated. {_REMEDY}"
        )


_REMEDY = (
    "Wrap an environment of the old interface so that reset(seed=…) returns (observation, info) and step returns "
    "(observation, reward, terminated, truncated, info); the package shimmy has wrappers for this."
)


def _old_interface(name: str, why: str) -> ConfigError:
    return ConfigError(f"{name} has the interface of Gym before 0.26: {why}. {_REMEDY}")


def _require_present_interface(env: Any, name: str) -> None:
    """Raise an error if a step that failed inside Gymnasium's wrappers failed because of the old interface."""
    try:
        env.unwrapped.reset(seed=_TRIED_SEED)
        given = env.unwrapped.step(env.action_space.sample())
    except BaseException:  # noqa: BLE001 - it fails for another reason, which its first error says
        return
    if isinstance(given, tuple) and len(given) == 4:
        raise _old_interface(name, "its step returns four values")
    if not isinstance(given, tuple) or len(given) != 5:
        found = f"{len(given)} values" if isinstance(given, tuple) else type(given).__name__
        raise ConfigError(
            f"{name}: its step returns {found}; expected (observation, reward, terminated, truncated, info)."
        )


def _make(task: Task, kwargs: Mapping[str, Any]) -> Any:
    """Construct the environment, with rendering if it supports it. Nothing is rendered before it is requested."""
    make = partial(
        package.make, task.name, max_episode_steps=task.max_episode_steps, disable_env_checker=True, **kwargs
    )
    try:
        creator = creator_of(spec_of(task.name))
        if "render_mode" in kwargs or not _draws(creator):
            return make()
        try:
            return make(render_mode="rgb_array")
        except TypeError as error:
            if "unexpected keyword argument 'render_mode'" not in str(error):
                raise
        return make()
    except (ImportError, package.error.DependencyNotInstalled) as error:
        raise ConfigError(f"{task.name} needs a package that is not installed: {error}") from error
    except TypeError as error:
        if f"{package.__name__}.Env" not in str(error):
            raise
        raise _old_interface(task.name, "it is not a gymnasium.Env") from error


def _draws(creator: Callable[..., Any]) -> bool:
    metadata = getattr(creator, "metadata", None)
    return isinstance(metadata, Mapping) and "rgb_array" in (metadata.get("render_modes") or ())


class Gymnasium(Benchmark):
    """Environments of the Gymnasium registry, run as registered.

    ============  ======================================================================================
    suite, task   ``gymnasium``; the given ids, numbered in their order; there is no instruction
    observation   an image (uint8, H x W x 3) is ``observation.image``, a vector ``observation.state``; in a
                  dictionary, ``pixels`` is ``observation.image`` (or, if it is a dictionary of cameras,
                  ``observation.images.<camera>``), ``agent_pos`` or ``observation`` is ``observation.state``
                  and any other key ``observation.<key>``; a text is the instruction; dtypes are the
                  environment's. Images with channels first, grey images and float images are converted to
                  uint8 with channels last; Discrete is float32 (1,), MultiDiscrete and MultiBinary are
                  float32, a Tuple of numbers and vectors is one vector; other arrays are not changed;
                  spaces that are not arrays (Graph, Sequence) are left out, with a note
    action        a vector, as the environment declares it; Discrete(n) is int64 (1,). In a space of whole
                  numbers, actions are rounded to the nearest number (halves to the even one) and clipped to
                  the valid ones
    episode       ends when the environment terminates it, or after the registered number of steps, then
                  truncated; the seed is passed to ``reset``. When the environment is built, two episodes
                  with one seed are compared: an environment that is not deterministic is recorded on video
                  while it is measured
    success       ``info["is_success"]``, else ``info["success"]``, or ``info[success_key]``: a bool, 0 or 1, or
                  an array of one of these; else, with ``success_threshold``, true if the sum of rewards has
                  reached it when the episode ends; else, with ``success_key``, false; else unknown
    reward        the environment's, a real number
    ============  ======================================================================================

    Any other value (a success of NaN, 0.5 or a dictionary; a reward, ``terminated`` or ``truncated`` that is an array
    of two) is recorded as that episode's error, because its meaning is unclear. None counts as no report. If a reward
    is NaN or infinite, the episode has no reward; its success is not affected.

    If a step does not report success, the environment may not define it (CartPole, Pendulum), or may report successes
    only; the two cases cannot be distinguished. So an episode without any report is ``unknown``, and a task with such
    an episode has no success rate, only rewards. By setting ``success_key`` the user declares that the environment
    reports its successes there: then an episode without a report is a failure.

    An environment without a registered number of steps needs ``episode_length``. The ``reward_threshold`` that some
    ids are registered with is not used: it applies to the mean of a hundred episodes. The sum is compared only at the
    end, because if rewards are negative it starts above any threshold.

    Fetch and the hands (``proctor-eval[gymnasium-robotics]``) have ``module=gymnasium_robotics`` and ids such as
    ``FetchReach-v4`` or ``HandReach-v3``, each with 50 steps of 0.04 s; success is their ``info["is_success"]``, and
    the goal to reach is ``observation.desired_goal``.
    """

    name: ClassVar[str] = "gymnasium"
    extra: ClassVar[str] = ""  # gymnasium is always installed; the user installs what an id needs besides
    protocol: ClassVar[str] = "gymnasium-2"
    config_class: ClassVar[type[EnvConfig]] = GymnasiumConfig
    config: GymnasiumConfig

    def __init__(self, config: GymnasiumConfig) -> None:
        super().__init__(config)
        self.distributions = ("gymnasium", "mujoco", "numpy")
        for module in config.modules():
            self.distributions += _distributions_of(module.partition(".")[0])
        self._only_here = ""
        self._specs: dict[str, str] = {}

    def tasks(self) -> list[Task]:
        names = dict.fromkeys(self.config.task_names())
        if not names:
            raise ConfigError("gymnasium needs --env.task: the id of an environment, such as CartPole-v1.")
        self._register()
        tasks = [Task("gymnasium", task_id, name, "", self._limit(name)) for task_id, name in enumerate(names)]
        for name in names:
            self._send_spec(spec_of(name))
        return tasks

    def known_here(self) -> dict[str, Any]:
        """Return the registry's entries of the tasks as JSON texts, by id, for workers."""
        return {"specs": self._specs}

    def learn(self, known: dict[str, Any]) -> None:
        self._specs = known.get("specs", {})

    def only_here(self) -> str:
        return self._only_here

    def _send_spec(self, spec: Any) -> None:
        """Record the registry's entry of an id, if workers need it and can use it."""
        if not hasattr(spec, "to_json"):
            return  # the old gym's: this process has registered it by an import, and a worker does the same
        if (as_text := to_workers(spec)) is not None:
            self._specs[spec.id] = as_text
        elif not self.config.modules() or is_made_in_main(spec):  # else workers register it by importing the modules
            self._only_here = (
                f"{spec.id} is registered with objects that only this process has, so simulators run one at a time in "
                "this process; to have several workers, move the environment's class into a module."
            )

    @property
    def sources(self) -> tuple[str | Callable[..., Any], ...]:
        """The packages that register the ids, and the constructor of each environment."""
        specs = (registered().get(name) for name in self.config.task_names())
        makers = (spec.entry_point for spec in specs if spec is not None and spec.entry_point is not None)
        made_in = (maker.partition(":")[0] if isinstance(maker, str) else maker for maker in makers)
        return (*self.config.modules(), *made_in)

    def make_env(self, task: Task) -> SimEnv:
        self._register()
        return GymnasiumEnv(_make(task, self.config.kwargs), task.name, self.config)

    def _register(self) -> None:
        """Import the packages that register the ids, in this process, which may be a worker."""
        draw_without_display()  # many environments import pygame
        for module in self.config.modules():
            try:
                import_module(module)
            except ImportError as error:
                remedy = f"; install it with: {install_command_for(error.name)}" if error.name else ""
                raise ConfigError(f"env.module={module} cannot be imported: {error}{remedy}") from error
        register_specs(self._specs)

    def _limit(self, env_id: str) -> int:
        limit = spec_of(env_id).max_episode_steps or self.config.episode_length
        if limit is None:
            raise ConfigError(f"{env_id} is registered without a number of steps; give --env.episode_length.")
        return int(limit)
