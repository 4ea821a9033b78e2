"""Any environment registered with Gymnasium, by its id."""

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

import gymnasium
import numpy as np
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
from proctor.benchmarks.gymnasium_registry import creator_of, is_made_in_main, register_as_told, spec_of, to_workers
from proctor.benchmarks.gymnasium_spaces import ObservationNames, action_box, rgb_frame
from proctor.benchmarks.returns import USUAL_SUCCESS_KEYS, decided, real_number, shown, success_in
from proctor.config import EnvConfig
from proctor.errors import ConfigError
from proctor.plugins import import_module, install_command
from proctor.security.foreign_code import described, is_ctrl_c
from proctor.types import Array, Task

_SET_BY_US = {"id", "max_episode_steps", "disable_env_checker"}
_TRIED_STEPS = 5
_TRIED_SEED = 1000


@dataclass(frozen=True, kw_only=True)
class SuccessConfig(EnvConfig):
    """How success is told where the environment has no adapter that knows."""

    success_key: str | None = None
    """Where a step's info says whether it succeeded; where it then says nothing, that is a failure. If not given,
    is_success, else success; and an environment that says nothing there has no success rate."""

    success_threshold: float | None = None
    """Where info says nothing: an episode whose rewards sum up to at least this much, at its end, has succeeded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.success_threshold is not None and not math.isfinite(self.success_threshold):
            raise ConfigError(f"env.success_threshold is {self.success_threshold}; it must be a finite number.")


@dataclass(frozen=True, kw_only=True)
class GymnasiumConfig(SuccessConfig):
    """``--env.type=gymnasium``. ``task``: an environment's id, several with commas; ``module:id`` is the id, and the
    module goes to ``module``.
    """

    type: str = "gymnasium"

    module: str | None = None
    """Python package to import first, where importing it is what registers the ids: gym_pusht, gymnasium_robotics;
    several with commas."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """JSON: arguments of gymnasium.make, such as {"obs_type": "pixels_agent_pos"}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if ours := sorted(_SET_BY_US & self.kwargs.keys()):
            raise ConfigError(f"env.kwargs holds {', '.join(ours)}; use env.task and env.episode_length instead.")
        named = [name.rpartition(":") for name in self.task_names()]
        if modules := dict.fromkeys(module for module, _, _ in named if module):
            object.__setattr__(self, "module", ",".join(dict.fromkeys([*self.modules(), *modules])))
            object.__setattr__(self, "task", ",".join(env_id for _, _, env_id in named))

    def modules(self) -> list[str]:
        """``module`` split at its commas."""
        return [name.strip() for name in (self.module or "").split(",") if name.strip()]


