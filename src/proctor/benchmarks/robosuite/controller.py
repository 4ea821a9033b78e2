"""Robosuite's operational-space controller with compiled arithmetic: the same results, to the bit, in less time."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

from proctor.types import Array

Solve: TypeAlias = Callable[[Any, Any], None]
"""A function of MuJoCo's model and data."""

SENSED = (
    *("ee_pos", "ee_ori_mat", "ee_pos_vel", "ee_ori_vel", "joint_pos", "joint_vel"),
    *("J_pos", "J_ori", "J_full", "mass_matrix"),
)
"""What robosuite's controllers remember of the arm, as of their last update."""

_WANTED = (
    *("goal_pos", "goal_ori", "initial_joint", "kp", "kd", "input_min", "input_max"),
    *("action_input_transform", "action_scale", "action_output_transform"),
)
_N_TRIALS, _N_DOFS = 40, 23


@cache
def compiled_functions() -> ModuleType | None:
    """Return the module ``compiled`` if it computes what robosuite does on this machine, else None; a warning says why.

    The compiled code calls scipy's BLAS, and robosuite's numpy's. Both round alike if they are built alike, which is
    tried on random numbers here. The first call on a machine compiles, which takes seconds.
    """
    try:
        from proctor.benchmarks.robosuite import compiled

        reason = _difference(compiled)
    except Exception as error:  # noqa: BLE001 - numba fails in many ways, and only time depends on it
        reason = f"{type(error).__name__}: {error}"
    if not reason:
        return compiled
    warnings.warn(f"Robosuite's controller runs by its own, slower code ({reason}).", stacklevel=2)
    return None


def _difference(compiled: ModuleType) -> str:
    """Return what robosuite's controller and the compiled one compute differently; "" if it is nothing."""
    generator = np.random.default_rng(0)
    for trial in range(_N_TRIALS):
        controller, action = _random_controller(generator), generator.uniform(-1.2, 1.2, 6)
        jacobian, moving = generator.normal(size=(2, 3, _N_DOFS)), generator.normal(size=(3, _N_DOFS))
        arm, pose = _arm_without_limits(compiled), (np.zeros(3), np.zeros(9))
        action[3:] *= trial % 4 > 0
        bias, ctrl = controller.sim.data.qfrc_bias, np.zeros(_N_DOFS)
        remember(compiled, arm, controller)
        arm["action"] = action
        compiled.set_goal(arm)
        compiled.drive(arm, bias, 0.0, ctrl)
        controller.set_goal(action)
        pairs = [(controller.run_controller(), ctrl[: compiled.N_JOINTS])]
        pairs += [(getattr(controller, name), arm[name][0].copy()) for name in ("goal_pos", "goal_ori")]
        compiled.sense(arm, pose, tuple(jacobian), tuple(moving))
        pairs += zip(jacobian @ moving[1], (arm["ee_pos_vel"][0], arm["ee_ori_vel"][0]), strict=True)
        if not all(np.array_equal(theirs, ours) for theirs, ours in pairs):
            return "on this machine the compiled one would round otherwise"
    return ""


def _arm_without_limits(compiled: ModuleType) -> Array:
    arm = np.zeros(1, compiled.ARM)
    arm["qpos"] = arm["qvel"] = arm["motors"] = np.arange(compiled.N_JOINTS)
    arm["fingers"] = compiled.N_JOINTS + np.arange(compiled.N_FINGERS)
    arm["low"], arm["high"] = -np.inf, np.inf
    return arm


def _random_controller(generator: np.random.Generator) -> Any:
    """Return robosuite's controller of an arm in a random state."""
    from robosuite.controllers.osc import OperationalSpaceController

    controller = OperationalSpaceController.__new__(OperationalSpaceController)
    draw = generator.normal
    jacobian, root = np.asfortranarray(draw(size=(6, 7))), draw(size=(7, 7))
    one, reach = np.ones(6), np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5])
    vars(controller).update(
        new_update=False, interpolator_pos=None, interpolator_ori=None, uncoupling=True, impedance_mode="fixed",
        use_delta=True, use_ori=True, position_limits=None, orientation_limits=None, action_scale=None,
        input_min=-one, input_max=one, output_min=-reach, output_max=reach,
        sim=SimpleNamespace(data=SimpleNamespace(qfrc_bias=draw(size=_N_DOFS))), qvel_index=np.arange(7),
        ee_pos=draw(size=3), ee_ori_mat=draw(size=(3, 3)), ee_pos_vel=draw(size=3), ee_ori_vel=draw(size=3),
        joint_pos=draw(size=7), joint_vel=draw(size=7), initial_joint=draw(size=7),
        J_full=jacobian, J_pos=np.asfortranarray(jacobian[:3]), J_ori=np.asfortranarray(jacobian[3:]),
        mass_matrix=np.asfortranarray(root @ root.T + np.eye(7)),
        goal_pos=draw(size=3), goal_ori=draw(size=(3, 3)), kp=draw(size=6), kd=draw(size=6),
    )  # fmt: skip
    return controller


