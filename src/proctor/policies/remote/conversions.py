"""Conversions of vectors that a mapping can name: orientations in requests, and grippers in replies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from proctor.types import Array


def axis_angle(quaternion: Array) -> Array:
    """Convert a unit quaternion (x, y, z, w) to its axis times the angle in radians, 0 to 2 pi; float64 (3,).

    The operations and their order are those of openpi's LIBERO client (robosuite's ``quat2axisangle``), so that both
    round alike.
    A quaternion and its negative, which are one rotation, give different angles.
    """
    w = float(np.clip(quaternion[3], -1.0, 1.0))
    sine = np.sqrt(1.0 - w * w)
    if not sine:
        return np.zeros(3)
    angle: Array = (quaternion[:3] * 2.0 * math.acos(w)) / sine
    return angle


def bridge_angles(quaternion: Array) -> Array:
    """Convert a hand's orientation, a quaternion (w, x, y, z), to roll, pitch and yaw in radians as BridgeData V2 has
    them: relative to a hand that points down; float64 (3,).

    The rotations are about fixed axes in the order x, y, z, as in GR00T's client for SimplerEnv.
    """
    w, x, y, z = (float(part) for part in quaternion / np.linalg.norm(quaternion))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    m = rotation @ _BRIDGE_DOWN.T
    length = math.hypot(m[0, 0], m[1, 0])
    if length <= _GIMBAL_LOCK:
        return np.array([math.atan2(-m[1, 2], m[1, 1]), math.atan2(-m[2, 0], length), 0.0])
    return np.array([math.atan2(m[2, 1], m[2, 2]), math.atan2(-m[2, 0], length), math.atan2(m[1, 0], m[0, 0])])


_BRIDGE_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
_GIMBAL_LOCK = 4 * np.finfo(float).eps


def _open_is_one(gripper: Array) -> Array:
    """Convert GR00T's gripper, 0 closed to 1 open, to SimplerEnv's WidowX, -1 closed or 1 open."""
    return 2.0 * (gripper > 0.5) - 1.0


def _closed_is_minus_one(gripper: Array) -> Array:
    """Convert GR00T's gripper, 0 closed to 1 open, to LIBERO's, -1 open and 1 closed."""
    return -np.sign(2.0 * gripper - 1.0)


OF_VECTORS: dict[str, Callable[[Array], Array]] = {
    "axis_angle": axis_angle,
    "bridge_angles": bridge_angles,
    "zeros": np.zeros_like,
}
"""The conversions of vectors of an observation, by the names that mappings use."""

OF_ACTIONS: dict[str, Callable[[Array], Array]] = {
    "gripper_to_libero": _closed_is_minus_one,
    "gripper_to_simpler": _open_is_one,
}
"""The conversions of parts of an action, by the names that mappings use."""