class GymnasiumEnv(SimEnv):
    """A Gymnasium environment, whoever made it. It observes in every step, so not looking saves nothing here.

    Whether it is deterministic it shows when it is built: two episodes of a few steps, with one seed and the same
    actions, are the same or they are not.

    Raises:
        ConfigError: it cannot be seeded, is of Gym's old interface, or takes actions that a policy cannot give.
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
        """Rewards, observations and states of a few steps."""
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
            with suppress(ValueError):  # of a step of an episode: it becomes that episode's error
                if decided(terminated, "") or decided(truncated, ""):
                    break
        return moments

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._seen, _ = self._env.reset(seed=seed)
        self._return = 0.0
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        self._seen, reward, terminated, truncated, info = self._env.step(self._native(action))
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

    def _native(self, action: Array) -> Any:
        """The action as the environment takes it; a discrete one is the nearest number there is."""
        if isinstance(self._env.action_space, Discrete):
            return int(np.clip(np.rint(action[0]), self.action_space.low[0], self.action_space.high[0]))
        return np.asarray(action, self.action_space.dtype)

    def _succeeded(self, info: Any, *, over: bool) -> bool | None:
        """What is known of success after a step: what info says, else the sum of rewards, else what the user said."""
        key, threshold = self._config.success_key, self._config.success_threshold
        # In the run.json of earlier versions the first usual key also stands for the second one.
        said = success_in(info, USUAL_SUCCESS_KEYS if key in (None, USUAL_SUCCESS_KEYS[0]) else (key,))
        if said is not None:
            return said
        if threshold is not None:
            return self._return >= threshold if over and math.isfinite(self._return) else None
        return None if key is None else False

    def _observe(self) -> Mapping[str, Array]:
        return self._names.of(self._seen)

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        if not self.drawable:
            raise ConfigError(
                f"{self._name} cannot be drawn: it has no render mode rgb_array, or its constructor takes no "
                "render_mode."
            )
        if self._mujoco is None:
            return rgb_frame(self._env.render())
        before = mujoco_state(*self._mujoco)
        frame = rgb_frame(self._env.render())
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
            f"no episode could be told from another. {_REMEDY}"
        )


_REMEDY = (
    "Wrap an environment of the old interface so that reset(seed=…) gives (observation, info) and step gives "
    "(observation, reward, terminated, truncated, info); the package shimmy has wrappers that do it."
)


def _old_interface(name: str, why: str) -> ConfigError:
    return ConfigError(f"{name} has the interface of Gym before 0.26: {why}. {_REMEDY}")


def _require_present_interface(env: Any, name: str) -> None:
    """Where a step of an environment fails inside Gymnasium's wrappers, see whether the old interface is why."""
    try:
        env.unwrapped.reset(seed=_TRIED_SEED)
        given = env.unwrapped.step(env.action_space.sample())
    except BaseException:  # noqa: BLE001 - it fails for another reason, which its first error says
        return
    if isinstance(given, tuple) and len(given) == 4:
        raise _old_interface(name, "its step gives four values")
    if not isinstance(given, tuple) or len(given) != 5:
        found = f"{len(given)} values" if isinstance(given, tuple) else type(given).__name__
        raise ConfigError(
            f"{name}: its step gives {found}, and (observation, reward, terminated, truncated, info) is expected."
        )


