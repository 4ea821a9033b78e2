"""The interface of a benchmark: a list of tasks, and for each task a simulator that can step without rendering.

A benchmark is a class registered under the entry-point group ``proctor.benchmarks``; Proctor's own are registered in
the same way. It is constructed from its configuration, in the main process and again in every worker. Constructing it
must therefore not import a simulator; only :meth:`Benchmark.make_env` does, and only in a worker.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from proctor.child.other_python import is_brought, pip_install
from proctor.config import EnvConfig
from proctor.errors import ConfigError, MissingExtraError
from proctor.types import INSTRUCTION, Array, ArraySpec, Features, Task

if TYPE_CHECKING:
    import gymnasium  # a worker's interpreter may have the old gym in its place, whose spaces are alike


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one control step.

    ``success`` is the simulator's report for this step, None if it reports nothing; the runner latches it over the
    episode. ``observation`` maps names to arrays without a time axis. It is None unless it was requested; it may also
    be None if this step ended the episode, because then no policy uses it.
    """

    reward: float
    terminated: bool
    truncated: bool
    success: bool | None
    observation: Mapping[str, Array] | None = None


class SimEnv(ABC):
    """One simulator of one task. It lives in a worker process and is used from one thread.

    Observations are mappings from LeRobot's feature names to arrays *without* a time axis: images uint8
    ``(height, width, 3)``, vectors float ``(size,)``. The constructor must not create a GL context.
    """

    observation_space: gymnasium.spaces.Dict
    action_space: gymnasium.spaces.Box
    fps: float
    """Control steps per simulated second."""
    deterministic: bool = True
    """True if the same seed and actions give the same episode."""
    drawable: bool = True
    """True if :meth:`render` works."""
    cameras: tuple[str, ...] = ()
    """Names that :meth:`render` accepts as its camera; empty if there is only one camera."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should read once, for example about observations that a policy does not get."""
    look_seconds: float = 0.0
    """Seconds spent rendering observations so far; updated by :meth:`looking`."""

    @abstractmethod
    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        """Begin an episode that depends on the arguments alone, not on earlier episodes of this simulator.

        Returns the first observation (arrays without a time axis) if ``look`` is true, else None.
        """

    @abstractmethod
    def step(self, action: Array, *, look: bool) -> Step:
        """Advance by one control step with ``action``, an array of :attr:`action_space`'s shape.

        If ``look`` is false, nothing is rendered.
        """

    def prepare_to_look(self) -> None:
        """Create what rendering needs (a GL context) now and not at the first look. Must not change any image."""

    @abstractmethod
    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        """Render a video frame, uint8 ``(height, width, 3)``.

        ``camera`` is one of :attr:`cameras`, or None for the usual one; ``size`` is (width, height) in pixels, or None
        for the usual size. A simulator with a fixed size renders at that size.
        """

    @abstractmethod
    def state(self) -> Iterable[Array]:
        """Return arrays that hold the whole state of the simulator: equal arrays mean the same physics."""

    def expert_action(self) -> Array:
        """Return the scripted expert's action for the current state, an array of :attr:`action_space`'s shape.

        Raises:
            NotImplementedError: the benchmark has no expert for this task.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free the simulator's resources. It is called once, before another simulator is built in the same process."""

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Add the duration of a block that renders to :attr:`look_seconds`."""
        started = perf_counter()
        try:
            yield
        finally:
            self.look_seconds += perf_counter() - started

    def state_hash(self) -> str:
        """Return a digest of :meth:`state`, 32 hexadecimal digits."""
        return digest_of(self.state())


class Benchmark(ABC):
    """One or several suites of tasks, and the construction of their simulators.

    ``distributions`` names the installed packages whose versions can change results; the versions are recorded with
    every result. ``sources`` lists other code that makes the environments: module names, functions, classes. If no
    distribution owns that code or the benchmark's own module, its digest is recorded.
    ``protocol`` is the version of the evaluation protocol; it changes whenever anything changes that an episode depends
    on.
    """

    name: ClassVar[str]
    extra: ClassVar[str]
    """The extra of Proctor that installs the simulator."""
    protocol: ClassVar[str]
    groups: ClassVar[tuple[str, ...]] = ()
    """Values of ``--env.task`` that each select several tasks. Together they cover every task; empty if there are no
    groups."""
    distributions: tuple[str, ...] = ()
    draws_with_gl: ClassVar[bool] = True
    """True if the usable renderers should be determined before a run."""
    needs_gl: ClassVar[bool] = False
    """True if all rendering uses MuJoCo's GL: then a ``MUJOCO_GL`` that does not work is refused before a worker
    starts."""
    worker_memory_mb: ClassVar[int | None] = None
    """Measured memory of each further worker with a simulator, in MB; None if it was not measured."""
    config_class: ClassVar[type[EnvConfig]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def fields_of(cls, configuration: Any) -> dict[str, Any] | None:
        """Give the fields of ``--env.*`` that say the same as another library's configuration object.

        Returns None if the class does not know objects of this kind, as it does unless it overrides this.
        """
        del configuration
        return None

    @classmethod
    def fields_for(cls, name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:  # noqa: ARG003 - for subclasses
        """Return the fields of ``--env.*`` with which this benchmark runs ``--env.type=<name>``.

        It is called for a ``name`` that no benchmark has, and returns None if this benchmark cannot run it. It must not
        import a simulator.
        """
        return None

    @property
    def sources(self) -> tuple[str | Callable[..., Any], ...]:
        """Further code that makes the environments (see the class); it is read after :meth:`tasks` was called."""
        return ()

    @abstractmethod
    def tasks(self) -> list[Task]:
        """Return the tasks that the configuration selects, in order. It should not import a simulator.

        Raises:
            ConfigError: a task or suite is unknown; the message suggests the nearest name.
        """

    @abstractmethod
    def make_env(self, task: Task) -> SimEnv:
        """Build the simulator of one task, in a worker.

        Raises:
            MissingExtraError: the simulator's package is not installed.
        """

    def keep_parts(self, env: SimEnv) -> None:
        """Keep parts of a simulator, such as its compiled scene, which the next call of :meth:`make_env` can reuse.

        A worker calls this before it closes a simulator in order to make the next one.
        """

    def cautions(self) -> list[str]:
        """Return warnings about installed versions that the user must read before trusting results, a sentence each.

        It reads metadata only and must not import a simulator.
        """
        return []

    def preload(self) -> None:
        """Import what :meth:`make_env` needs in the process from which workers are forked, so that they share it.

        It must not touch GL or start a thread; code that does is imported by each worker instead.
        """

    def known_here(self) -> dict[str, Any]:
        """Return JSON values about the tasks that this process has and a worker cannot derive from the configuration.

        It is called after :meth:`tasks`.
        """
        return {}

    def learn(self, known: dict[str, Any]) -> None:
        """Receive, in a worker and before :meth:`make_env`, what :meth:`known_here` returned."""

    def only_here(self) -> str:
        """Return a sentence with the reason if only this process can build the simulators; "" if workers can.

        It is called after :meth:`tasks`.
        """
        return ""

    def init_state_id(self, task: Task, episode_index: int) -> int | None:
        """Return the index of the stored initial state that an episode starts from; None if there are none."""
        return None


def features_of(observation_space: gymnasium.spaces.Dict, action_space: gymnasium.spaces.Box) -> Features:
    """Return shapes and dtypes of observations and actions; an observed instruction is not an array for a policy."""
    seen = {key: ArraySpec(space.shape, space.dtype.name) for key, space in observation_space.items()}
    seen.pop(INSTRUCTION, None)
    return Features(seen, ArraySpec(action_space.shape, action_space.dtype.name))


def digest_of(arrays: Iterable[Array]) -> str:
    """Return a digest that is equal for bit-identical arrays: it covers dtypes, shapes, values and their order."""
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
        MissingExtraError: the package, or a package that it needs, is not installed.
        ConfigError: it is not installed for the interpreter of ``--env.python``.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if is_brought():
            command = pip_install(module.partition(".")[0].replace("_", "-"))
            raise ConfigError(
                f"{module} cannot be imported in the interpreter of --env.python ({error}); install it there, for "
                f"example with: {command}"
            ) from error
        raise MissingExtraError(module, extra, str(error), environment=extra) from error  # every simulator has a recipe


def require_one_of(field: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a value of a configuration that is not allowed.

    Raises:
        ConfigError: the value is not in ``allowed``; the message lists the allowed values.
    """
    if value not in allowed:
        raise ConfigError(f"env.{field} is '{value}'; it must be one of {', '.join(allowed)}.")


