"""A simulated xArm 7 that lifts a cube (``gym-xarm``, on MuJoCo 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from proctor.benchmarks.base import (
    Benchmark,
    SimEnv,
    Step,
    import_simulator,
    mujoco_state,
    require_image_sizes,
    require_one_of,
    set_mujoco_state,
)
from proctor.config import EnvConfig
from proctor.errors import ConfigError, MissingExtraError, did_you_mean
from proctor.types import Array, Task

_TASK = "XarmLift-v0"
_CAMERA = "camera0"
_OBSERVED = {
    "pixels_agent_pos": ("observation.image", "observation.state"),
    "pixels": ("observation.image",),
    "state": ("observation.state",),
}
"""The features of an observation for each ``obs_type`` of gym-xarm."""


@dataclass(frozen=True, kw_only=True)
class XarmConfig(EnvConfig):
    """``--env.type=xarm``."""

    type: str = "xarm"

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos; pixels: the image alone; or state: the positions and velocities of hand and cube, no image."""

    observation_width: int = 84
    observation_height: int = 84
    """Size of the image a policy sees, in pixels."""

    visualization_width: int = 384
    visualization_height: int = 384
    """Size of a video frame, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("obs_type", self.obs_type, _OBSERVED)
        require_image_sizes(self)


class XarmEnv(SimEnv):
    """One gym-xarm simulator.

    gym-xarm renders inside ``step`` if its ``obs_type`` contains pixels, and calls MuJoCo's ``forward`` before it
    renders, which changes where the constraint solver starts. Here it always steps with ``state``, which renders
    nothing, and each step is followed by that ``forward``, so that steps with and without an image are the same.
    """

    fps = 25.0

    def __init__(self, config: XarmConfig, max_episode_steps: int) -> None:
        _require_gym_xarm()
        self._config = config
        self._env = gymnasium.make(
            f"gym_xarm/{_TASK}",
            obs_type="state",
            max_episode_steps=max_episode_steps,
            disable_env_checker=True,
            observation_width=config.observation_width,
            observation_height=config.observation_height,
            visualization_width=config.visualization_width,
            visualization_height=config.visualization_height,
        )
        self._sim: Any = self._env.unwrapped
        n_numbers = len(self._sim.get_obs() if config.obs_type == "state" else self._sim.robot_state)
        spaces = {
            "observation.image": Box(0, 255, (config.observation_height, config.observation_width, 3), np.uint8),
            "observation.state": Box(-1000, 1000, (n_numbers,), np.float64),
        }
        self.observation_space = gymnasium.spaces.Dict({name: spaces[name] for name in _OBSERVED[config.obs_type]})
        self.action_space = Box(-1, 1, (4,), np.float32)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        import mujoco

        mujoco.mj_resetData(self._sim.model, self._sim.data)  # else the last episode's gripper command is kept
        self._env.reset(seed=seed)
        self._forward()
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        within = np.clip(np.asarray(action, np.float32), -1, 1)  # gym-xarm raises for any action beyond its bounds
        _, reward, terminated, truncated, info = self._env.step(within)
        self._forward()
        over = bool(terminated or truncated)
        return Step(
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=bool(info["is_success"]),
            observation=self._observe() if look and not over else None,
        )

    def _forward(self) -> None:
        if "observation.image" in self.observation_space.spaces:
            self._sim._render_callback()  # noqa: SLF001 - what gym-xarm calls before it renders

    def _observe(self) -> Mapping[str, Array]:
        seen: dict[str, Array] = {}
        for name in self.observation_space:
            if name == "observation.image":
                with self.looking():
                    seen[name] = self._draw(self._sim.observation_renderer)
            else:
                all_numbers = self._config.obs_type == "state"
                seen[name] = self._sim.get_obs() if all_numbers else self._sim.robot_state
        return seen

    def _draw(self, renderer: Any) -> Array:
        renderer._get_viewer("rgb_array").make_context_current()  # noqa: SLF001 - it has two, one for videos
        image: Array = renderer.render("rgb_array", camera_name=_CAMERA)
        return image.copy()

    def prepare_to_look(self) -> None:
        if "observation.image" in self.observation_space.spaces:
            self._sim.observation_renderer._get_viewer("rgb_array")  # noqa: SLF001

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        before = mujoco_state(self._sim.model, self._sim.data)
        frame = self._draw(self._sim.visualization_renderer)
        set_mujoco_state(self._sim.model, self._sim.data, before)
        return frame

    def state(self) -> Iterable[Array]:
        """MuJoCo's state, and the cube's height at the beginning, in metres."""
        yield mujoco_state(self._sim.model, self._sim.data)
        yield np.array([self._sim._init_z])  # noqa: SLF001

    def close(self) -> None:
        self._env.close()


def _require_gym_xarm() -> None:
    try:
        import_simulator("gym_xarm", "")
    except MissingExtraError as error:
        raise ConfigError(
            f"gym-xarm cannot be imported ({error.__cause__}); it needs Python 3.10 or 3.11, MuJoCo 2 and Gymnasium "
            "0.29, so it runs in an environment of its own: create that with: proctor env create xarm"
        ) from error


class Xarm(Benchmark):
    """The only task of gym-xarm, ``gym_xarm/XarmLift-v0``, as gym-xarm registers it.

    ============  ======================================================================================
    suite, task   ``xarm``, task 0: ``XarmLift-v0``; there is no instruction
    observation   ``observation.image`` uint8 (84, 84, 3); ``observation.state`` float64 (4,): the hand's
                  position in metres, as gym-xarm measures it, and the gripper's angle; or, with
                  ``obs_type=state``, all 28 numbers that gym-xarm's ``state`` has, in ``observation.state``
    action        float32 (4,) in [-1, 1]: the change of the hand's position (1 is 5 cm) and the gripper's command;
                  clipped to these bounds
    episode       300 steps of 0.04 s, then truncated; the seed draws the places of the hand and the cube
    success       the cube is 15 cm above its first height after this very step; ends the episode
    reward        gym-xarm's dense reward
    ============  ======================================================================================

    gym-xarm 0.1.1 needs MuJoCo 2, which no other benchmark here can use, gymnasium before 1.0, and Python 3.10 or 3.11:
    it needs an environment of its own (``proctor env create xarm``, or ``--env.python``).

    gym-xarm's licence is Apache-2.0. Its environment takes 230 MB of disk.

    Differences from gym-xarm, all deliberate: actions beyond the bounds are clipped (gym-xarm raises an error); each
    episode depends on its seed alone (gym-xarm's reset keeps the gripper's command and the start of the constraint
    solver from the episode before); and ``episode_length`` can shorten an episode, not prolong it.
    """

    name: ClassVar[str] = "xarm"
    extra: ClassVar[str] = ""  # Proctor and gym-xarm need different versions of Gymnasium
    needs_gl = True
    protocol: ClassVar[str] = "xarm-1"
    distributions = ("gym-xarm", "gymnasium", "gymnasium-robotics", "mujoco", "numpy")
    worker_memory_mb = 200
    config_class: ClassVar[type[EnvConfig]] = XarmConfig
    config: XarmConfig

    def tasks(self) -> list[Task]:
        for given in self.config.task_names():
            if given != _TASK:
                raise ConfigError(f"env.task is '{given}', but xarm has one task.{did_you_mean(given, [_TASK])}")
        return [Task("xarm", 0, _TASK, "", 300)]

    def preload(self) -> None:
        _require_gym_xarm()

    def make_env(self, task: Task) -> SimEnv:
        return XarmEnv(self.config, task.max_episode_steps)
