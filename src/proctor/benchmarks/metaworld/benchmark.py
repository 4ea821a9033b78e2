"""Meta-World: fifty tabletop tasks of a simulated Sawyer arm (``metaworld``, on MuJoCo)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
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
from proctor.benchmarks.metaworld.shortcuts import one_goal, take_shortcuts
from proctor.benchmarks.metaworld.tasks import GROUPS, INSTRUCTIONS
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task

CAMERAS = ("corner", "corner2", "corner3", "corner4", "topview", "behindGripper", "gripperPOV")
"""Meta-World's cameras. Given any other name, its renderer would silently use a free camera."""


@dataclass(frozen=True, kw_only=True)
class MetaWorldConfig(EnvConfig):
    """``--env.type=metaworld``. ``task``: names (``reach-v3,push-v3``) or groups (``easy``, ``MT10``), with commas."""

    type: str = "metaworld"

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos, or pixels: the image alone."""

    camera_name: str = "corner2"
    """Camera that a policy sees: corner, corner2, corner3, corner4, topview, behindGripper or gripperPOV."""

    observation_width: int = 480
    observation_height: int = 480
    """Size of the image a policy sees, in pixels."""

    visualization_width: int = 640
    visualization_height: int = 480
    """Size of a video frame, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("obs_type", self.obs_type, ("pixels_agent_pos", "pixels"))
        require_one_of("camera_name", self.camera_name, CAMERAS)
        require_image_sizes(self)


class MetaWorldEnv(SimEnv):
    """One Meta-World task.

    Meta-World never renders inside ``step``, and its GL context is created by the first rendering.
    """

    fps = 80.0
    cameras = CAMERAS

    def __init__(self, task: Task, config: MetaWorldConfig) -> None:
        metaworld = import_simulator("metaworld", "metaworld")
        self._task_name, self._config = task.name, config
        self._env = _build(metaworld, task, config)
        take_shortcuts(self._env)
        self._fresh = _Restorable(self._env.model, self._env.data)
        self._raw: Array  # Meta-World's own observation, float64 (39,): hand, gripper, objects, the same before, goal
        spaces = {
            "observation.image": Box(0, 255, (config.observation_height, config.observation_width, 3), np.uint8),
            "observation.state": Box(-1000, 1000, (4,), np.float64),
        }
        if config.obs_type == "pixels":
            del spaces["observation.state"]
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = Box(-1, 1, (4,), np.float32)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        self._fresh.restore()
        self._env.seed(seed)  # `reset` ignores its own seed
        self._raw, _ = self._env.reset()
        return self._observe() if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        self._raw, reward, _, truncated, info = self._env.step(np.asarray(action, np.float32))
        success = bool(info["success"])
        return Step(
            reward=float(reward),
            terminated=success,
            truncated=bool(truncated),
            success=success,
            observation=self._observe() if look and not (success or truncated) else None,
        )

    def _observe(self) -> Mapping[str, Array]:
        with self.looking():
            image = self._draw(self._config.observation_width, self._config.observation_height)
        seen = {"observation.image": image, "observation.state": self._raw[:4].copy()}
        return {key: seen[key] for key in self.observation_space}

    def prepare_to_look(self) -> None:
        self._env.mujoco_renderer._get_viewer("rgb_array")  # noqa: SLF001 - a draw would do it too, for 0.15 s

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        config = self._config
        return self._draw(*(size or (config.visualization_width, config.visualization_height)), camera)

    def _draw(self, width: int, height: int, camera: str | None = None) -> Array:
        """Render a camera's view. One GL context serves all sizes; only the part of it that is used changes."""
        camera = camera or self._config.camera_name
        renderer = self._env.mujoco_renderer
        self._make_room(width, height)
        renderer.width, renderer.height = width, height
        if renderer.viewer is not None:
            renderer.viewer.viewport.width, renderer.viewer.viewport.height = width, height
        usual, renderer.camera_id = renderer.camera_id, self._env.model.camera(camera).id
        try:
            image = self._env.render()
        finally:
            renderer.camera_id = usual
        if camera == "corner2":  # this camera is mounted upside down
            image = np.flip(image, (0, 1))
        return np.ascontiguousarray(image)

    def _make_room(self, width: int, height: int) -> None:
        """Make the frame buffer large enough for an image of this size."""
        room, renderer = self._env.model.vis.global_, self._env.mujoco_renderer
        if width > room.offwidth or height > room.offheight:
            _free_drawing(renderer)
            renderer.close()
            renderer._viewers.clear()  # noqa: SLF001 - it has no other way to make a new one
            renderer.viewer = None
            room.offwidth, room.offheight = max(width, room.offwidth), max(height, room.offheight)

    def state(self) -> Iterable[Array]:
        """MuJoCo's state, and everything a reset draws: positions of bodies and sites of the model, and the goal."""
        model = self._env.model
        return mujoco_state(model, self._env.data), model.body_pos, model.site_pos, self._env._last_rand_vec  # noqa: SLF001

    def expert_action(self) -> Array:
        """Return the action of Meta-World's scripted policy, float32 (4,) in [-1, 1]. It reads the true poses."""
        action: Array = np.clip(self._expert.get_action(self._raw), -1, 1).astype(np.float32)
        return action

    @cached_property
    def _expert(self) -> Any:
        policies = import_simulator("metaworld.policies", "metaworld")
        # The policy warns of actions beyond [-1, 1], which are clipped above.
        warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high", module=r"metaworld\.")
        return policies.ENV_POLICY_MAP[self._task_name]()

    def close(self) -> None:
        _free_drawing(self._env.mujoco_renderer)
        self._env.close()


