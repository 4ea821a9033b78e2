"""The arm of LIBERO's robot, driven by robosuite's controller, of which a part may be compiled."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from proctor.benchmarks.robosuite.controller import CompiledController, compiled_for
from proctor.types import Array


class Arm(Protocol):
    """An arm is driven towards a goal. Positions and velocities of MuJoCo's data must be current for that."""

    def take(self, controller: Any) -> None:
        """Use a new robosuite controller."""

    def set_goal(self, action: Array) -> None:
        """Set the goal by the first six numbers of an action (7,)."""

    def drive(self) -> None:
        """Set torques towards the goal, and the gripper's motion, as ``SingleArm.control`` does."""


def make_arm(robot: Any, model: Any, data: Any) -> Arm:
    """Return the compiled arm if the robot has the controller and the gripper that are compiled, else robosuite's."""
    from robosuite.models.grippers.panda_gripper import PandaGripper

    compiled = compiled_for(robot.controller) if type(robot.gripper) is PandaGripper else None
    return OwnArm(robot, model, data) if compiled is None else CompiledArm(compiled, robot, model, data)


class CompiledArm:
    """A Panda arm with a Panda gripper."""

    def __init__(self, compiled: Any, robot: Any, model: Any, data: Any) -> None:
        import mujoco

        self._gripper, self._ctrl = robot.gripper, data.ctrl
        self._controller = CompiledController(compiled, robot, model, data, mujoco.mj_fwdConstraint)
        arm, self._motors = self._controller.arm, _GripperMotors(robot, model)
        arm["fingers"], arm["grip_speed"] = self._motors.places, np.array([-1.0, 1.0]) * robot.gripper.speed
        arm["grip_middle"], arm["grip_reach"] = self._motors.middle, self._motors.reach

    def take(self, controller: Any) -> None:
        self._controller.take(controller)
        self._controller.arm["grip"] = self._gripper.current_action

    def set_goal(self, action: Array) -> None:
        self._controller.set_goal(action[:6])
        self._grip = float(action[6])
        self._gripper.current_action = self._controller.arm["grip"][0]

    def drive(self) -> None:
        self._controller.drive(self._grip, self._ctrl)


class OwnArm:
    """An arm whose controller and gripper are robosuite's own."""

    def __init__(self, robot: Any, model: Any, data: Any) -> None:
        import mujoco

        self._mujoco, self._model, self._data, self._gripper = mujoco, model, data, robot.gripper
        self._site = robot.eef_site_id
        self._joint_pos = np.array(robot._ref_joint_pos_indexes)  # noqa: SLF001
        self._joint_vel = np.array(robot._ref_joint_vel_indexes)  # noqa: SLF001
        self._motors = np.array(robot._ref_joint_actuator_indexes)  # noqa: SLF001
        self._torque_limits = robot.torque_limits
        self._gripper_motors = _GripperMotors(robot, model)

    def take(self, controller: Any) -> None:
        self._controller = controller
        controller.update = self._update

    def set_goal(self, action: Array) -> None:
        self._controller.set_goal(action[:6])
        self._grip = action[6:]

    def drive(self) -> None:
        torques, gripper, ctrl = self._controller.run_controller(), self._gripper_motors, self._data.ctrl
        ctrl[gripper.places] = gripper.middle + gripper.reach * self._gripper.format_action(self._grip)
        ctrl[self._motors] = np.clip(torques, *self._torque_limits)

    def _update(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - robosuite's signature
        """Replace ``Controller.update``: positions and velocities are current, so only the constraints are solved."""
        controller, data = self._controller, self._data
        if not (controller.new_update or force):
            return
        self._mujoco.mj_fwdConstraint(self._model, data)
        n_dof = self._model.nv
        jac_pos, jac_ori, inertia = np.zeros((3, n_dof)), np.zeros((3, n_dof)), np.zeros((n_dof, n_dof))
        self._mujoco.mj_jacSite(self._model, data, jac_pos, jac_ori, self._site)
        self._mujoco.mj_fullM(self._model, inertia, data.qM)
        controller.ee_pos = data.site_xpos[self._site].copy()
        controller.ee_ori_mat = data.site_xmat[self._site].reshape(3, 3).copy()
        controller.ee_pos_vel, controller.ee_ori_vel = jac_pos @ data.qvel, jac_ori @ data.qvel
        controller.joint_pos, controller.joint_vel = data.qpos[self._joint_pos], data.qvel[self._joint_vel]
        controller.J_pos, controller.J_ori = jac_pos[:, self._joint_vel], jac_ori[:, self._joint_vel]
        controller.J_full = np.vstack([controller.J_pos, controller.J_ori])
        controller.mass_matrix = inertia[self._joint_vel, :][:, self._joint_vel]
        controller.new_update = False


class _GripperMotors:
    """The gripper's motors: their places in MuJoCo's ``ctrl``, and the middle and half the width of their ranges."""

    def __init__(self, robot: Any, model: Any) -> None:
        names = robot.sim.model
        self.places = np.array([names.actuator_name2id(name) for name in robot.gripper.actuators])
        closed, opened = model.actuator_ctrlrange[self.places].T
        self.middle, self.reach = 0.5 * (opened + closed), 0.5 * (opened - closed)
