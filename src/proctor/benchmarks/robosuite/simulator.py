"""One robosuite environment of version 1.4 or 1.5, reset by a seed, stepped, and rendered only on demand."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from proctor.benchmarks.robosuite.controller import CompiledController, compiled_for
from proctor.benchmarks.robosuite.drawing import View, create_context, draw_on_demand, import_robosuite
from proctor.benchmarks.robosuite.scenes import CompiledScene
from proctor.types import Array

CONTROL_HZ = 20

OSC_POSE = {
    "type": "OSC_POSE",
    "input_max": 1,
    "input_min": -1,
    "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5],
    "kp": 150,
    "damping_ratio": 1,
    "impedance_mode": "fixed",
    "kp_limits": [0, 300],
    "damping_ratio_limits": [0, 10],
    "position_limits": None,
    "orientation_limits": None,
    "uncouple_pos_ori": True,
    "interpolation": None,
    "ramp_ratio": 0.2,
}
"""The arms' controller: ``controllers/config/osc_pose.json`` of robosuite 1.4, with which robomimic's datasets were
recorded. An action of 1 moves the goal by 5 cm or 0.5 rad, and stiffness is 150."""


class Simulator:
    """One task with one or two robots.

    Each reset is robosuite's own hard reset: it draws the scene anew from the seed. A scene whose text equals that of
    the episode before is not compiled again: the compiled model gets back the values that it had when it was new. The
    GL context is kept as long as meshes, textures and materials are the same.
    """

    def __init__(self, task: str, robots: list[str], view: View, *, absolute: bool, shaped_reward: bool) -> None:
        robosuite = import_robosuite("robosuite")
        robosuite.macros.IMAGE_CONVENTION = "opengl"  # a user's own setting would turn images upside down
        self._view = view
        environment = draw_on_demand(_compiled_once(robosuite.environments.base.REGISTERED_ENVS[task]), view)
        version, width_height = version_of(robosuite), view.size
        controllers = [_controller(version, robot, absolute=absolute) for robot in robots]
        _seed_the_generators(0)  # a scene that is drawn by seed is then the same in every worker
        # Robots of version 1.5 otherwise compute fewer stages of a step than those of the datasets did.
        newer = {"lite_physics": False, "renderer": "mujoco"} if version >= (1, 5) else {}
        self._env = environment(
            robots=robots,
            controller_configs=controllers,
            has_renderer=False,
            ignore_done=True,
            control_freq=CONTROL_HZ,
            reward_shaping=shaped_reward,
            use_camera_obs=bool(view.cameras),
            camera_names=list(view.cameras) or "agentview",
            camera_widths=width_height[0],
            camera_heights=width_height[1],
            **newer,
        )
        for name in self._env.observation_names:
            if "joint_pos" in name or "eef_vel" in name:  # robomimic switches these on, too
                self._env.modify_observable(name, "active", modifier=True)

    def vectors(self) -> Mapping[str, Array]:
        """Return robosuite's observation without simulating: names and shapes are right, values are not."""
        found: Mapping[str, Array] = self._env._get_observations()  # noqa: SLF001 - robosuite has no public name for it
        return found

    def reset(self, seed: int, *, look: bool) -> Mapping[str, Array]:
        """Begin the episode that ``seed`` draws. Returns robosuite's observation, with images if ``look`` is true."""
        seed_everything(self._env, seed)
        seen: Mapping[str, Array] = self._env.reset()
        use_compiled_controllers(self._env)
        if not (look and self._view.cameras):
            return seen
        with self._view.looking():
            images = {f"{camera}_image": self.draw(camera, self._view.size) for camera in self._view.cameras}
        return {**seen, **images}

    def step(self, action: Array, *, look: bool) -> tuple[Mapping[str, Array], float, bool]:
        """Do a control step with ``action`` (size,). Returns robosuite's observation, reward, and if it ended."""
        self._env.drawing = look and bool(self._view.cameras)
        if self._env.drawing:
            with self._view.looking():
                self.prepare_to_look()
        try:
            seen, reward, done, _ = self._env.step(action)
        finally:
            self._env.drawing = False
        return seen, float(reward), bool(done)

    def succeeded(self) -> bool:
        """Return True if the task is done in the current state."""
        return bool(self._env._check_success())  # noqa: SLF001 - robosuite has no public name for it

    def prepare_to_look(self) -> None:
        """Create a GL context if there is none. The simulation does not change."""
        if self._env.sim._render_context_offscreen is None:  # noqa: SLF001 - robosuite asks so itself
            self._env.compiled_scene.context = create_context(self._env.sim)

    def draw(self, camera: str, size: tuple[int, int]) -> Array:
        """Render a camera's current view, uint8 (height, width, 3), upside down. The simulation does not change."""
        self.prepare_to_look()
        image: Array = self._env.sim.render(camera_name=camera, width=size[0], height=size[1])
        return image

    def close(self) -> None:
        """Free the simulation and its GL context."""
        self._env.compiled_scene.forget()
        self._env.close()

    @property
    def env(self) -> Any:
        """Robosuite's environment."""
        return self._env

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self._env.sim.model._model  # noqa: SLF001 - robosuite's wrapper has no public name for it

    @property
    def data(self) -> Any:
        """MuJoCo's data."""
        return self._env.sim.data._data  # noqa: SLF001

    def memory(self) -> Iterable[Array]:
        """Yield what robosuite remembers of an episode besides MuJoCo's state: goals, commands, wiped markers."""
        for robot in self._env.robots:
            for controller in _arm_controllers(robot):
                yield controller.goal_pos
                yield controller.goal_ori
            for gripper in _each(robot.gripper):
                yield np.asarray(getattr(gripper, "current_action", 0.0), np.float64)
        yield np.array([len(getattr(self._env, "wiped_markers", ()))])


