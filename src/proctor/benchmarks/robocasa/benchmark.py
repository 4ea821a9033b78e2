"""RoboCasa365: household tasks of a mobile Panda arm in simulated kitchens (``robocasa``, on robosuite and MuJoCo)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from proctor.benchmarks.robocasa.package import read_registry, require_assets
from proctor.benchmarks.robosuite.drawing import View, create_context, draw_on_demand, import_robosuite
from proctor.benchmarks.robosuite.simulator import seed_everything
from proctor.config import EnvConfig, comma_separated
from proctor.errors import ConfigError, did_you_mean
from proctor.types import INSTRUCTION, Array, Task

CAMERAS = ("robot0_agentview_left", "robot0_eye_in_hand", "robot0_agentview_right")
_SPLITS = ("all", "pretrain", "target")
_GROUP_SPLITS = {
    "atomic_seen": "target",
    "composite_seen": "target",
    "composite_unseen": "target",
    "pretrain50": "pretrain",
    "pretrain100": "pretrain",
    "pretrain200": "pretrain",
    "pretrain300": "pretrain",
}
"""LeRobot's groups of tasks, and the kitchens and objects that it uses for each."""

_STATE = {
    "base_position": 3,
    "base_rotation": 4,
    "end_effector_position_relative": 3,
    "end_effector_rotation_relative": 4,
    "gripper_qpos": 2,
}
"""robocasa's names of the parts of ``observation.state``, and how many numbers each has."""

_ACTION = {
    "base_motion": slice(0, 4),
    "control_mode": slice(4, 5),
    "end_effector_position": slice(5, 8),
    "end_effector_rotation": slice(8, 11),
    "gripper_close": slice(11, 12),
}
"""robocasa's names of the parts of an action, and the places that LeRobot gives them."""

_LONGEST_INSTRUCTION = 1024
"""Bytes. robocasa declares 256 characters."""


@dataclass(frozen=True, kw_only=True)
class RoboCasaConfig(EnvConfig):
    """``--env.type=robocasa``. ``task``: CloseFridge (the default) or other tasks of robocasa, or a group: atomic_seen,
    composite_seen, composite_unseen, pretrain50, pretrain100, pretrain200, pretrain300; separate several with commas.
    """

    type: str = "robocasa"

    split: str | None = None
    """Kitchens and objects: all, pretrain or target; the default is that of the task's group, else all."""

    obj_registries: list[str] = field(default_factory=lambda: ["lightwheel"])
    """JSON: the collections of objects that are installed: lightwheel, objaverse, aigen."""

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos, or pixels: the images alone."""

    camera_name: str = comma_separated(",".join(CAMERAS))
    """Cameras that a policy sees; separate several with commas."""

    observation_width: int = 256
    observation_height: int = 256
    """Size of the images a policy sees, in pixels."""

    visualization_width: int = 512
    visualization_height: int = 512
    """Size of a video frame, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split is not None:
            require_one_of("split", self.split, _SPLITS)
        require_one_of("obs_type", self.obs_type, ("pixels_agent_pos", "pixels"))
        require_image_sizes(self)
        for camera in self.cameras():
            require_one_of("camera_name", camera, CAMERAS)

    def cameras(self) -> tuple[str, ...]:
        """Return the names of the cameras that a policy sees.

        Raises:
            ConfigError: there is no name.
        """
        names = tuple(dict.fromkeys(name.strip() for name in self.camera_name.split(",") if name.strip()))
        if not names:
            raise ConfigError(f"env.camera_name is empty; it must be some of {', '.join(CAMERAS)}.")
        return names

    def split_of(self, group: str | None) -> str:
        """Return the split of a task that was named by itself (None) or by a group."""
        return self.split or _GROUP_SPLITS.get(group or "", "all")


