"""What a benchmark is: a list of tasks, and for each task a simulator that steps without drawing.

A benchmark is a class registered under the entry-point group ``proctor.benchmarks`` (ours are registered the same way).
It is constructed from its configuration, in the main process and again in every worker, so constructing it must not
import a simulator; only :meth:`Benchmark.make_env` does, and only in a worker.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar

import gymnasium
import numpy as np

from proctor.config import EnvConfig
from proctor.errors import ConfigError, MissingExtraError
from proctor.types import INSTRUCTION, Array, ArraySpec, Features, Task


@dataclass(frozen=True, slots=True)
class Step:
    """What one step gave.

    ``success`` is what the simulator says of this very step; the runner latches it over the episode. ``observation``
    is None unless it was looked for (and may be None when the episode ended with this step: nobody will look).
    """

    reward: float
    terminated: bool
    truncated: bool
    success: bool
    observation: Mapping[str, Array] | None = None


class SimEnv(ABC):
    """One simulator holding one task. Lives in a worker process, used from one thread.

    Observations are mappings from LeRobot's feature names to arrays *without* a time axis: images uint8
    ``(height, width, 3)``, vectors float ``(size,)``. Constructing one allocates no GL context.
    """

    observation_space: gymnasium.spaces.Dict
    action_space: gymnasium.spaces.Box
    fps: float
    """Control steps per simulated second."""
    deterministic: bool = True
    """Whether the same seed and actions give the same episode."""
    drawable: bool = True
    """Whether :meth:`render` works."""
    cameras: tuple[str, ...] = ()
    """The cameras :meth:`render` can be asked for; none where there is only the one."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should read once, such as what a policy is not given of the observations."""
    look_seconds: float = 0.0
    """Time spent drawing so far; kept by :meth:`looking`."""

    @abstractmethod
    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        """Begin an episode that depends on the arguments alone, whatever ran here before."""

    @abstractmethod
    def step(self, action: Array, *, look: bool) -> Step:
        """Advance by one control step. Without ``look`` nothing is drawn."""

    def prepare_to_look(self) -> None:
        """Get what drawing needs (a GL context) now rather than at the first look. Changes nothing that is drawn."""

    @abstractmethod
    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        """A frame for a video, uint8 ``(height, width, 3)``.

        ``camera`` is one of :attr:`cameras`, or the usual one; ``size`` is (width, height), or the usual one. A
        simulator that cannot draw at a size draws at its own.
        """

    @abstractmethod
    def state(self) -> Iterable[Array]:
        """The simulator's state: equal arrays mean the same physics."""

    def expert_action(self) -> Array:
        """The scripted expert's action for the present state.

        Raises:
            NotImplementedError: the benchmark has no expert for this task.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free what the simulator holds. Called once, before another one is built in the same process."""

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Time a block that draws."""
        started = perf_counter()
        try:
            yield
        finally:
            self.look_seconds += perf_counter() - started

    def state_hash(self) -> str:
        """A digest of :meth:`state`."""
        return digest_of(self.state())


class Benchmark(ABC):
    """A suite or several, and how their simulators are built.

    ``distributions`` names the installed packages whose versions move results; they are recorded with every result.
    ``protocol`` names the version of the evaluation protocol; a change of anything an episode depends on changes it.
    """

    name: ClassVar[str]
    extra: ClassVar[str]
    """The extra of Proctor that installs the simulator."""
    protocol: ClassVar[str]
    groups: ClassVar[tuple[str, ...]] = ()
    """Values of ``--env.task`` that each select several tasks, and together every task there is; empty where there
    are no groups."""
    distributions: tuple[str, ...] = ()
    draws_with_gl: ClassVar[bool] = True
    """Whether it is worth finding out before a run what GL can draw with."""
    needs_gl: ClassVar[bool] = False
    """Whether everything it draws, it draws with MuJoCo's GL: then a ``MUJOCO_GL`` that cannot draw is refused before a
    worker starts."""
    worker_memory_mb: ClassVar[int | None] = None
    """What each further worker with a simulator takes of memory, measured, in MB; None where nobody knows."""
    config_class: ClassVar[type[EnvConfig]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def fields_for(cls, name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:  # noqa: ARG003 - for subclasses
        """The fields of ``--env.*`` with which this benchmark runs ``--env.type=<name>``, a name that no benchmark has.

        None if ``name`` means nothing to this benchmark. It imports no simulator.
        """
        return None

    @abstractmethod
    def tasks(self) -> list[Task]:
        """The tasks the configuration selects, in order. Imports no simulator where that is possible.

        Raises:
            ConfigError: an unknown task or suite; names the nearest.
        """

    @abstractmethod
    def make_env(self, task: Task) -> SimEnv:
        """Build the simulator of one task, in a worker.

        Raises:
            MissingExtraError: the simulator's package is not installed.
        """

    def cautions(self) -> list[str]:
        """What the user must know of the installed versions before the numbers are trusted, a sentence each.

        It reads metadata only and imports no simulator.
        """
        return []

    def preload(self) -> None:
        """Import what :meth:`make_env` will need, in the process from which workers are forked: they all share it.

        It must touch no GL and start no thread; what does not keep to that is imported by each worker.
        """

    def known_here(self) -> dict[str, Any]:
        """What this process knows of the tasks, besides the configuration, and a worker does not: JSON values. Asked
        after :meth:`tasks`.
        """
        return {}

    def learn(self, known: dict[str, Any]) -> None:
        """Take in, in a worker and before :meth:`make_env`, what :meth:`known_here` gave."""

    def only_here(self) -> str:
        """Why no process but this one can build the simulators, a sentence; "" if workers can. Asked after
        :meth:`tasks`.
        """
        return ""

    def init_state_id(self, task: Task, episode_index: int) -> int | None:
        """Which stored initial state an episode starts from, where the benchmark has stored ones."""
        return None


def features_of(observation_space: gymnasium.spaces.Dict, action_space: gymnasium.spaces.Box) -> Features:
    """Shapes and dtypes of an environment's two sides; an observed instruction is no array to a policy."""
    seen = {key: ArraySpec(space.shape, space.dtype.name) for key, space in observation_space.items()}
    seen.pop(INSTRUCTION, None)
    return Features(seen, ArraySpec(action_space.shape, action_space.dtype.name))