def use_compiled_controllers(env: Any) -> None:
    """Let the arms of a robosuite 1.4 environment that was just reset compute their torques by compiled code."""
    for robot in env.robots:
        controller = getattr(robot, "controller", None)
        if (compiled := compiled_for(controller)) is not None:
            arm = CompiledController(compiled, robot, env.sim.model._model, env.sim.data._data, _solve)  # noqa: SLF001
            arm.take(controller)


def _solve(model: Any, data: Any) -> None:
    """Solve the constraints, and compute the sensors of force, which robosuite reads in the middle of a step."""
    import mujoco

    mujoco.mj_forwardSkip(model, data, mujoco.mjtStage.mjSTAGE_VEL, 0)


def version_of(robosuite: Any) -> tuple[int, int]:
    """Return robosuite's version: major, minor."""
    major, minor = robosuite.__version__.split(".")[:2]
    return int(major), int(minor)


def seed_everything(env: Any, seed: int) -> None:
    """Make every generator of which robosuite draws start from ``seed``.

    Version 1.4 draws from the global generators of numpy and Python. Version 1.5 draws from one generator that the
    environment was given when it was constructed; its samplers keep that object, so its state is set in place.
    """
    _seed_the_generators(seed)
    if (generator := getattr(env, "rng", None)) is not None:
        generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state


def _seed_the_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - robosuite draws from the global generator


def _controller(version: tuple[int, int], robot: str, *, absolute: bool) -> dict[str, Any]:
    """Return the configuration of a robot's controller in the form that the installed version takes.

    Version 1.5 can measure actions in the frame of the robot's base; version 1.4 measures them in the world's frame,
    and so does this configuration in both versions.
    """
    if version < (1, 5):
        return {**OSC_POSE, "control_delta": not absolute}
    from robosuite.controllers.composite.composite_controller_factory import refactor_composite_controller_config

    arm = {**OSC_POSE, "input_type": "absolute" if absolute else "delta", "input_ref_frame": "world"}
    converted: dict[str, Any] = refactor_composite_controller_config(arm, robot, ["right"])
    return converted


def _arm_controllers(robot: Any) -> list[Any]:
    parts = getattr(robot, "part_controllers", None)
    found = [robot.controller] if parts is None else list(parts.values())
    return [controller for controller in found if hasattr(controller, "goal_ori")]


def _each(grippers: Any) -> list[Any]:
    return list(grippers.values()) if isinstance(grippers, Mapping) else [grippers]


def _compiled_once(environment: Any) -> Any:
    """Return a subclass of a robosuite environment that compiles a scene only if its text has changed."""

    class CompiledOnce(environment):  # type: ignore[misc, valid-type, unused-ignore]
        def _initialize_sim(self, xml_string: str | None = None) -> None:
            """Compute what robosuite's own method computes."""
            if not hasattr(self, "compiled_scene"):
                self.compiled_scene = CompiledScene()
            text = xml_string or self.model.get_xml()
            for process in getattr(self, "_xml_processors", ()):  # version 1.5 always has one, version 1.4 none
                text = process(text)
            self.sim = self.compiled_scene.simulation(text)
            self.sim.forward()
            self.initialize_time(self.control_freq)

    CompiledOnce.__name__ = environment.__name__
    return CompiledOnce
