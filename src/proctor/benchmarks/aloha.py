"""ALOHA: two simulated ViperX arms that insert a peg or hand over a cube (``gym-aloha``, on MuJoCo)."""

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
)
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task

TASKS = ("AlohaInsertion-v0", "AlohaTransferCube-v0")
CAMERAS = ("top", "angle", "front_close", "left_pillar", "right_pillar", "left_wrist", "right_wrist")


@dataclass(frozen=True, kw_only=True)
class AlohaConfig(EnvConfig):
    """``--env.type=aloha``. ``task``: AlohaInsertion-v0 (the default), AlohaTransferCube-v0, or both with a comma."""

    type: str = "aloha"

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos, or pixels: the image alone."""

    observation_width: int = 640
    observation_height: int = 480
    """Size of the image a policy sees, in pixels."""

    visualization_width: int = 640
    visualization_height: int = 480
    """Size of a video frame, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("obs_type", self.obs_type, ("pixels_agent_pos", "pixels"))
        require_image_sizes(self)


class AlohaEnv(SimEnv):
    """One ALOHA task.

    gym-aloha renders three cameras in every step and returns one image. Here a step observes joints only, and the one
    camera is rendered afterwards, if a policy needs it. dm_control creates its GL context at the first rendering.
    """

    fps = 50.0
    cameras = CAMERAS

    def __init__(self, task: Task, config: AlohaConfig) -> None:
        import_simulator("gym_aloha", "aloha")
        self._config = config
        self._env = gymnasium.make(
            f"gym_aloha/{task.name}",
            obs_type="pixels_agent_pos",
            max_episode_steps=task.max_episode_steps,
            disable_env_checker=True,
        )
        control: Any = self._env.unwrapped._env  # noqa: SLF001 - dm_control's environment has no public name
        self._physics, self._task = control.physics, control.task
        self._task.get_observation = self._joints_alone
        spaces = {
            "observation.images.top": Box(0, 255, (config.observation_height, config.observation_width, 3), np.uint8),
            "observation.state": Box(-1000, 1000, (14,), np.float64),
        }
        if config.obs_type == "pixels":
            del spaces["observation.state"]
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = Box(-1, 1, (14,), np.float32)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._env.reset(seed=seed)
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        _, reward, terminated, truncated, info = self._env.step(np.asarray(action, np.float32))
        return Step(
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=bool(info["is_success"]),
            observation=self._observe() if look and not (terminated or truncated) else None,
        )

    def _joints_alone(self, physics: Any) -> Mapping[str, Any]:
        """Replacement of gym-aloha's ``get_observation`` that returns the joints in the same form, without images."""
        return {"qpos": self._task.get_qpos(physics), "images": {"top": np.empty(0, np.uint8)}}

    def _observe(self) -> Mapping[str, Array]:
        with self.looking():
            image = self._draw("top", self._config.observation_width, self._config.observation_height)
        seen = {"observation.images.top": image, "observation.state": self._task.get_qpos(self._physics)}
        return {key: seen[key] for key in self.observation_space}

    def prepare_to_look(self) -> None:
        _ = self._physics.contexts

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        usual = self._config.visualization_width, self._config.visualization_height
        return self._draw(camera or "top", *(size or usual))

    def _draw(self, camera: str, width: int, height: int) -> Array:
        self._make_room(width, height)
        return np.ascontiguousarray(self._physics.render(height=height, width=width, camera_id=camera))

    def _make_room(self, width: int, height: int) -> None:
        """Make the frame buffer large enough; dm_control refuses to render larger images than it."""
        room = self._physics.model.vis.global_
        if width > room.offwidth or height > room.offheight:
            if self._physics._contexts:  # noqa: SLF001 - it has no other way to make new ones
                self._physics._free_rendering_contexts()  # noqa: SLF001
            room.offwidth, room.offheight = max(width, room.offwidth), max(height, room.offheight)

    def state(self) -> Iterable[Array]:
        """MuJoCo's state."""
        return (mujoco_state(self._physics.model.ptr, self._physics.data.ptr),)

    def close(self) -> None:
        self._env.close()
        self._physics.free()


class Aloha(Benchmark):
    """ALOHA as LeRobot runs it (``lerobot.envs.configs.AlohaEnv``, ``gym_aloha/AlohaInsertion-v0``).

    ============  ======================================================================================
    suite, task   ``aloha``; ``AlohaInsertion-v0`` and ``AlohaTransferCube-v0``, numbered in the given order;
                  there is no instruction
    observation   ``observation.images.top`` uint8 (480, 640, 3); ``observation.state`` float64 (14,): per arm,
                  left first, six joint angles in radians and the gripper's opening in 0-1
    action        float32 (14,): targets for the same fourteen. Actions are not clipped to the declared bounds
                  of [-1, 1]: shoulders and elbows start outside of them
    episode       400 steps of 0.02 s, then truncated; the seed draws the positions of the objects
    success       full reward in this very step; ends the episode
    reward        0-4, the progress of the task: objects touched, lifted, brought together, done
    ============  ======================================================================================

    Differences from LeRobot, all deliberate: one camera is rendered, not three; ``observation_width`` and
    ``observation_height`` have an effect (LeRobot's do not reach the simulator); with ``obs_type=pixels`` the image has
    the same name as with the joints; and ``episode_length`` can shorten an episode, not prolong it.
    """

    name: ClassVar[str] = "aloha"
    extra: ClassVar[str] = "aloha"
    needs_gl = True
    protocol: ClassVar[str] = "aloha-1"
    groups = TASKS
    distributions = ("dm-control", "gym-aloha", "gymnasium", "mujoco", "numpy")
    worker_memory_mb = 210
    config_class: ClassVar[type[EnvConfig]] = AlohaConfig
    config: AlohaConfig

    def tasks(self) -> list[Task]:
        names = dict.fromkeys(self.config.task_names() or TASKS[:1])
        for name in names:
            if name not in TASKS:
                raise ConfigError(f"Unknown ALOHA task '{name}'.{did_you_mean(name, TASKS)}")
        return [Task("aloha", task_id, name, "", 400) for task_id, name in enumerate(names)]

    def preload(self) -> None:
        import_simulator("mujoco", "aloha")  # not dm_control, which creates a GL display when it is imported

    def make_env(self, task: Task) -> SimEnv:
        return AlohaEnv(task, self.config)
