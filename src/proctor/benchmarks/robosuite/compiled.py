"""The arithmetic of robosuite's operational-space controller, compiled by numba.

Each function makes the floating-point operations of robosuite 1.4 (``controllers/osc.py``,
``controllers/base_controller.py``, ``models/grippers/panda_gripper.py``) in their order, on arrays of the same memory
layout, because BLAS rounds by layout. What robosuite itself compiles is called: the matrices of the operational space,
the torques of the null space, the error of the orientation, the matrix of a quaternion. numba neither reorders sums nor
fuses products into them.

An arm is an array of one element, which holds all that its controller remembers: passing it costs less than passing
its parts. Numba stores the machine code beside this file, or in the user's cache directory if this folder cannot be
written. Importing this module fails if numba is missing, or if there is no place to store the machine code.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error
from robosuite.utils.transform_utils import quat2mat

from proctor.types import Array

TRANSPOSED = ("J_pos", "J_ori", "J_full", "mass_matrix")
"""Fields of an arm that hold a matrix's transpose: robosuite's own matrices are in the order of Fortran."""


N_JOINTS, N_FINGERS = 7, 2

_JOINTS, _FINGERS = (N_JOINTS,), (N_FINGERS,)
_SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("joint_pos", "joint_vel", "initial_joint", "torques", "low", "high"), _JOINTS),
    **dict.fromkeys(("ee_pos", "ee_pos_vel", "ee_ori_vel", "goal_pos"), (3,)),
    **dict.fromkeys(("ee_ori_mat", "goal_ori"), (3, 3)),
    **dict.fromkeys(("kp", "kd", "action", "input_min", "input_max"), (6,)),
    **dict.fromkeys(("action_input_transform", "action_scale", "action_output_transform"), (6,)),
    **dict.fromkeys(("J_pos", "J_ori"), (N_JOINTS, 3)),
    "J_full": (N_JOINTS, 6),
    "mass_matrix": (N_JOINTS, N_JOINTS),
    **dict.fromkeys(("grip", "grip_speed", "grip_middle", "grip_reach"), _FINGERS),
}
_INDICES = {**dict.fromkeys(("qpos", "qvel", "motors"), _JOINTS), "fingers": _FINGERS, "inertia": _JOINTS * 2}
ARM = np.dtype(
    [(name, np.float64, shape) for name, shape in _SHAPES.items()]
    + [(name, np.int64, shape) for name, shape in _INDICES.items()]
)
"""The type of an arm. Its fields are named as robosuite's attributes, apart from these.

``qpos``, ``qvel``, ``motors``, ``fingers`` and ``inertia`` are indices into MuJoCo's ``qpos``, ``qvel``, ``ctrl``
(twice) and ``qM`` (-1: the element is zero); ``low`` and ``high`` limit torques; ``grip`` is the gripper's
``current_action``, which a substep changes by ``grip_speed``; ``grip_middle`` and ``grip_reach`` scale it.
"""


def _sense(arms: Any, pose: tuple[Array, Array], jacobian: tuple[Array, Array], moving: tuple[Array, ...]) -> None:
    """Set what ``Controller.update`` does, from the hand's pose (3,), (9,), its Jacobians, and qpos, qvel, qM."""
    arm, (jac_pos, jac_ori), (qpos, qvel, inertia) = arms[0], jacobian, moving
    arm.ee_pos[:] = pose[0]
    arm.ee_pos_vel[:] = np.dot(jac_pos, qvel)
    arm.ee_ori_vel[:] = np.dot(jac_ori, qvel)
    for i in range(9):
        arm.ee_ori_mat[i // 3, i % 3] = pose[1][i]
    for i in range(len(arm.qvel)):
        dof = arm.qvel[i]
        arm.joint_pos[i], arm.joint_vel[i] = qpos[arm.qpos[i]], qvel[dof]
        for k in range(3):
            arm.J_pos[i, k] = arm.J_full[i, k] = jac_pos[k, dof]
            arm.J_ori[i, k] = arm.J_full[i, k + 3] = jac_ori[k, dof]
        for j in range(len(arm.qvel)):
            place = arm.inertia[i, j]
            arm.mass_matrix[j, i] = inertia[place] if place >= 0 else 0.0


def _set_goal(arms: Any) -> None:
    """Set the goal as ``OperationalSpaceController.set_goal`` does, if ``action`` is a change of the pose."""
    arm = arms[0]
    change = np.empty(6)
    for i in range(6):
        action = _clipped(arm.action[i], arm.input_min[i], arm.input_max[i])
        moved = (action - arm.action_input_transform[i]) * arm.action_scale[i]
        change[i] = moved + arm.action_output_transform[i]
    arm.goal_pos[:] = arm.ee_pos + change[:3]
    turn = change[3:]
    if not (turn == 0).all():
        arm.goal_ori[:] = np.dot(quat2mat(_quaternion(turn)), arm.ee_ori_mat)


def _axis_angle_to_quaternion(turn: Array) -> Array:
    """Return what robosuite's ``axisangle2quat`` does: x, y, z, w."""
    angle = np.sqrt(np.dot(turn, turn))
    quaternion = np.zeros(4)
    quaternion[3] = np.cos(angle / 2.0)
    if angle != 0:
        quaternion[:3] = turn / angle * np.sin(angle / 2.0)
    return quaternion


def _run_controller(arms: Any, bias: Array) -> None:
    """Set ``torques`` as ``OperationalSpaceController.run_controller`` does, with MuJoCo's ``qfrc_bias``."""
    arm = arms[0]
    force = (arm.goal_pos - arm.ee_pos) * arm.kp[:3] + -arm.ee_pos_vel * arm.kd[:3]
    turn = orientation_error(arm.goal_ori, arm.ee_ori_mat) * arm.kp[3:] + -arm.ee_ori_vel * arm.kd[3:]
    mass = arm.mass_matrix.T
    _, for_pos, for_ori, null = opspace_matrices(mass, arm.J_full.T, arm.J_pos.T, arm.J_ori.T)
    wrench = np.concatenate((np.dot(for_pos, force), np.dot(for_ori, turn)))
    torques = np.dot(arm.J_full, wrench)
    for i in range(len(arm.qvel)):
        torques[i] += bias[arm.qvel[i]]
    arm.torques[:] = torques + nullspace_torques(mass, null, arm.initial_joint, arm.joint_pos, arm.joint_vel)


def _drive(arms: Any, bias: Array, grip: float, ctrl: Array) -> None:
    """Set MuJoCo's ``ctrl`` as ``SingleArm.control`` does, with a gripper like robosuite's ``PandaGripper``."""
    run_controller(arms, bias)
    arm = arms[0]
    for i in range(len(arm.fingers)):
        arm.grip[i] = _clipped(arm.grip[i] + arm.grip_speed[i] * np.sign(grip), -1.0, 1.0)
        ctrl[arm.fingers[i]] = arm.grip_middle[i] + arm.grip_reach[i] * arm.grip[i]
    for i in range(len(arm.motors)):
        ctrl[arm.motors[i]] = _clipped(arm.torques[i], arm.low[i], arm.high[i])


def _clip(value: float, low: float, high: float) -> float:
    """Return what ``np.clip`` does, which returns NaN for NaN."""
    if value < low:
        return low
    return high if value > high else value  # noqa: FURB136 - min would not return NaN for NaN


_compile = numba.njit(cache=True)
_clipped, _quaternion = _compile(_clip), _compile(_axis_angle_to_quaternion)
sense, set_goal, run_controller, drive = (_compile(f) for f in (_sense, _set_goal, _run_controller, _drive))
