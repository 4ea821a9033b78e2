"""HIL: a simulated Panda arm that picks up a cube or arranges boxes (``gym-hil``, on MuJoCo)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
from proctor.errors import ConfigError, MissingExtraError, did_you_mean
from proctor.types import Array, Task

TASKS = ("PandaPickCube-v0", "PandaArrangeBoxes-v0", "PandaPickCubeBase-v0", "PandaArrangeBoxesBase-v0")
CAMERAS = ("front", "wrist")
_OBSERVED = {
    "pixels_agent_pos": ("pixels", "agent_pos"),
    "pixels": ("pixels",),
    "environment_state_agent_pos": ("environment_state", "agent_pos"),
}
"""The parts of an observation for each ``obs_type``."""


@dataclass(frozen=True, kw_only=True)
class HilConfig(EnvConfig):
    """``--env.type=hil``. ``task``: PandaPickCube-v0 (the default), PandaArrangeBoxes-v0, or the same with Base,
    whose actions have seven numbers; separate several with commas.
    """

    type: str = "hil"

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos; pixels: the images alone; or environment_state_agent_pos: the cube's position in place of
    images."""

    random_block_position: bool = False
    """true: the seed draws the place of the cube in PandaPickCube; false: the cube always begins at the same place."""

    observation_width: int = 128
    observation_height: int = 128
    """Size of the images a policy sees, in pixels."""

    visualization_width: int = 512
    visualization_height: int = 512
    """Size of a video frame, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("obs_type", self.obs_type, _OBSERVED)
        require_image_sizes(self)


class HilEnv(SimEnv):
    """One gym-hil simulator.

    gym-hil observes as its ``image_obs`` says, which is read in every step. Here it is false, and images are rendered
    after the step, of the same state, if a policy needs them. The GL contexts are made when they are first needed:
    gym-hil's constructor would make one and render.
    """

    fps = 10.0
    cameras = CAMERAS

    def __init__(self, task: Task, config: HilConfig) -> None:
        _require_gym_hil()
        self._config = config
        own: dict[str, Any] = (
            {"random_block_position": True} if config.random_block_position and "PickCube" in task.name else {}
        )
        if not task.name.endswith("Base-v0"):
            own["reset_delay_seconds"] = 0.0  # its wrapper sleeps at every reset, for a human's sake
        with _without_gl():
            self._env = gymnasium.make(
                f"gym_hil/{task.name}", max_episode_steps=task.max_episode_steps, disable_env_checker=True, **own
            )
        self._sim: Any = self._env.unwrapped
        self._renderers: dict[tuple[int, int], Any] = {}
        if "PickCube" in task.name and not config.random_block_position:
            self.notes = (f"{task.name} begins alike in every episode; --env.random_block_position=true changes that.",)
        image = Box(0, 255, (config.observation_height, config.observation_width, 3), np.uint8)
        spaces: dict[str, Any] = {}
        parts = _OBSERVED[config.obs_type]
        if "pixels" in parts:
            spaces |= {f"observation.images.{camera}": image for camera in CAMERAS}
        if "environment_state" in parts:
            spaces["observation.environment_state"] = Box(-np.inf, np.inf, (3,), np.float32)
        if "agent_pos" in parts:
            spaces["observation.state"] = Box(-np.inf, np.inf, (18,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        space: Any = self._env.action_space
        self.action_space = Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        np.random.seed(seed % 2**32)  # noqa: NPY002 - gym-hil draws from the global generator
        seen, _ = self._env.reset(seed=seed)
        return self._observe(seen) if look else None

    def step(self, action: Array, *, look: bool) -> Step:
        seen, reward, terminated, truncated, info = self._env.step(np.asarray(action, np.float32))
        over = bool(terminated or truncated)
        return Step(
            reward=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            success=bool(info["succeed"]),
            observation=self._observe(seen) if look and not over else None,
        )

    def _observe(self, seen: Mapping[str, Array]) -> Mapping[str, Array]:
        found = {f"observation.{name.replace('agent_pos', 'state')}": value.copy() for name, value in seen.items()}
        size = self._config.observation_width, self._config.observation_height
        for camera in CAMERAS:
            if (name := f"observation.images.{camera}") in self.observation_space.spaces:
                with self.looking():
                    found[name] = self._draw(camera, size)
        return {name: found[name] for name in self.observation_space}

    def prepare_to_look(self) -> None:
        if "pixels" in _OBSERVED[self._config.obs_type]:
            self._renderer((self._config.observation_width, self._config.observation_height))

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        usual = self._config.visualization_width, self._config.visualization_height
        return self._draw(camera or CAMERAS[0], size or usual)

    def _draw(self, camera: str, size: tuple[int, int]) -> Array:
        renderer = self._renderer(size)
        renderer.update_scene(self._sim.data, camera=self._sim.camera_id[CAMERAS.index(camera)])
        image: Array = renderer.render()
        return image.copy()

    def _renderer(self, size: tuple[int, int]) -> Any:
        """Return the renderer of images of a size (width, height); each has its own GL context."""
        if size not in self._renderers:
            import mujoco

            room = self._sim.model.vis.global_
            room.offwidth, room.offheight = size
            self._renderers[size] = mujoco.Renderer(self._sim.model, height=size[1], width=size[0])
        return self._renderers[size]

    def state(self) -> Iterable[Array]:
        """MuJoCo's state."""
        yield mujoco_state(self._sim.model, self._sim.data)

    def close(self) -> None:
        for renderer in self._renderers.values():
            renderer.close()
        self._env.close()