def _free_drawing(renderer: Any) -> None:
    """Free MuJoCo's rendering resources while their own GL context is current.

    Gymnasium leaves this to the garbage collector. The resources would then be freed by number in whichever context is
    current: that of the next simulator, whose resources have the same numbers, and which would render black from then
    on.
    """
    for viewer in renderer._viewers.values():  # noqa: SLF001 - it does not show them otherwise
        viewer.make_context_current()
        viewer.con.free()


def _build(metaworld: Any, task: Task, config: MetaWorldConfig) -> Any:
    """Construct the environment step by step as LeRobot does, so that its first episode is LeRobot's to the bit."""
    with one_goal(metaworld):  # the first of the 50 is used
        benchmark = metaworld.MT1(task.name, seed=42)
    env = benchmark.train_classes[task.name](
        render_mode="rgb_array",
        camera_name=config.camera_name,
        width=max(config.observation_width, config.visualization_width),
        height=max(config.observation_height, config.visualization_height),
    )
    env.set_task(benchmark.train_tasks[0])
    env.model.camera("corner2").pos = [0.75, 0.075, 0.7]
    env.reset()
    env._freeze_rand_vec = False  # noqa: SLF001 - else every episode has the task's own object and goal positions
    env.seeded_rand_vec = True  # draw them from the generator that `seed` seeds
    env.max_path_length = task.max_episode_steps
    return env


class _Restorable:
    """The state of a new environment, as far as the next episode can depend on it.

    Meta-World's ``reset`` runs the task's reset twice, and the first run starts from the state in which the last
    episode ended. The second run begins with MuJoCo's own reset and is clean. But the positions that the first run
    wrote into the model are shown in images until the physics is stepped, and some tasks derive them from the
    simulation: in ``push-v3`` and ``push-back-v3`` the goal marker in an episode's first image moves by micrometres,
    depending on the episode before. So the simulation, and everything that tasks write to the model (positions of
    bodies and sites, in all fifty), is restored first.
    """

    def __init__(self, model: Any, data: Any) -> None:
        self._model, self._data = model, data
        self._state = mujoco_state(model, data)
        self._body_pos, self._site_pos = model.body_pos.copy(), model.site_pos.copy()

    def restore(self) -> None:
        set_mujoco_state(self._model, self._data, self._state)
        self._model.body_pos[:], self._model.site_pos[:] = self._body_pos, self._site_pos


class MetaWorld(Benchmark):
    """Meta-World v3 as LeRobot runs it (``lerobot.envs.metaworld`` of 0.6.1).

    ============  ======================================================================================
    suite, task   a group (``easy``, ``medium``, ``hard``, ``very_hard``; here also ``MT10``, ``MT50``) is a
                  suite whose tasks are numbered in it; a task by name is a suite of its own, task 0
    instruction   a sentence per task (``metaworld/tasks.py``)
    observation   ``observation.image`` uint8 (480, 480, 3) of camera ``corner2``, moved to (0.75, 0.075, 0.7)
                  and flipped on both axes; ``observation.state`` float64 (4,): hand position in metres,
                  gripper opening in 0-1
    action        float32 (4,) in [-1, 1]: the displacement of the hand's target, in centimetres; gripper
                  effort
    episode       500 steps of 1/80 s, then truncated; the seed draws objects and goal
    success       as reported by Meta-World for the very step; ends the episode
    reward        Meta-World's (v2) dense reward, 0-10
    ============  ======================================================================================

    The image of a reset is not reliable, here as in LeRobot: in 30 of the 50 tasks it visibly differs from the true
    scene. Goal markers, and in some tasks the drawer, window, lever, dial, coffee machine or peg's box themselves, are
    shown up to 20 cm away from their true positions: ``reset`` runs the task's reset twice and moves them after MuJoCo
    last computed positions, so the image shows them where the first run put them. From the first step on, images are
    right. LeRobot shows the same images, so they are part of the protocol.

    Differences from LeRobot, all deliberate: each episode equals, to the bit, the same episode as the first one of a
    fresh process (LeRobot's first images depend on the episode before, and a success starts an extra episode);
    ``observation_width`` and ``observation_height`` have an effect; ``episode_length`` can shorten an episode, not
    prolong it (LeRobot's is ignored). LeRobot before 0.6.1 also ignores the seed.
    """

    name: ClassVar[str] = "metaworld"
    extra: ClassVar[str] = "metaworld"
    needs_gl = True
    protocol: ClassVar[str] = "metaworld-1"
    groups = tuple(GROUPS)
    distributions = ("gymnasium", "metaworld", "mujoco", "numpy")
    worker_memory_mb = 300
    config_class: ClassVar[type[EnvConfig]] = MetaWorldConfig
    config: MetaWorldConfig

    def tasks(self) -> list[Task]:
        selected = dict.fromkeys(name.removeprefix("metaworld-") for name in self.config.task_names())
        if not selected:
            raise ConfigError(
                "metaworld needs --env.task: tasks such as reach-v3, or groups: "
                f"{', '.join(GROUPS)}; separate several with commas."
            )
        return [
            Task(suite, task_id, name, INSTRUCTIONS[name], 500)
            for suite in selected
            for task_id, name in enumerate(_names(suite))
        ]

    def preload(self) -> None:
        import_simulator("metaworld", "metaworld")

    def make_env(self, task: Task) -> SimEnv:
        return MetaWorldEnv(task, self.config)


def _names(suite: str) -> tuple[str, ...]:
    """Return the tasks of a group, or the one task with this name."""
    if suite in INSTRUCTIONS:
        return (suite,)
    if suite in GROUPS:
        return GROUPS[suite]
    raise ConfigError(f"Unknown Meta-World task or group '{suite}'.{did_you_mean(suite, [*INSTRUCTIONS, *GROUPS])}")
