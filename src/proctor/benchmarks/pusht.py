"""PushT: a round finger pushes a T-shaped block onto its outline, in two dimensions (``gym-pusht``)."""

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
    draw_without_display,
    import_simulator,
    require_image_sizes,
    require_one_of,
)
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task

_TASK = "PushT-v0"
_OBSERVED = {
    "pixels_agent_pos": ("pixels", "agent_pos"),
    "environment_state_agent_pos": ("environment_state", "agent_pos"),
}
"""The parts of an observation for each ``obs_type`` of gym-pusht."""

_FEATURES = {
    "pixels": "observation.image",
    "agent_pos": "observation.state",
    "environment_state": "observation.environment_state",
}
"""LeRobot's feature name of each part of an observation."""

_SMALLEST_FRAME = 96
"""Pixels per side. At this size gym-pusht's marker of the last action is one pixel thick; below it drawing fails."""


@dataclass(frozen=True, kw_only=True)
class PushTConfig(EnvConfig):
    """``--env.type=pusht``."""

    type: str = "pusht"

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos, or environment_state_agent_pos: the block's corners in place of an image."""

    observation_width: int = 96
    observation_height: int = 96
    """Size of the image a policy sees, in pixels."""

    visualization_width: int = 384
    visualization_height: int = 384
    """Size of a video frame, in pixels; at least 96."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("obs_type", self.obs_type, _OBSERVED)
        require_image_sizes(self, _SMALLEST_FRAME)


class PushTEnv(SimEnv):
    """One PushT simulator.

    gym-pusht observes, and may render, inside ``step``. Here the observation is requested afterwards, only if a policy
    needs it and the episode goes on. What gym-pusht computes for its ``info`` (poses, counts of contact points) has no
    reader, and is not computed.
    """

    fps = 10.0

    def __init__(self, config: PushTConfig, max_episode_steps: int) -> None:
        draw_without_display()
        import_simulator("gym_pusht", "pusht")
        self._to_shapely = import_simulator("gym_pusht.envs.pusht", "pusht").pymunk_to_shapely
        self._env = gymnasium.make(
            "gym_pusht/PushT-v0",
            obs_type=config.obs_type,
            max_episode_steps=max_episode_steps,
            disable_env_checker=True,
            observation_width=config.observation_width,
            observation_height=config.observation_height,
            visualization_width=config.visualization_width,
            visualization_height=config.visualization_height,
        )
        self._sim: Any = self._env.unwrapped
        self._see = self._sim.get_obs
        self._sim.get_obs = self._sim._get_info = dict  # noqa: SLF001 - a step calls both
        self._sim._handle_collision = _do_not_count  # noqa: SLF001 - contacts were a fifth of a step that pushes
        self._sim._get_coverage = self._coverage  # noqa: SLF001 - see there
        self._outline: Any = None
        spaces = {
            "pixels": Box(0, 255, (config.observation_height, config.observation_width, 3), np.uint8),
            "agent_pos": Box(0, 512, (2,), np.float64),
            "environment_state": Box(0, 512, (16,), np.float64),
        }
        self.observation_space = gymnasium.spaces.Dict(
            {_FEATURES[name]: spaces[name] for name in _OBSERVED[config.obs_type]}
        )
        self.action_space = Box(0, 512, (2,), np.float32)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._env.reset(seed=seed)
        self._outline = None
        self._sim._last_action = None  # noqa: SLF001 - else a video begins with the last episode's marker
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

    def _coverage(self) -> float:
        """Return the fraction of the outline that the block covers, 0-1.

        The computation is gym-pusht's, except that the outline is built once in an episode, in which it does not move,
        and that the T's two bars always come in the same order. gym-pusht takes them from a set, whose order depends on
        memory addresses, so the last bits of its reward differed from run to run in one of five states with an overlap.
        """
        sim = self._sim
        if self._outline is None:
            self._outline = self._t_of(sim.get_goal_pose_body(sim.goal_pose))
        return float(self._outline.intersection(self._t_of(sim.block)).area / self._outline.area)

    def _t_of(self, body: Any) -> Any:
        """Return the T of the outline or of the block as a shape of shapely, its two bars in a fixed order."""
        return self._to_shapely(body, self._sim._block_shapes)  # noqa: SLF001 - the same in a list

    def _observe(self) -> Mapping[str, Array]:
        with self.looking():
            seen = self._see()
        return {_FEATURES[name]: value for name, value in seen.items()}

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        usual = self._sim.visualization_width, self._sim.visualization_height
        drawn = size if size is not None and min(size) >= _SMALLEST_FRAME else usual
        self._sim.visualization_width, self._sim.visualization_height = drawn
        try:
            frame: Array = self._sim.render()
        finally:
            self._sim.visualization_width, self._sim.visualization_height = usual
        return frame

    def state(self) -> Iterable[Array]:
        """Poses and velocities of finger and block: x, y, angle, each float64 (6,).

        pymunk's contact caches cannot be read. They follow from earlier steps, so equal histories have equal caches.
        """
        for body in (self._sim.agent, self._sim.block):
            yield np.array([*body.position, body.angle, *body.velocity, body.angular_velocity])

    def close(self) -> None:
        self._env.close()


def _do_not_count(*_: Any) -> None:
    """Replacement of gym-pusht's count of contact points, which pymunk calls in every substep for every contact."""


class PushT(Benchmark):
    """PushT as LeRobot runs it (``lerobot.envs.configs.PushtEnv``, ``gym_pusht/PushT-v0``).

    ============  ======================================================================================
    suite, task   ``pusht``, task 0: ``PushT-v0``; there is no instruction
    observation   ``observation.image`` uint8 (96, 96, 3); ``observation.state`` float64 (2,), the finger's
                  position in 0-512; or, with ``obs_type=environment_state_agent_pos``,
                  ``observation.environment_state`` float64 (16,), eight corners (x, y), in place of the image
    action        float32 (2,): the target position of the finger, absolute, 0-512
    episode       300 steps of 0.1 s, then truncated; the seed draws finger and block
    success       more than 95 % of the outline covered; ends the episode
    reward        coverage / 0.95, at most 1
    ============  ======================================================================================

    Differences from LeRobot, all deliberate: the reward is the same to the last bit in every run (gym-pusht's is not:
    :meth:`PushTEnv._coverage`); the image has the size given by ``observation_width`` and ``observation_height``
    (LeRobot's fields are 384 but do not reach the simulator, which gives 96); and ``episode_length`` can shorten an
    episode, not prolong it.
    """

    name: ClassVar[str] = "pusht"
    extra: ClassVar[str] = "pusht"
    protocol: ClassVar[str] = "pusht-1"
    distributions = ("gym-pusht", "gymnasium", "numpy", "opencv-python", "opencv-python-headless", "pygame", "pymunk",
                     "shapely")  # fmt: skip
    draws_with_gl = False
    worker_memory_mb = 60
    config_class: ClassVar[type[EnvConfig]] = PushTConfig
    config: PushTConfig

    def tasks(self) -> list[Task]:
        for given in self.config.task_names():
            if given != _TASK:
                raise ConfigError(f"env.task is '{given}', but pusht has one task.{did_you_mean(given, [_TASK])}")
        return [Task("pusht", 0, _TASK, "", 300)]

    def preload(self) -> None:
        import_simulator("gym_pusht.envs.pusht", "pusht")

    def make_env(self, task: Task) -> SimEnv:
        return PushTEnv(self.config, task.max_episode_steps)
