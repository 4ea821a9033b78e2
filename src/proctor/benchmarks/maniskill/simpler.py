"""SimplerEnv-Bridge: four real-to-sim tasks of a simulated WidowX arm, with downloaded assets (``mani-skill``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from proctor.benchmarks.base import Benchmark, SimEnv, Step, require_one_of
from proctor.benchmarks.maniskill.benchmark import RENDER_BACKENDS, ManiSkill
from proctor.benchmarks.maniskill.package import preload
from proctor.benchmarks.maniskill.simulator import Simulator
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task


class Scene(NamedTuple):
    """One task: its id in ManiSkill, its instruction there, its step limit and its number of initial states."""

    maniskill: str
    instruction: str
    max_steps: int
    n_states: int


SCENES = {
    "widowx_spoon_on_towel": Scene("PutSpoonOnTableClothInScene-v1", "put the spoon on the towel", 60, 24),
    "widowx_carrot_on_plate": Scene("PutCarrotOnPlateInScene-v1", "put carrot on plate", 60, 24),
    "widowx_stack_cube": Scene(
        "StackGreenCubeOnYellowCubeBakedTexInScene-v1", "stack the green block on the yellow block", 60, 24
    ),
    "widowx_put_eggplant_in_basket": Scene("PutEggplantInBasketScene-v1", "put eggplant into yellow basket", 120, 64),
}
"""The tasks by SimplerEnv's names, in SimplerEnv's order. The rest is ManiSkill's (``mani_skill`` 3.0.1,
``envs/tasks/digital_twins/bridge_dataset_eval/put_on_in_scene.py``)."""

_GROUP = "bridge"
_NEEDED = ("bridge_v2_real2sim", "widowx250s")
_CAMERA = "3rd_view_camera"
_IMAGE = "observation.images.image_0"


@dataclass(frozen=True, kw_only=True)
class SimplerConfig(EnvConfig):
    """``--env.type=simpler``. ``task``: SimplerEnv's names (``widowx_carrot_on_plate``) with commas; the default is
    bridge, all four.
    """

    type: str = "simpler"

    success: str = "end"
    """end: an episode succeeds if its last step reports success, as in SimplerEnv's own evaluation; any: if any step
    does, which ends it, as in GR00T's. The rates by both differ, so name it with a result."""

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos, or pixels: the image alone."""

    render_backend: str = "cpu"
    """Kind of Vulkan device that draws: cpu (Mesa's lavapipe, which needs no GPU), or gpu."""

    assets: str | None = None
    """Folder that contains ManiSkill's folder data, with the downloads bridge_v2_real2sim and widowx250s; the default
    is the one that MS_ASSET_DIR names, else ~/.maniskill."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("success", self.success, ("end", "any"))
        require_one_of("obs_type", self.obs_type, ("pixels_agent_pos", "pixels"))
        require_one_of("render_backend", self.render_backend, RENDER_BACKENDS)


class SimplerEnv(SimEnv):
    """One task of SimplerEnv-Bridge."""

    def __init__(self, task: Task, config: SimplerConfig) -> None:
        self._config, self._max_steps, self._n_steps = config, task.max_episode_steps, 0
        self._simulator = Simulator(
            SCENES[task.name].maniskill,
            assets=config.assets,
            needed=_NEEDED,
            obs_mode="rgb+segmentation",
            render_backend=config.render_backend,
        )
        self.fps = self._simulator.control_frequency
        self.cameras = self._simulator.video_cameras
        self.action_space = self._simulator.action_space
        spaces: dict[str, Any] = {_IMAGE: Box(0, 255, self._simulator.cameras[_CAMERA], np.uint8)}
        if config.obs_type == "pixels_agent_pos":
            spaces["observation.state"] = Box(-np.inf, np.inf, (8,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(spaces)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._n_steps = 0
        self._simulator.reset(seed, **({} if init_state_id is None else {"episode_id": init_state_id}))
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        outcome = self._simulator.step(action)
        self._n_steps += 1
        truncated = self._n_steps >= self._max_steps
        counts = self._config.success == "any" or truncated
        terminated = bool(outcome.success) and self._config.success == "any"
        return Step(
            reward=outcome.reward,
            terminated=terminated,
            truncated=truncated,
            success=bool(outcome.success) and counts,
            observation=self._observe() if look and not (terminated or truncated) else None,
        )

    def _observe(self) -> Mapping[str, Array]:
        with self.looking():
            seen = {_IMAGE: self._simulator.images()[_CAMERA]}
        if self._config.obs_type == "pixels_agent_pos":
            seen["observation.state"] = self._state()
        return seen

    def _state(self) -> Array:
        """Return the hand's pose in the robot's frame and how far the gripper is open, as SimplerEnv's ``eef_pos``."""
        agent = self._simulator.env.agent
        pose = np.asarray(agent.controller.controllers["arm"].ee_pose_at_base.raw_pose)[0]
        fingers, limits = np.asarray(agent.robot.get_qpos())[0, -2:], np.asarray(agent.robot.get_qlimits())[0, -2:]
        closed = np.mean((limits[:, 1] - fingers) / (limits[:, 1] - limits[:, 0]))
        return np.append(pose, 1 - max(closed, 0.0)).astype(np.float32)

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        return self._simulator.draw(camera or self.cameras[0])

    def state(self) -> Iterable[Array]:
        """Poses and velocities of all bodies, and the positions and velocities of the robot's joints."""
        return self._simulator.state()

    def close(self) -> None:
        self._simulator.close()


class Simpler(Benchmark):
    """SimplerEnv's four tasks of BridgeData V2, in ManiSkill3's version (``PutCarrotOnPlateInScene-v1`` and others).

    ============  ======================================================================================
    suite, task   ``bridge``: ``widowx_spoon_on_towel``, ``widowx_carrot_on_plate``, ``widowx_stack_cube``,
                  ``widowx_put_eggplant_in_basket``, tasks 0 to 3; a task by name is a suite of its own, task 0
    instruction   ManiSkill's, such as "put carrot on plate"
    observation   ``observation.images.image_0`` uint8 (480, 640, 3), of the camera of the real robot, with a
                  photograph as its background; ``observation.state`` float32 (8,), SimplerEnv's ``eef_pos``: the
                  gripper's position in metres and its orientation as a quaternion (w, x, y, z), both in the
                  frame of the robot's base, and how far it is open, 0-1
    action        float32 (7,): the change of the gripper's target position in metres, and of its orientation as
                  Euler angles (XYZ) in radians; the fingers' target, -1 closed, 1 open
    episode       60 steps of 0.2 s (120 of the eggplant), then truncated. Episode *i* starts from stored state
                  *i* mod 24 (mod 64 of the eggplant): positions and orientations of both objects, so the seed
                  draws nothing that matters; SimplerEnv evaluates 24 episodes of each task
    success       as reported for the last step (``success=end``), which is SimplerEnv's rule; or for any step, which
                  ends the episode (``success=any``), which is GR00T's
    reward        0: ManiSkill has none for these tasks
    ============  ======================================================================================

    The assets are downloads of ManiSkill's, ``bridge_v2_real2sim`` and ``widowx250s``; fetch them with
    ``python -m mani_skill.utils.download_asset`` and name their folder by ``--env.assets`` if it is not the usual one.

    **Unproven**: this adapter is tested with a robot, objects and scenes that the tests make, on ManiSkill's real code.
    It was never run with the downloads, and no published number was reproduced with it.

    Sources: step limits, 5 Hz and 24 episodes are those of ``scripts/bridge.sh`` in SimplerEnv; success at the end is
    read from its ``maniskill2_evaluator.py`` and ``real2sim_eval_maniskill3.py``. The eggplant has 64 stored states in
    ManiSkill3 and 24 in the original, which runs on ManiSkill2.
    """

    name: ClassVar[str] = "simpler"
    extra: ClassVar[str] = "simpler"
    protocol: ClassVar[str] = "simpler-1"
    groups = (_GROUP,)
    distributions = ManiSkill.distributions
    draws_with_gl = False
    config_class: ClassVar[type[EnvConfig]] = SimplerConfig
    config: SimplerConfig

    def tasks(self) -> list[Task]:
        selected = dict.fromkeys(self.config.task_names() or [_GROUP])
        return [
            Task(suite, task_id, name, SCENES[name].instruction, SCENES[name].max_steps)
            for suite in selected
            for task_id, name in enumerate(_names(suite))
        ]

    def preload(self) -> None:
        preload(self.config.assets, self.config.render_backend)

    def make_env(self, task: Task) -> SimEnv:
        return SimplerEnv(task, self.config)

    def init_state_id(self, task: Task, episode_index: int) -> int | None:
        return episode_index % SCENES[task.name].n_states


def _names(suite: str) -> tuple[str, ...]:
    """Return all tasks, or the one task with this name, which may be ManiSkill's."""
    if suite == _GROUP:
        return tuple(SCENES)
    for name, scene in SCENES.items():
        if suite in (name, scene.maniskill):
            return (name,)
    raise ConfigError(f"Unknown SimplerEnv task or group '{suite}'.{did_you_mean(suite, [*SCENES, _GROUP])}")
