"""Nineteen manipulation tasks of one or two simulated arms (``robosuite`` 1.4 or 1.5, on MuJoCo)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from proctor.benchmarks.base import (
    Benchmark,
    SimEnv,
    Step,
    mujoco_state,
    require_at_least,
    require_one_of,
)
from proctor.benchmarks.robosuite.controller import compiled_functions
from proctor.benchmarks.robosuite.drawing import View, import_robosuite
from proctor.benchmarks.robosuite.simulator import CONTROL_HZ, Simulator, version_of
from proctor.benchmarks.robosuite.tasks import GROUPS, ROBOMIMIC_NAMES, TASKS, RobosuiteTask
from proctor.config import EnvConfig, comma_separated
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task

ROBOTS = ("Panda", "Sawyer", "IIWA", "Jaco", "Kinova3", "UR5e")
_OBSERVED = {
    "pixels_agent_pos": ("pixels", "agent_pos"),
    "pixels": ("pixels",),
    "environment_state_agent_pos": ("environment_state", "agent_pos"),
}
"""The parts of an observation for each ``obs_type``."""

_STATE_KEYS = ("eef_pos", "eef_quat", "gripper_qpos")
_OBJECT_KEY = "object-state"


@dataclass(frozen=True, kw_only=True)
class RobosuiteConfig(EnvConfig):
    """``--env.type=robosuite``. ``task``: Lift (the default) or other tasks of robosuite, robomimic's names lift, can,
    square, tool_hang, transport, or the groups single_arm, two_arm, robomimic; separate several with commas.
    """

    type: str = "robosuite"

    protocol: str = "ph"
    """robomimic's step limits for its proficient-human (ph) or its multi-human (mh) datasets."""

    robots: str = comma_separated("Panda")
    """The robot of every arm, or two robots with a comma: Panda, Sawyer, IIWA, Jaco, Kinova3, UR5e."""

    control_mode: str = "relative"
    """relative: an action is a change of the hand's pose; absolute: it is the pose itself."""

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos; pixels: the images alone; or environment_state_agent_pos: the objects' poses instead of
    images."""

    camera_name: str | None = comma_separated(None)
    """Cameras that a policy sees; separate several with commas. The default is those that robomimic uses for the
    task."""

    camera_name_mapping: dict[str, str] = field(default_factory=dict)
    """JSON: a policy's names of the images, such as {"agentview": "image"}; the default is the cameras' names."""

    state_keys: str | None = comma_separated(None)
    """robosuite's names of the vectors that are joined to observation.state; separate several with commas. The default
    is robot0_eef_pos,robot0_eef_quat,robot0_gripper_qpos, and the same of robot1."""

    observation_width: int | None = None
    observation_height: int | None = None
    """Size of the images a policy sees, in pixels; the default is robomimic's for the task: 240 for ToolHang, else
    84."""

    visualization_width: int = 512
    visualization_height: int = 512
    """Size of a video frame, in pixels."""

    reward_shaping: bool = False
    """true: robosuite's dense reward; false: its sparse one, which is 1 if the task is done."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("protocol", self.protocol, ("ph", "mh"))
        require_one_of("control_mode", self.control_mode, ("relative", "absolute"))
        require_one_of("obs_type", self.obs_type, _OBSERVED)
        for robot in _names(self.robots):
            require_one_of("robots", robot, ROBOTS)
        sizes = ("observation_width", "observation_height", "visualization_width", "visualization_height")
        require_at_least(1, self, *(name for name in sizes if getattr(self, name) is not None))

    def cameras(self, task: RobosuiteTask) -> tuple[str, ...]:
        """Return the names of the cameras that a policy sees in a task."""
        if "pixels" not in _OBSERVED[self.obs_type]:
            return ()
        return tuple(dict.fromkeys(_names(self.camera_name or ",".join(task.cameras))))

    def size(self, task: RobosuiteTask) -> tuple[int, int]:
        """Return width and height in pixels of the images that a policy sees in a task."""
        return self.observation_width or task.size, self.observation_height or task.size

    def robots_of(self, task: RobosuiteTask) -> list[str]:
        """Return the robot of each arm of a task.

        Raises:
            ConfigError: the configuration names more robots than the task has arms.
        """
        named = _names(self.robots)
        if len(named) not in (1, task.n_arms):
            raise ConfigError(f"env.robots names {len(named)} robots; give one, or one for each arm of the task.")
        return named * (task.n_arms // len(named))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


class RobosuiteEnv(SimEnv):
    """One robosuite task.

    robosuite's cameras are sensors that are sampled within a step, before it ends. So a step must be told in advance if
    its images are needed; images rendered after the step would show a different moment.
    """

    fps = float(CONTROL_HZ)

    def __init__(self, task: Task, config: RobosuiteConfig) -> None:
        kind = TASKS[task.name]
        _require_version(task.name, kind)
        self._config, self._max_steps, self._n_steps = config, task.max_episode_steps, 0
        cameras, size = config.cameras(kind), config.size(kind)
        self._images = {camera: f"observation.images.{config.camera_name_mapping.get(camera, camera)}"
                        for camera in cameras}  # fmt: skip
        if len(set(self._images.values())) < len(cameras):
            raise ConfigError("env.camera_name_mapping gives two images the same name; give each its own.")
        self._simulator = Simulator(
            task.name,
            config.robots_of(kind),
            View(cameras, size, self.looking),
            absolute=config.control_mode == "absolute",
            shaped_reward=config.reward_shaping,
        )
        model = self._simulator.model
        there = sorted(model.camera(i).name for i in range(model.ncam))
        for camera in cameras:
            if camera not in there:
                raise ConfigError(f"{task.name} has no camera '{camera}'.{did_you_mean(camera, there)}")
        usual = cameras[0] if cameras else kind.cameras[0]
        self.cameras = (usual, *(camera for camera in there if camera != usual))
        seen = self._simulator.vectors()
        self._state_keys = self._chosen_state(seen, kind.n_arms)
        self.observation_space = self._declared(seen, size)
        low, high = self._simulator.env.action_spec
        unbounded = np.full(low.shape, np.inf)  # an absolute action is a pose in metres and radians
        bounds = (-unbounded, unbounded) if config.control_mode == "absolute" else (low, high)
        self.action_space = Box(*(bound.astype(np.float32) for bound in bounds), dtype=np.float32)

    def _chosen_state(self, seen: Mapping[str, Array], n_arms: int) -> list[str]:
        """Return the names of the vectors in ``observation.state``; by default those of the arms and grippers."""
        usual = [f"robot{arm}_{key}" for arm in range(n_arms) for key in _STATE_KEYS]
        if self._config.state_keys is None:
            return [key for key in usual if key in seen and seen[key].size]  # some tools are no grippers
        chosen = _names(self._config.state_keys)
        for key in chosen:
            if key not in seen or not np.ndim(seen[key]) == 1:
                raise ConfigError(f"env.state_keys: robosuite has no vector '{key}'.{did_you_mean(key, seen)}")
        return chosen

    def _declared(self, seen: Mapping[str, Array], size: tuple[int, int]) -> gymnasium.spaces.Dict:
        parts = _OBSERVED[self._config.obs_type]
        image = Box(0, 255, (size[1], size[0], 3), np.uint8)
        spaces: dict[str, Any] = dict.fromkeys(self._images.values(), image)
        vectors = {"environment_state": [_OBJECT_KEY], "agent_pos": self._state_keys}
        for part, keys in vectors.items():
            if part in parts:
                n_numbers = sum(seen[key].size for key in keys)
                spaces[_FEATURES[part]] = Box(-np.inf, np.inf, (n_numbers,), np.float32)
        return gymnasium.spaces.Dict(spaces)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._n_steps = 0
        seen = self._simulator.reset(seed, look=look)
        return self._observation(seen) if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        seen, reward, done = self._simulator.step(np.asarray(action, np.float64), look=look)
        self._n_steps += 1
        success, truncated = self._simulator.succeeded(), self._n_steps >= self._max_steps
        over = success or done or truncated
        return Step(
            reward=reward,
            terminated=success or done,
            truncated=truncated,
            success=success,
            observation=self._observation(seen) if look and not over else None,
        )

    def _observation(self, seen: Mapping[str, Array]) -> Mapping[str, Array]:
        found = {name: np.ascontiguousarray(seen[f"{camera}_image"][::-1]) for camera, name in self._images.items()}
        found["observation.environment_state"] = seen[_OBJECT_KEY].astype(np.float32)
        found["observation.state"] = np.concatenate([seen[key] for key in self._state_keys]).astype(np.float32)
        return {name: found[name] for name in self.observation_space}

    def prepare_to_look(self) -> None:
        if self._images:
            self._simulator.prepare_to_look()

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        usual = self._config.visualization_width, self._config.visualization_height
        return np.ascontiguousarray(self._simulator.draw(camera or self.cameras[0], size or usual)[::-1])

    def state(self) -> Iterable[Array]:
        """MuJoCo's state, the poses of the fixtures, sizes, and what robosuite remembers of the episode."""
        simulator = self._simulator
        yield mujoco_state(simulator.model, simulator.data)
        yield simulator.model.body_pos
        yield simulator.model.body_quat
        yield simulator.model.geom_size
        yield from simulator.memory()

    def close(self) -> None:
        self._simulator.close()


_FEATURES = {"environment_state": "observation.environment_state", "agent_pos": "observation.state"}


def _require_version(name: str, task: RobosuiteTask) -> None:
    installed = version_of(import_robosuite("robosuite"))
    if installed < task.since:
        raise ConfigError(
            f"{name} is a task of robosuite {'.'.join(map(str, task.since))}, and robosuite "
            f"{'.'.join(map(str, installed))} is installed; create an environment of its own for "
            "the newer one with: proctor env create robosuite15, and add --env.python=$(proctor env path robosuite15)."
        )


class Robosuite(Benchmark):
    """The tasks of robosuite as robomimic evaluates them (``robomimic.envs.env_robosuite`` of 0.3.0).

    ============  ======================================================================================
    suite, task   ``robosuite``; the tasks of the table below, numbered in its order; there is no
                  instruction. ``lift``, ``can``, ``square``, ``tool_hang`` and ``transport`` are robomimic's
                  names; ``single_arm``, ``two_arm`` and ``robomimic`` are groups
    observation   ``observation.images.agentview`` and ``observation.images.robot0_eye_in_hand``, uint8
                  (84, 84, 3), or the task's other cameras, upright; ``observation.state`` float32 (9,):
                  the hand's position in metres, its orientation as a quaternion x, y, z, w, the positions of
                  both fingers, and the same of a second robot; with
                  ``obs_type=environment_state_agent_pos``, ``observation.environment_state`` float32, which is
                  robomimic's ``object``: what robosuite measures of the task's objects; all as of the
                  moment within the step at which robosuite samples its sensors
    action        float32 (7,) in [-1, 1] for each arm: the change of the hand's position (1 is 5 cm) and
                  orientation (1 is 0.5 rad) in the world's frame, through operational space control; the
                  gripper, -1 open, 1 closed, which arms without a gripper (``Wipe``, ``TwoArmPegInHole``) do not
                  have. With ``control_mode=absolute`` the first six are a position in metres and an axis
                  times angle, and there are no bounds
    episode       400 steps of 0.05 s, or as in the table, then truncated; the seed draws the sizes and places
                  of the objects and the arm's first posture
    success       robosuite's ``_check_success`` after this very step; ends the episode
    reward        robosuite's: 1 on success, else 0, or its dense reward with ``reward_shaping=true``
    ============  ======================================================================================

    Step limits: ``--env.protocol=ph`` is the default, and ``mh`` has robomimic's limits for its multi-human datasets.
    robomimic has no datasets of the tasks with 1000 steps, which is the limit of robosuite's constructors. ``Wipe``
    also ends, without success, when the arm reaches a joint limit or touches what it should not.

    ======================================================  ===========  ===========  ==========================
    task                                                    ``ph``       ``mh``       cameras, size
    ======================================================  ===========  ===========  ==========================
    Lift, PickPlaceCan, NutAssemblySquare                   400          500          as above
    ToolHang (robosuite 1.5)                                700          700          sideview,
                                                                                      robot0_eye_in_hand, 240
    TwoArmTransport (robosuite 1.5)                         700          1100         shouldercamera0,
                                                                                      robot0_eye_in_hand,
                                                                                      shouldercamera1,
                                                                                      robot1_eye_in_hand, 84
    Stack, PickPlace, PickPlaceSingle, PickPlaceMilk,       1000         1000         as above
    PickPlaceBread, PickPlaceCereal, NutAssembly,
    NutAssemblySingle, NutAssemblyRound, Door, Wipe
    TwoArmLift, TwoArmPegInHole, TwoArmHandover             1000         1000         agentview,
                                                                                      robot0_eye_in_hand,
                                                                                      robot1_eye_in_hand, 84
    ======================================================  ===========  ===========  ==========================

    robosuite 1.4.0 and 1.5.2 were tested. Their physics, their images and the order of the numbers in
    ``observation.environment_state`` differ, so a policy should be evaluated with the version of its dataset; the
    version is in the fingerprint. In both, the controller is that of robomimic's datasets: ``osc_pose.json`` of
    robosuite 1.4, stiffness 150, damping ratio 1, 20 Hz; version 1.5 runs it with ``lite_physics=False``, as robosuite
    advises for datasets of version 1.4.

    robosuite's licence is MIT. Version 1.4.0 takes 590 MB of disk, version 1.5.2 530 MB, its environment 1.3 GB.

    Differences from robomimic, all deliberate: each episode depends on its seed alone (robomimic seeds once for all
    episodes); nothing is rendered that no policy sees; ``episode_length`` can shorten an episode, not prolong it.
    """

    name: ClassVar[str] = "robosuite"
    extra: ClassVar[str] = "robosuite"
    needs_gl = True
    protocol: ClassVar[str] = "robosuite-1"
    groups = tuple(GROUPS)
    distributions = ("gymnasium", "mujoco", "numba", "numpy", "robosuite", "scipy")
    worker_memory_mb = 550
    config_class: ClassVar[type[EnvConfig]] = RobosuiteConfig
    config: RobosuiteConfig

    def tasks(self) -> list[Task]:
        numbers = {name: number for number, name in enumerate(TASKS)}
        named = dict.fromkeys(name for given in self.config.task_names() or ["Lift"] for name in _tasks_named(given))
        for name in named:
            self.config.robots_of(TASKS[name])
        return [
            Task("robosuite", numbers[name], name, "", TASKS[name].max_steps(self.config.protocol)) for name in named
        ]

    def preload(self) -> None:
        if version_of(import_robosuite("robosuite")) < (1, 5):
            compiled_functions()  # forked workers need not load or compile them

    def make_env(self, task: Task) -> SimEnv:
        return RobosuiteEnv(task, self.config)


def _tasks_named(given: str) -> tuple[str, ...]:
    if given in GROUPS:
        return GROUPS[given]
    name = ROBOMIMIC_NAMES.get(given, given)
    if name not in TASKS:
        known = (*TASKS, *ROBOMIMIC_NAMES, *GROUPS)
        raise ConfigError(f"Unknown robosuite task '{given}'.{did_you_mean(given, known)}")
    return (name,)
