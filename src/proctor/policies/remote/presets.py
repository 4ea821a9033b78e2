"""The mappings of the projects' own clients, by the names that ``--policy.inputs`` takes."""

from __future__ import annotations

from proctor.policies.remote.mapping import Input, Mapping, Output
from proctor.types import INSTRUCTION


def _libero(*, raw: bool) -> Mapping:
    """Make the preset of openpi's ``examples/libero/main.py``; ``raw`` is for robosuite's arrays."""
    images = ("agentview_image", "robot0_eye_in_hand_image") if raw else ("images.image", "images.image2")
    state = "observation.robot0_eef_pos + axis_angle(observation.robot0_eef_quat) + observation.robot0_gripper_qpos"
    return Mapping(
        inputs=(
            Input(key="observation/image", source=f"observation.{images[0]}", rotate=raw, resize=[224, 224]),
            Input(key="observation/wrist_image", source=f"observation.{images[1]}", rotate=raw, resize=[224, 224]),
            Input(key="observation/state", source=state if raw else "observation.state", dtype="float64"),
            Input(key="prompt", source=INSTRUCTION),
        ),
        n_action_steps=5,
    )


OPENPI = {
    "libero": _libero(raw=False),
    "libero_raw": _libero(raw=True),
    "aloha": Mapping(  # examples/aloha_sim/env.py
        inputs=(
            Input(key="state", source="observation.state", dtype="float64"),
            Input(key=["images", "cam_high"], source="observation.images.top", resize=[224, 224], layout="chw"),
        ),
        n_action_steps=10,
    ),
    "droid": Mapping(  # examples/droid/main.py, policies/droid_policy.py
        inputs=(
            Input(
                key="observation/exterior_image_1_left",
                source="observation.images.exterior_image_1_left",
                resize=[224, 224],
            ),
            Input(key="observation/wrist_image_left", source="observation.images.wrist_image_left", resize=[224, 224]),
            Input(key="observation/joint_position", source="observation.state[0:7]", dtype="float64"),
            Input(key="observation/gripper_position", source="observation.state[7:8]", dtype="float64"),
            Input(key="prompt", source=INSTRUCTION),
        ),
        n_action_steps=8,
    ),
}
"""The presets of ``--policy.type=openpi``: the keys and conversions of openpi's own clients."""

_PARTS_OF_STATE = {"x": "0:1", "y": "1:2", "z": "2:3", "roll": "3:4", "pitch": "4:5", "yaw": "5:6", "gripper": "6:8"}

GROOT = {
    "libero": Mapping(  # gr00t/eval/sim/LIBERO, embodiment LIBERO_PANDA; roll, pitch and yaw are an axis times an angle
        inputs=(
            Input(key="video.image", source="observation.images.image"),
            Input(key="video.wrist_image", source="observation.images.image2"),
            *(
                Input(key=f"state.{name}", source=f"observation.state[{part}]", dtype="float32")
                for name, part in _PARTS_OF_STATE.items()
            ),
            Input(key="annotation.human.action.task_description", source=INSTRUCTION),
        ),
        actions=(
            *(Output(key=f"action.{name}") for name in ("x", "y", "z", "roll", "pitch", "yaw")),
            Output(key="action.gripper", convert="gripper_to_libero"),
        ),
        n_action_steps=8,
    ),
    "widowx": Mapping(  # gr00t/eval/sim/SimplerEnv: WidowX on BridgeData V2's tasks, --env.type=simpler
        inputs=(
            Input(key="video.image_0", source="observation.images.image_0", resize=[256, 256], stretch=True),
            *(
                Input(key=f"state.{name}", source=f"observation.state[{part}]", dtype="float32")
                for name, part in (("x", "0:1"), ("y", "1:2"), ("z", "2:3"))
            ),
            *(
                Input(key=f"state.{name}", source=f"bridge_angles(observation.state[3:7])[{part}]", dtype="float32")
                for name, part in (("roll", "0:1"), ("pitch", "1:2"), ("yaw", "2:3"))
            ),
            Input(key="state.pad", source="zeros(observation.state[0:1])", dtype="float32"),
            Input(key="state.gripper", source="observation.state[7:8]", dtype="float32"),
            Input(key="annotation.human.action.task_description", source=INSTRUCTION),
        ),
        actions=(
            *(Output(key=f"action.{name}") for name in ("x", "y", "z", "roll", "pitch", "yaw")),
            Output(key="action.gripper", convert="gripper_to_simpler"),
        ),
        n_action_steps=1,
    ),
}
"""The presets of ``--policy.type=groot``."""
