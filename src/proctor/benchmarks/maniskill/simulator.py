"""One environment of ManiSkill in plain numpy, that draws only what is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from proctor.benchmarks.maniskill.package import make
from proctor.types import Array

_SEED_OF_CONSTRUCTION = 2022
"""The seed with which ManiSkill's constructor builds a scene and resets it once."""


class Outcome(NamedTuple):
    """The result of one step. ``success`` is None if the task does not report it."""

    reward: float
    terminated: bool
    success: bool | None


class Simulator:
    """One of ManiSkill's environments on the CPU's physics, for one episode at a time.

    Between episodes PhysX keeps more than poses and velocities: in ``PlugCharger-v1`` a second episode with the seed of
    the first one differs from it after 20 random steps. So every episode has a new scene, built with the constructor's
    seed and reset once with that seed, as the scene of a new environment is: an episode equals, to the bit, the same
    episode as the first one of a new environment.

    Some tasks draw random numbers from the global generators of torch and numpy while they step (``SO100GraspCube-v1``
    moves its camera at random). Here these generators start from the episode's seed, and belong to the simulator alone.

    ManiSkill would draw all its cameras after every step. Here steps are made in its observation mode ``none``, and
    :meth:`images` draws what its usual observation would contain.
    """

    def __init__(
        self, task: str, *, assets: str | None, needed: Collection[str], render_backend: str, **options: Any
    ) -> None:
        self._env = make(task, assets, needed, render_backend, num_envs=1, sim_backend="physx_cpu", **options)
        self._env._obs_mode = "none"  # noqa: SLF001 - the public one cannot be set
        self._new = True
        self._info: dict[str, Any] = {}
        self._generators = Generators()

    @property
    def env(self) -> Any:
        """ManiSkill's own environment."""
        return self._env

    @property
    def action_space(self) -> Box:
        """The robot's actions; those of several robots follow one another, in the order of their names."""
        space = self._env.single_action_space
        parts = list(space.values()) if isinstance(space, gymnasium.spaces.Dict) else [space]
        return Box(np.concatenate([part.low for part in parts]), np.concatenate([part.high for part in parts]))

    @property
    def control_frequency(self) -> float:
        """Steps per simulated second."""
        return float(self._env.control_freq)

    @property
    def cameras(self) -> dict[str, tuple[int, int, int]]:
        """The cameras that a policy sees with, and the shapes of their images."""
        sensors = self._env._sensors  # noqa: SLF001 - no public name leads to them
        return {name: (sensor.config.height, sensor.config.width, 3) for name, sensor in sensors.items()}

    @property
    def video_cameras(self) -> tuple[str, ...]:
        """The cameras of videos."""
        return tuple(self._env._human_render_cameras)  # noqa: SLF001 - as above

    def reset(self, seed: int, **options: Any) -> None:
        """Begin an episode; ``options`` are those of the task's own reset."""
        self._generators.seed(seed)
        with self._generators.in_place():
            if not self._new and self._env.reconfiguration_freq == 0:  # else every reset builds a scene anyway
                self._env.reset(seed=[_SEED_OF_CONSTRUCTION], options={"reconfigure": True})
            self._new = False
            _, self._info = self._env.reset(seed=seed, options=options)

    def step(self, action: Array) -> Outcome:
        """Advance by one control step with ``action``, an array of :attr:`action_space`'s shape."""
        native = self._native(np.array(action, np.float32))
        with self._generators.in_place():
            _, reward, terminated, _, self._info = self._env.step(native)
        success = self._info.get("success")
        return Outcome(float(reward), bool(terminated), None if success is None else bool(success))

    def _native(self, action: Array) -> Any:
        """Return an action as ManiSkill takes it: one array, or one for each robot."""
        space = self._env.single_action_space
        if not isinstance(space, gymnasium.spaces.Dict):
            return action
        ends = np.cumsum([part.shape[0] for part in space.values()])
        return dict(zip(space, np.split(action, ends[:-1]), strict=True))

    def images(self) -> dict[str, Array]:
        """Draw what the cameras of :attr:`cameras` see now, each uint8 ``(height, width, 3)``."""
        drawn = self._env._get_obs_sensor_data()  # noqa: SLF001 - its public caller draws only in a visual mode
        return {name: np.ascontiguousarray(textures["rgb"][0].numpy()) for name, textures in drawn.items()}

    def sensed(self, *, extra: bool) -> dict[str, Any]:
        """Return what the robots sense of themselves, and with ``extra`` what the task tells besides: ``agent`` and
        ``extra`` of ManiSkill's observation.
        """
        sensed = {"agent": self._env._get_obs_agent()}  # noqa: SLF001 - as above
        if extra:
            sensed["extra"] = self._env._get_obs_extra(self._info)  # noqa: SLF001 - as above
        return sensed

    @property
    def first_sensed(self) -> Mapping[str, Any]:
        """The value of :meth:`sensed` at the construction of the environment, with ``extra``."""
        first: Mapping[str, Any] = self._env._init_raw_obs  # noqa: SLF001 - else a reset would be needed to get them
        return first

    def draw(self, camera: str) -> Array:
        """Draw a camera of :attr:`video_cameras`, uint8 ``(height, width, 3)``."""
        return np.ascontiguousarray(self._env.render_rgb_array(camera)[0].numpy())

    def state(self) -> Iterator[Array]:
        """Return poses, velocities and joint positions of all that moves, and the controllers' own states."""
        return leaves(self._env.get_state_dict())

    def close(self) -> None:
        """Free the scene."""
        self._env.close()


class Generators:
    """The states of the global generators of torch (on the CPU) and numpy that one simulator draws from."""

    def __init__(self) -> None:
        self._torch = importlib.import_module("torch")
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Start anew from a seed."""
        self._states = self._torch.Generator().manual_seed(seed).get_state(), np.random.RandomState(seed).get_state()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the global generators be this simulator's within a block; afterwards they are as they were before."""
        outside = self._current()
        self._set(self._states)
        try:
            yield
        finally:
            self._states = self._current()
            self._set(outside)

    def _current(self) -> tuple[Any, Any]:
        return self._torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - ManiSkill draws from that one

    def _set(self, states: tuple[Any, Any]) -> None:
        self._torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002 - as above


def leaves(nested: Mapping[str, Any]) -> Iterator[Array]:
    """Return the arrays in nested mappings, in order, without the axis of parallel environments."""
    for value in nested.values():
        if isinstance(value, Mapping):
            yield from leaves(value)
        else:
            yield np.asarray(value)[0]


def flat(nested: Mapping[str, Any]) -> Array:
    """Return all values in nested mappings as one vector, float32 (n,), in ManiSkill's order."""
    return np.concatenate([np.atleast_1d(leaf).astype(np.float32) for leaf in leaves(nested)])
