"""ManiSkill3: manipulation by simulated arms and hands (``mani-skill``, on SAPIEN's PhysX, drawn with Vulkan)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from proctor.benchmarks.base import Benchmark, SimEnv, Step, require_image_sizes, require_one_of
from proctor.benchmarks.maniskill.package import preload
from proctor.benchmarks.maniskill.simulator import Simulator, flat
from proctor.benchmarks.maniskill.tasks import GROUPS, MAX_STEPS, NEEDED, TEXTURES
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task

STATES = ("qpos", "agent", "agent_extra", "none")
RENDER_BACKENDS = ("cpu", "gpu")


@dataclass(frozen=True, kw_only=True)
class ManiSkillConfig(EnvConfig):
    """``--env.type=maniskill``. ``task``: ids (``PickCube-v1,StackCube-v1``) or groups (``tabletop``), with commas."""

    type: str = "maniskill"

    control_mode: str | None = None
    """How actions are meant, such as pd_joint_delta_pos or pd_ee_delta_pose; the default is the task's own, mostly
    pd_joint_delta_pos."""

    state: str = "qpos"
    """What observation.state contains: qpos (joint positions), agent (and joint velocities), agent_extra (and what the
    task tells besides, such as a goal that no camera shows: the state of ManiSkill's own baselines), or none."""

    observation_width: int | None = None
    observation_height: int | None = None
    """Size of the images a policy sees, in pixels; the default is the task's own, mostly 128 x 128."""

    visualization_width: int | None = None
    visualization_height: int | None = None
    """Size of a video frame, in pixels; the default is the task's own, mostly 512 x 512."""

    render_backend: str = "cpu"
    """Kind of Vulkan device that draws: cpu (Mesa's lavapipe, which needs no GPU), or gpu."""

    assets: str | None = None
    """Folder that contains ManiSkill's folder data, with downloads that some tasks need; the default is the one that
    MS_ASSET_DIR names, else ~/.maniskill."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("state", self.state, STATES)
        require_one_of("render_backend", self.render_backend, RENDER_BACKENDS)
        require_image_sizes(self)


class ManiSkillEnv(SimEnv):
    """One ManiSkill task."""

    def __init__(self, task: Task, config: ManiSkillConfig) -> None:
        self._config, self._max_steps, self._n_steps = config, task.max_episode_steps, 0
        control = {} if config.control_mode is None else {"control_mode": config.control_mode}
        self._simulator = Simulator(
            task.name,
            assets=config.assets,
            needed=NEEDED.get(task.name, ()),
            obs_mode=TEXTURES.get(task.name, "rgb"),
            render_backend=config.render_backend,
            sensor_configs=_size(config.observation_width, config.observation_height),
            human_render_camera_configs=_size(config.visualization_width, config.visualization_height),
            **control,
        )
        self.fps = self._simulator.control_frequency
        self.cameras = self._simulator.video_cameras
        self.action_space = self._simulator.action_space
        images = self._simulator.cameras
        spaces: dict[str, Any] = {_image(name): Box(0, 255, shape, np.uint8) for name, shape in images.items()}
        if config.state != "none":
            spaces["observation.state"] = Box(
                -np.inf, np.inf, self._state(self._simulator.first_sensed).shape, np.float32
            )
        self.observation_space = gymnasium.spaces.Dict(spaces)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._n_steps = 0
        self._simulator.reset(seed)
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        outcome = self._simulator.step(action)
        self._n_steps += 1
        truncated = self._n_steps >= self._max_steps
        return Step(
            reward=outcome.reward,
            terminated=outcome.terminated,
            truncated=truncated,
            success=outcome.success,
            observation=self._observe() if look and not (outcome.terminated or truncated) else None,
        )

    def _observe(self) -> Mapping[str, Array]:
        with self.looking():
            seen = {_image(name): image for name, image in self._simulator.images().items()}
        if self._config.state != "none":
            seen["observation.state"] = self._state(self._simulator.sensed(extra=self._config.state == "agent_extra"))
        return seen

    def _state(self, sensed: Mapping[str, Any]) -> Array:
        agent = sensed["agent"]
        if self._config.state == "qpos":
            robots = [agent] if "qpos" in agent else agent.values()  # of several robots, each has its own
            return flat({str(i): robot["qpos"] for i, robot in enumerate(robots)})
        return flat(agent if self._config.state == "agent" else {"agent": agent, "extra": sensed["extra"]})

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        return self._simulator.draw(camera or self.cameras[0])

    def state(self) -> Iterable[Array]:
        """Poses and velocities of all bodies, and the positions and velocities of the robots' joints."""
        return self._simulator.state()

    def close(self) -> None:
        self._simulator.close()


def _size(width: int | None, height: int | None) -> dict[str, int]:
    """Return the sides of an image that differ from the task's own, as ManiSkill's cameras take them."""
    return {side: pixels for side, pixels in (("width", width), ("height", height)) if pixels is not None}


def _image(camera: str) -> str:
    return f"observation.images.{camera}"


class ManiSkill(Benchmark):
    """Tasks of ManiSkill3 on the CPU's physics, as ``gym.make`` makes them (``mani_skill`` 3.0.1).

    ============  ======================================================================================
    suite, task   a group is a suite whose tasks are numbered in it; a task by name is a suite of its own, task 0.
                  Twenty tasks need no download and are in the groups ``tabletop``, ``digital_twins``,
                  ``drawing``, ``dexterity`` and ``fmb``; the others are in groups such as ``assets:ycb``
    instruction   none: ManiSkill has no sentences for them
    observation   of ``PickCube-v1``: ``observation.images.base_camera`` uint8 (128, 128, 3), and
                  ``observation.state`` float32 (9,), the positions of the joints in rad and of the fingers in
                  metres. Other robots have as many numbers as joints, other tasks more cameras, such as
                  ``hand_camera``, at their own sizes
    action        of ``PickCube-v1``: float32 (8,) in [-1, 1], with ``pd_joint_delta_pos`` the changes of seven
                  joints (1 is 0.1 rad) and the gripper, -1 closed, 1 open; other robots and control modes
                  have their own. Those of two robots follow one another
    episode       50 steps of 0.05 s in ``PickCube-v1``; the others have 50 to 500, as ManiSkill registers them.
                  Then truncated; the seed draws objects, goals and the robot's pose
    success       ``info["success"]`` after this very step; ends the episode, and so does ManiSkill's ``fail``
    reward        ManiSkill's usual one: in most tasks dense and at most 1, in others sparse or 0
    ============  ======================================================================================

    In ``PickCube-v1`` and a few others the goal is in no image, so that a policy can know it only by
    ``--env.state=agent_extra``: the joints' positions and velocities and what the task tells besides, such as
    ``goal_pos``, in the order of ManiSkill's ``FlattenRGBDObservationWrapper``, which its own baselines use.

    **Drawing** needs Vulkan: Mesa 24.3 or newer, which draws on the CPU (``--env.render_backend=cpu``, the default), or
    a GPU's driver (``gpu``, which is untested). Debian 12 has an older Mesa: ``proctor doctor`` says what to do.

    **Downloads**: a task that needs files which are missing ends with a sentence that says how to fetch them; nothing
    is downloaded, and no question is asked. The tasks with downloads were never run with this adapter.

    **Licence**: ManiSkill's code has Apache-2.0; its robots, objects and scenes have CC BY-NC 4.0, which allows no
    commercial use. It takes 0.5 GB on the disk, without torch.

    Differences from ManiSkill, all deliberate: each episode equals, to the bit, the same episode as the first one of a
    new environment (ManiSkill's may differ in their contacts, so each reset builds the scene anew, for 25 ms); images
    are drawn only if a policy looks, which changes neither states nor images; random numbers that a task draws while it
    steps follow from the episode's seed (``SO100GraspCube-v1`` moves its camera by them; ManiSkill does not seed them).
    """

    name: ClassVar[str] = "maniskill"
    extra: ClassVar[str] = "maniskill"
    protocol: ClassVar[str] = "maniskill-1"
    groups = tuple(GROUPS)
    distributions = ("gymnasium", "mani-skill", "numpy", "pytorch-kinematics", "sapien", "torch")
    draws_with_gl = False
    worker_memory_mb = 600  # 430 with one camera, about 700 with three
    config_class: ClassVar[type[EnvConfig]] = ManiSkillConfig
    config: ManiSkillConfig

    def tasks(self) -> list[Task]:
        selected = dict.fromkeys(self.config.task_names())
        if not selected:
            raise ConfigError(
                "maniskill needs --env.task: tasks such as PickCube-v1, or groups: "
                f"{', '.join(GROUPS)}; separate several with commas."
            )
        return [
            Task(suite, task_id, name, "", MAX_STEPS[name])
            for suite in selected
            for task_id, name in enumerate(_names(suite))
        ]

    def preload(self) -> None:
        preload(self.config.assets, self.config.render_backend)

    def make_env(self, task: Task) -> SimEnv:
        return ManiSkillEnv(task, self.config)


def _names(suite: str) -> tuple[str, ...]:
    """Return the tasks of a group, or the one task with this name."""
    if suite in GROUPS:
        return GROUPS[suite]
    if suite in MAX_STEPS:
        return (suite,)
    raise ConfigError(f"Unknown ManiSkill task or group '{suite}'.{did_you_mean(suite, [*MAX_STEPS, *GROUPS])}")