def require_at_least(minimum: int, config: EnvConfig, *fields: str) -> None:
    """Refuse numbers below a minimum, such as the sides of an image; None, a default that is chosen later, is accepted.

    Raises:
        ConfigError: a number is too small; the message names its field.
    """
    for field in fields:
        if (value := getattr(config, field)) is not None and value < minimum:
            raise ConfigError(f"env.{field} is {value}; it must be at least {minimum}.")


def require_image_sizes(config: EnvConfig, smallest_frame: int = 1) -> None:
    """Refuse sizes of the image that a policy sees (``observation_*``) and of a video frame (``visualization_*``) that
    cannot be drawn. A video frame has at least ``smallest_frame`` pixels per side.

    Raises:
        ConfigError: a size is too small; the message names the field.
    """
    require_at_least(1, config, "observation_width", "observation_height")
    require_at_least(smallest_frame, config, "visualization_width", "visualization_height")


def draw_without_display() -> None:
    """Let pygame work without a display and without its greeting; call this before it is imported."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")


def mujoco_state(model: Any, data: Any) -> Array:
    """Return everything that MuJoCo's next step depends on besides the model, float64 (size,).

    It contains time, positions, velocities, activations, warm start, controls, applied forces and mocap poses
    (``mjSTATE_INTEGRATION``).
    """
    import mujoco

    values = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, values, mujoco.mjtState.mjSTATE_INTEGRATION)
    return values


def set_mujoco_state(model: Any, data: Any, values: Array) -> None:
    """Restore a state, float64 (size,), that :func:`mujoco_state` returned."""
    import mujoco

    mujoco.mj_setState(model, data, values, mujoco.mjtState.mjSTATE_INTEGRATION)