class RoboCasaEnv(SimEnv):
    """One task in kitchens of a split; each reset draws a kitchen, its furniture and its objects.

    It uses robocasa's own Gymnasium environment, as LeRobot does, around a kitchen that renders only on demand.
    """

    fps = 20.0
    cameras = CAMERAS

    def __init__(self, task: Task, config: RoboCasaConfig, split: str) -> None:
        require_assets(config.obj_registries)
        import_robosuite("")
        import_simulator("robocasa", "")
        self._config, self._n_steps, self._max_steps = config, 0, task.max_episode_steps
        self._size = config.observation_width, config.observation_height
        with _drawn_on_demand(task.name, View(CAMERAS, self._size, self.looking)):
            self._env = import_simulator("robocasa.wrappers.gym_wrapper", "").RoboCasaGymEnv(
                env_name=task.name,
                camera_widths=self._size[0],
                camera_heights=self._size[1],
                split=split,
                obj_registries=tuple(config.obj_registries),
            )
        self._kitchen: Any = self._env.env
        image = Box(0, 255, (config.observation_height, config.observation_width, 3), np.uint8)
        spaces: dict[str, Any] = {f"observation.images.{camera}": image for camera in config.cameras()}
        if config.obs_type == "pixels_agent_pos":
            spaces["observation.state"] = Box(-np.inf, np.inf, (sum(_STATE.values()),), np.float32)
        spaces[INSTRUCTION] = Box(0, 255, (_LONGEST_INSTRUCTION,), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = Box(-1, 1, (12,), np.float32)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._n_steps = 0
        seed_everything(self._kitchen, seed)
        seen, _ = self._env.reset()  # with a seed it would replace the generator, which samplers may have kept
        if not look:
            return None
        with self.looking():
            images = {f"video.{camera}": self._draw(camera, self._size) for camera in self._config.cameras()}
        return self._observation({**seen, **images})

    def step(self, action: Array, *, look: bool) -> Step:
        parts = np.asarray(action, np.float32)
        if look:
            with self.looking():
                self.prepare_to_look()
        self._kitchen.drawing = look
        try:
            seen, reward, done, _, info = self._env.step({f"action.{name}": parts[at] for name, at in _ACTION.items()})
        finally:
            self._kitchen.drawing = False
        self._n_steps += 1
        success, truncated = bool(info["success"]), self._n_steps >= self._max_steps
        over = success or bool(done) or truncated
        return Step(
            reward=float(reward),
            terminated=success or bool(done),
            truncated=truncated,
            success=success,
            observation=self._observation(seen) if look and not over else None,
        )

    def _observation(self, seen: Mapping[str, Any]) -> Mapping[str, Array]:
        found = {f"observation.images.{camera}": seen[f"video.{camera}"] for camera in self._config.cameras()}
        found["observation.state"] = np.concatenate([seen[f"state.{name}"] for name in _STATE]).astype(np.float32)
        sentence = str(seen["annotation.human.task_description"]).encode()[:_LONGEST_INSTRUCTION]
        found[INSTRUCTION] = np.frombuffer(sentence.ljust(_LONGEST_INSTRUCTION, b"\0"), np.uint8)
        return {name: found[name] for name in self.observation_space}

    def prepare_to_look(self) -> None:
        if self._kitchen.sim._render_context_offscreen is None:  # noqa: SLF001 - robosuite asks so itself
            create_context(self._kitchen.sim)

    def _draw(self, camera: str, size: tuple[int, int]) -> Array:
        self.prepare_to_look()
        image = self._kitchen.sim.render(camera_name=camera, width=size[0], height=size[1])
        return np.ascontiguousarray(image[::-1])

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        usual = self._config.visualization_width, self._config.visualization_height
        return self._draw(camera or CAMERAS[0], size or usual)

    def state(self) -> Iterable[Array]:
        """MuJoCo's state, and the poses of the furniture."""
        sim = self._kitchen.sim
        yield mujoco_state(sim.model._model, sim.data._data)  # noqa: SLF001 - robosuite has no public names
        yield sim.model.body_pos
        yield sim.model.body_quat

    def close(self) -> None:
        self._env.close()


@contextmanager
def _drawn_on_demand(task: str, view: View) -> Iterator[None]:
    """Let robosuite make a task's environment of a class that renders on demand.

    Raises:
        ConfigError: robocasa does not have the task.
    """
    registered = import_simulator("robosuite.environments.base", "").REGISTERED_ENVS
    if task not in registered:
        raise ConfigError(f"Unknown RoboCasa task '{task}'.{did_you_mean(task, registered)}")
    usual = registered[task]
    registered[task] = draw_on_demand(usual, view)
    try:
        yield
    finally:
        registered[task] = usual


class RoboCasa(Benchmark):
    """RoboCasa365 as LeRobot runs it (``lerobot.envs.robocasa`` of 0.6.1).

    ============  ======================================================================================
    suite, task   ``robocasa``; the tasks that the installed package registers, numbered in the given order;
                  ``atomic_seen``, ``composite_seen``, ``composite_unseen`` and ``pretrain50`` to ``pretrain300`` are
                  groups
    instruction   the sentence that robocasa makes for each episode; it names the objects that the seed drew
    observation   ``observation.images.robot0_agentview_left``, ``observation.images.robot0_eye_in_hand`` and
                  ``observation.images.robot0_agentview_right``, uint8 (256, 256, 3), upright;
                  ``observation.state`` float32 (16,): position and orientation of the base, position and
                  orientation of the hand relative to the base, positions of both fingers
    action        float32 (12,) in [-1, 1]: motion of the base (4), whether base or arm moves (1), change of the
                  hand's position (3) and orientation (3), gripper (1)
    episode       the step limit that robocasa registers for the task, in steps of 0.05 s, then truncated; the
                  seed draws the kitchen, its furniture and its objects
    success       robocasa's ``_check_success`` after this very step; ends the episode
    reward        1 on success, else 0
    ============  ======================================================================================

    Unproven: robocasa's 3D models (about 10 GB) were not available where Proctor is tested, so no kitchen has been
    built. Tested are the tasks, groups and limits of robocasa 1.0.1, the refusal if models are missing, and
    observations, actions, looks and seeds with robocasa's own wrapper around a scene of robosuite.

    Step limits depend on the version of the package: those of rlinf-robocasa365 1.0.1 are one and a half times those
    of praxis-robocasa 1.0.0. The version is in the fingerprint. robosuite 1.5.2 from PyPI cannot build kitchens; it
    lacks ``load_model_on_init``, which praxis-robosuite 1.5.2.post1 has.

    robocasa's licence is MIT, that of its 3D models CC BY 4.0. The models take about 10 GB of disk.

    Differences from LeRobot, all deliberate: nothing is rendered that no policy sees, success does not reset the
    environment inside the step, numpy's global generator is seeded too, and ``episode_length`` can shorten an episode,
    not prolong it, unless robocasa registers no limit for the task.
    """

    name: ClassVar[str] = "robocasa"
    extra: ClassVar[str] = ""  # its robosuite is not LIBERO's
    needs_gl = True
    protocol: ClassVar[str] = "robocasa-1"
    distributions = (
        "gymnasium",
        "mujoco",
        "numpy",
        "praxis-robocasa",
        "praxis-robosuite",
        "rlinf-robocasa365",
        "robocasa",
        "robosuite",
    )
    config_class: ClassVar[type[EnvConfig]] = RoboCasaConfig
    config: RoboCasaConfig

    def tasks(self) -> list[Task]:
        return [
            Task("robocasa", number, name, "", limit) for number, (name, limit) in enumerate(self._selected().items())
        ]

    def _selected(self) -> dict[str, int]:
        """Return the step limit of each task that the configuration names."""
        registry = read_registry()
        selected: dict[str, int] = {}
        for given in self.config.task_names() or ["CloseFridge"]:
            for name in registry.groups.get(given, (given,)):
                limit = registry.horizons.get(name, self.config.episode_length)
                if limit is None:
                    known = (*registry.horizons, *registry.groups)
                    raise ConfigError(
                        f"RoboCasa registers no step limit for a task '{name}'; give --env.episode_length if there is "
                        f"such a task.{did_you_mean(name, known)}"
                    )
                selected[name] = limit
        return selected

    def make_env(self, task: Task) -> SimEnv:
        return RoboCasaEnv(task, self.config, self._split_of(task.name))

    def _split_of(self, task: str) -> str:
        """Return the split of a task: that of the first group in ``env.task`` that contains it."""
        groups = read_registry().groups
        named = self.config.task_names()
        group = next((name for name in named if task in groups.get(name, ())), None)
        return self.config.split_of(None if task in named else group)