def remember(compiled: ModuleType, arm: Array, controller: Any) -> None:
    """Copy what robosuite's controller remembers into an arm."""
    controller.scale_action(np.zeros(6))  # it sets the scale when it is first asked
    for name in (*SENSED, *_WANTED):
        value = getattr(controller, name)
        arm[name][0] = value.T if name in compiled.TRANSPOSED else value


def compiled_for(controller: Any) -> ModuleType | None:
    """Return the compiled functions if they compute what a robosuite controller does, else None."""
    compiled = compiled_functions() if _is_of_the_compiled_kind(controller) else None
    return compiled if compiled and controller.joint_dim == compiled.N_JOINTS else None


def _is_of_the_compiled_kind(controller: Any) -> bool:
    try:
        from robosuite.controllers.osc import OperationalSpaceController
    except ImportError:  # version 1.5 has it elsewhere, with other arithmetic
        return False
    return (
        type(controller) is OperationalSpaceController
        and controller.impedance_mode == "fixed"
        and controller.use_ori
        and controller.uncoupling
        and controller.interpolator_pos is None
        and controller.interpolator_ori is None
        and controller.position_limits is None
        and controller.orientation_limits is None
    )


class CompiledController:
    """The controller of a robot's arm, which makes robosuite's own compute by compiled code.

    Robosuite computes everything anew when a controller is updated. Here positions and velocities must be current, as
    they are after MuJoCo's ``forward``, and ``solve`` does what else is needed: it must solve the constraints, because
    each solution starts where the one before ended.
    """

    def __init__(self, compiled: ModuleType, robot: Any, model: Any, data: Any, solve: Solve) -> None:
        import mujoco

        self._compiled, self._model, self._data, self._solve = compiled, model, data, solve
        self._jacobian_of_site = mujoco.mj_jacSite
        self._site = robot.eef_site_id
        self._jacobian = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        self._pose = data.site_xpos[self._site], data.site_xmat[self._site]
        self._moving, self._bias = (data.qpos, data.qvel, data.qM), data.qfrc_bias
        self.arm = np.zeros(1, compiled.ARM)
        self._goal = self.arm["goal_pos"][0], self.arm["goal_ori"][0]
        self.arm["qpos"], self.arm["qvel"] = robot._ref_joint_pos_indexes, robot._ref_joint_vel_indexes  # noqa: SLF001
        self.arm["motors"] = robot._ref_joint_actuator_indexes  # noqa: SLF001
        self.arm["low"], self.arm["high"] = robot.torque_limits
        self.arm["inertia"] = _places_in_inertia(model, self.arm["qvel"][0])

    def take(self, controller: Any) -> None:
        """Use a new robosuite controller, with this one's methods in place of its own."""
        self._controller = weakref.ref(controller)  # which has this one's methods; a cycle would keep the simulation
        remember(self._compiled, self.arm, controller)
        for name in SENSED:
            seen = self.arm[name][0]
            setattr(controller, name, seen.T if name in self._compiled.TRANSPOSED else seen)
        controller.update, controller.set_goal, controller.run_controller = self.update, self.set_goal, self.run

    def _robosuites(self) -> Any:
        return self._controller()

    def set_goal(self, action: Array, *others: Any) -> None:
        """Replace ``OperationalSpaceController.set_goal``, for an action (6,)."""
        controller, arm = self._robosuites(), self.arm
        if others or not controller.use_delta:
            type(controller).set_goal(controller, action, *others)
            arm["goal_pos"], arm["goal_ori"] = controller.goal_pos, controller.goal_ori
            return
        self.update()
        arm["action"] = action
        self._compiled.set_goal(arm)
        controller.goal_pos, controller.goal_ori = self._goal

    def update(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - robosuite's signature
        """Replace ``Controller.update``: positions and velocities are current, so only the constraints are solved."""
        controller = self._robosuites()
        if not (controller.new_update or force):
            return
        self._solve(self._model, self._data)
        self._jacobian_of_site(self._model, self._data, *self._jacobian, self._site)
        self._compiled.sense(self.arm, self._pose, self._jacobian, self._moving)
        controller.new_update = False

    def run(self) -> Array:
        """Replace ``OperationalSpaceController.run_controller``. Returns torques (7,), not limited."""
        self.update()
        self._compiled.run_controller(self.arm, self._bias)
        self._robosuites().new_update = True
        torques: Array = self.arm["torques"][0].copy()
        return torques

    def drive(self, grip: float, ctrl: Array) -> None:
        """Set torques towards the goal and the gripper's motion in MuJoCo's ``ctrl``."""
        self.update()
        self._compiled.drive(self.arm, self._bias, grip, ctrl)
        self._robosuites().new_update = True


def _places_in_inertia(model: Any, dofs: Array) -> Array:
    """Return where in MuJoCo's ``qM`` the elements of the inertia matrix of some joints are; -1: nowhere."""
    import mujoco

    counted = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, counted, np.arange(1.0, model.nM + 1))
    places: Array = counted[np.ix_(dofs, dofs)].astype(np.int64) - 1
    return places
