"""ManiSkill's tasks as data: their step limits and the downloads that they need, readable without the simulator.

Groups are the folders of ManiSkill's own code (``mani_skill/envs/tasks``), if nothing must be downloaded, and else
``assets:`` and the name of the download. A test compares all of it with the installed package's registry.
"""

from __future__ import annotations

_FREE: dict[str, dict[str, int]] = {
    "tabletop": {
        "PickCube-v1": 50,
        "PushCube-v1": 50,
        "PullCube-v1": 50,
        "StackCube-v1": 50,
        "StackPyramid-v1": 250,
        "PegInsertionSide-v1": 100,
        "PlugCharger-v1": 200,
        "PushT-v1": 100,
        "PullCubeTool-v1": 100,
        "PokeCube-v1": 50,
        "LiftPegUpright-v1": 50,
        "PlaceSphere-v1": 50,
        "RollBall-v1": 80,
        "TwoRobotPickCube-v1": 100,
        "TwoRobotStackCube-v1": 100,
        "PickCubeSO100-v1": 50,
    },
    "digital_twins": {"SO100GraspCube-v1": 64},
    "drawing": {"DrawTriangle-v1": 300},
    "dexterity": {"RotateValveLevel0-v1": 80},
    "fmb": {"FMBAssembly1Easy-v1": 500},
}

_WITH_ASSETS: dict[str, dict[str, int]] = {
    "ycb": {
        "PickSingleYCB-v1": 50,
        "PickClutterYCB-v1": 100,
        "RotateSingleObjectInHandLevel2-v1": 300,
        "RotateSingleObjectInHandLevel3-v1": 300,
    },
    "assembling_kits": {"AssemblingKits-v1": 200},
    "partnet_mobility_faucet": {"TurnFaucet-v1": 200},
    "partnet_mobility_cabinet": {"OpenCabinetDrawer-v1": 100, "OpenCabinetDoor-v1": 100},
    "oakink-v2": {"InsertFlower-v1": 300},
    "widowxai": {"PickCubeWidowXAI-v1": 50},
}

_FURTHER = {"PickClutterYCB-v1": ("pick_clutter_ycb_configs",)}
"""What a task needs besides the download that it is listed under."""

GROUPS: dict[str, tuple[str, ...]] = {group: tuple(tasks) for group, tasks in _FREE.items()} | {
    f"assets:{name}": tuple(tasks) for name, tasks in _WITH_ASSETS.items()
}
"""The tasks of each group."""

MAX_STEPS: dict[str, int] = {
    name: steps for tasks in (*_FREE.values(), *_WITH_ASSETS.values()) for name, steps in tasks.items()
}
"""The number of steps after which an episode of each task is truncated."""

NEEDED: dict[str, tuple[str, ...]] = {
    name: (download, *_FURTHER.get(name, ())) for download, tasks in _WITH_ASSETS.items() for name in tasks
}
"""The downloads of each task that needs some."""

TEXTURES = {"SO100GraspCube-v1": "rgb+segmentation"}
"""ManiSkill's observation mode, where a task cannot be made with ``rgb``."""