def digest_of(arrays: Iterable[Array]) -> str:
    """A digest by which arrays are compared to the bit: of their dtypes, shapes and values, in their order."""
    digest = hashlib.sha256()
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:32]


# ------------------------------------------------------------------------------------------ what adapters share


def import_simulator(module: str, extra: str) -> Any:
    """Import a simulator's package, in :meth:`Benchmark.make_env`.

    Raises:
        MissingExtraError: it, or something it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(module, extra, str(error)) from error


def require_one_of(field: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a configuration's value that is not among those allowed.

    Raises:
        ConfigError: says which there are.
    """
    if value not in allowed:
        raise ConfigError(f"env.{field} is '{value}'; it is one of {', '.join(allowed)}.")


def require_at_least(minimum: int, config: EnvConfig, *fields: str) -> None:
    """Refuse numbers below a minimum, such as the sides of an image.

    Raises:
        ConfigError: names the field.
    """
    for field in fields:
        if (value := getattr(config, field)) < minimum:
            raise ConfigError(f"env.{field} is {value}; it must be at least {minimum}.")


def draw_without_display() -> None:
    """Before pygame is imported: let it draw on a machine without a display, and import without a word."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")


def mujoco_state(model: Any, data: Any) -> Array:
    """All that MuJoCo's next step depends on besides the model, float64 (size,): time, positions, velocities,
    activations, warm start, controls, applied forces, mocap poses.
    """
    import mujoco

    values = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, values, mujoco.mjtState.mjSTATE_INTEGRATION)
    return values


def set_mujoco_state(model: Any, data: Any, values: Array) -> None:
    """Put back what :func:`mujoco_state` gave."""
    import mujoco

    mujoco.mj_setState(model, data, values, mujoco.mjtState.mjSTATE_INTEGRATION)