@contextmanager
def _without_gl() -> Iterator[None]:
    """Let gym-hil construct its renderer without a GL context; the renderer is never used.

    Gymnasium's warnings about the precision of bounds concern gym-hil's own declarations and are left out.
    """
    import mujoco

    class NoRenderer:
        def __init__(self, *_: Any, **__: Any) -> None: ...
        def render(self) -> None: ...
        def close(self) -> None: ...

    usual, mujoco.Renderer = mujoco.Renderer, NoRenderer
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*precision lowered by casting")
            yield
    finally:
        mujoco.Renderer = usual


def _require_gym_hil() -> None:
    try:
        import_simulator("gym_hil", "")
    except MissingExtraError as error:
        raise ConfigError(
            f"gym-hil cannot be imported ({error.__cause__}); create an environment for it with: proctor env create "
            "hil, or install gym-hil beside Proctor."
        ) from error


class Hil(Benchmark):
    """The tasks of gym-hil, with which LeRobot's ``gym_manipulator`` is used in simulation, without a human.

    ============  ======================================================================================
    suite, task   ``hil``; ``PandaPickCube-v0``, ``PandaArrangeBoxes-v0``, ``PandaPickCubeBase-v0`` and
                  ``PandaArrangeBoxesBase-v0``, numbered in the given order; there is no instruction
    observation   ``observation.images.front`` and ``observation.images.wrist``, uint8 (128, 128, 3);
                  ``observation.state`` float32 (18,): positions and velocities of seven joints, the gripper's
                  command in 0-255, the hand's position in metres; with
                  ``obs_type=environment_state_agent_pos``, ``observation.environment_state`` float32 (3,), the
                  position of the (first) cube, in place of the images
    action        float32 (4,): the change of the hand's position in [-1, 1] (1 is 2.5 cm), and the
                  gripper's in [0, 2], 1 for no change; in the ``Base`` tasks float32 (7,) in [-1, 1]: the change
                  of position in metres, three numbers that are ignored, and the change of the gripper
    episode       100 steps of 0.1 s, then truncated; ends early if the cube leaves its area. The seed draws
                  the places of the boxes; the cube always begins at the same place, unless
                  ``random_block_position=true``
    success       ``info["succeed"]`` after this very step: the cube is 10 cm above its first height, or each box is
                  within 3 cm of its target; ends the episode
    reward        1 on success, else 0
    ============  ======================================================================================

    ``--env.type=gym_manipulator --env.name=gym_hil``, as LeRobot spells it, means this benchmark; the tasks for a
    gamepad or a keyboard are not offered, because they need a human.

    gym-hil's licence is Apache-2.0. It takes 35 MB of disk.

    Differences from LeRobot, all deliberate: each episode depends on its seed alone (gym-hil draws from numpy's global
    generator, which LeRobot seeds once); no pause of a second at each reset; and ``episode_length`` can shorten an
    episode, not prolong it.
    """

    name: ClassVar[str] = "hil"
    extra: ClassVar[str] = ""  # it has a recipe for an environment of its own
    needs_gl = True
    protocol: ClassVar[str] = "hil-1"
    groups = TASKS
    distributions = ("gym-hil", "gymnasium", "mujoco", "numpy")
    worker_memory_mb = 350
    config_class: ClassVar[type[EnvConfig]] = HilConfig
    config: HilConfig

    @classmethod
    def fields_for(cls, name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Run LeRobot's ``gym_manipulator`` if its ``name`` is gym_hil."""
        if name != "gym_manipulator" or fields.get("name") != "gym_hil":
            return None
        return {**{key: value for key, value in fields.items() if key != "name"}, "type": cls.name}

    def tasks(self) -> list[Task]:
        names = dict.fromkeys(name.removeprefix("gym_hil/") for name in self.config.task_names() or TASKS[:1])
        for name in names:
            if name not in TASKS:
                raise ConfigError(f"Unknown gym-hil task '{name}'.{did_you_mean(name, TASKS)}")
        return [Task("hil", task_id, name, "", 100) for task_id, name in enumerate(names)]

    def preload(self) -> None:
        _require_gym_hil()

    def make_env(self, task: Task) -> SimEnv:
        return HilEnv(task, self.config)