def _make(task: Task, kwargs: Mapping[str, Any]) -> Any:
    """Construct the environment, able to draw where it can. Drawing begins when it is asked for."""
    make = partial(
        gymnasium.make, task.name, max_episode_steps=task.max_episode_steps, disable_env_checker=True, **kwargs
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
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise ConfigError(f"{task.name} needs a package that is not installed: {error}") from error
    except TypeError as error:
        if "gymnasium.Env" not in str(error):
            raise
        raise _old_interface(task.name, "it is no gymnasium.Env") from error


def _draws(creator: Callable[..., Any]) -> bool:
    metadata = getattr(creator, "metadata", None)
    return isinstance(metadata, Mapping) and "rgb_array" in (metadata.get("render_modes") or ())


class Gymnasium(Benchmark):
    """Environments of the Gymnasium registry, run as registered.

    ============  ======================================================================================
    suite, task   ``gymnasium``; the ids given, numbered in their order; there is no instruction
    observation   an image (uint8, H x W x 3) is ``observation.image``, a vector ``observation.state``; of a
                  dictionary, ``pixels`` is ``observation.image`` (or, a dictionary of cameras,
                  ``observation.images.<camera>``), ``agent_pos`` or ``observation`` is ``observation.state``
                  and any other key ``observation.<key>``; a text is the instruction; dtypes are the
                  environment's. Images with channels first, grey or of floats become uint8 with channels
                  last; Discrete is float32 (1,), MultiDiscrete and MultiBinary are float32, a Tuple of
                  numbers and vectors is one vector; other arrays are given as they are; what is no array
                  (Graph, Sequence) is left out, with a note
    action        a vector, as the environment has it; Discrete(n) is float32 (1,), rounded to the nearest
                  number (halves to the even one) and clipped to those there are
    episode       until the environment terminates, or the registered number of steps, then truncated; the
                  seed is passed to ``reset``, and whether it makes two episodes equal is tried when the
                  environment is built: one that is not deterministic is filmed as it is measured
    success       ``info["is_success"]``, else ``info["success"]``, or ``info[success_key]``: a bool, 0 or 1, or
                  an array of one of these; else, with ``success_threshold``, whether the sum of rewards has
                  reached it when the episode ends; else, with ``success_key``, no; else unknown
    reward        the environment's, a real number
    ============  ======================================================================================

    What is none of this (a success of NaN, 0.5 or a dictionary; a reward, ``terminated`` or ``truncated`` that is an
    array of two) is that episode's error: nobody knows what it was meant to say. None says nothing. A reward that is
    NaN or infinite leaves the episode without a reward, and its success as it is.

    Where a step says nothing of success, the environment may not know of it (CartPole, Pendulum), or may report
    successes only, and the two cannot be told apart. So an episode in which no step says anything is ``unknown``, and
    a task with such an episode has no success rate, only rewards. A ``success_key`` that is given is the user's word
    that the environment reports its successes there: then an episode without a report is a failure.

    An environment without a registered number of steps needs ``episode_length``. The ``reward_threshold`` that some
    ids are registered with is not used: it is meant for the mean of a hundred episodes. The sum is compared at the end
    because where rewards are negative it begins above any threshold.

    Fetch and the hands (``proctor[gymnasium-robotics]``): ``module=gymnasium_robotics`` and ids such as
    ``FetchReach-v4`` or ``HandReach-v3``, each 50 steps of 0.04 s; success is their ``info["is_success"]``, and the
    goal to reach is ``observation.desired_goal``.
    """

    name: ClassVar[str] = "gymnasium"
    extra: ClassVar[str] = ""  # gymnasium itself is always installed; what an id needs besides is its own affair
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
            self._tell(spec_of(name))
        return tasks

    def known_here(self) -> dict[str, Any]:
        """The registry's entries of the tasks, each as Gymnasium writes it in JSON."""
        return {"specs": self._specs}

    def learn(self, known: dict[str, Any]) -> None:
        self._specs = known.get("specs", {})

    def only_here(self) -> str:
        return self._only_here

    def _tell(self, spec: Any) -> None:
        """Have workers know an id as this process has registered it."""
        if (told := to_workers(spec)) is not None:
            self._specs[spec.id] = told
        elif not self.config.modules() or is_made_in_main(spec):  # else workers register it by importing those
            self._only_here = (
                f"{spec.id} is registered with what only this process has, so simulators run one at a time in this "
                "process; to have several workers, move the environment's class into a module that can be imported."
            )

    @property
    def sources(self) -> tuple[str | Callable[..., Any], ...]:
        """The packages that register the ids, and what makes each environment."""
        specs = (gymnasium.registry.get(name) for name in self.config.task_names())
        makers = (spec.entry_point for spec in specs if spec is not None and spec.entry_point is not None)
        made_in = (maker.partition(":")[0] if isinstance(maker, str) else maker for maker in makers)
        return (*self.config.modules(), *made_in)

    def make_env(self, task: Task) -> SimEnv:
        self._register()
        return GymnasiumEnv(_make(task, self.config.kwargs), task.name, self.config)

    def _register(self) -> None:
        """Import the package that registers the ids, in whichever process this is."""
        draw_without_display()  # many environments import pygame
        for module in self.config.modules():
            try:
                import_module(module)
            except ImportError as error:
                remedy = f"; install it with: {install_command(error.name)}" if error.name else ""
                raise ConfigError(f"env.module={module} cannot be imported: {error}{remedy}") from error
        register_as_told(self._specs)

    def _limit(self, env_id: str) -> int:
        limit = spec_of(env_id).max_episode_steps or self.config.episode_length
        if limit is None:
            raise ConfigError(f"{env_id} is registered without a number of steps; give --env.episode_length.")
        return int(limit)
