"""The tasks of robosuite as data, readable without the simulator: arms, step limits, cameras and image sizes.

Step limits, cameras and image sizes are those with which robomimic evaluates policies on its datasets: ``horizon`` in
``robomimic/__init__.py`` (0.3.0), cameras and sizes in ``robomimic/scripts/generate_paper_configs.py`` and in the
commands of ``robomimic/scripts/extract_obs_from_raw_datasets.sh``. robomimic has no datasets of the other tasks; these
have the cameras and the size that robomimic uses for most tasks, and the ``horizon`` that robosuite's own constructors
have.
"""

from __future__ import annotations

from dataclasses import dataclass

ROBOSUITES_OWN_LIMIT = 1000
"""The step limit of robosuite's constructors."""


@dataclass(frozen=True)
class RobosuiteTask:
    """The differences between tasks.

    ``max_steps`` are robomimic's step limits for its proficient-human (``ph``) and multi-human (``mh``) datasets;
    None: robomimic has none. ``size`` is the width and height of images in pixels. ``since`` is the first
    version of robosuite (major, minor) that has the task.
    """

    n_arms: int = 1
    ph_steps: int | None = None
    mh_steps: int | None = None
    cameras: tuple[str, ...] = ("agentview", "robot0_eye_in_hand")
    size: int = 84
    since: tuple[int, int] = (1, 4)

    def max_steps(self, protocol: str) -> int:
        """Return the step limit by a protocol, ``ph`` or ``mh``."""
        return (self.ph_steps if protocol == "ph" else self.mh_steps or self.ph_steps) or ROBOSUITES_OWN_LIMIT


_TWO_ARMS = RobosuiteTask(n_arms=2, cameras=("agentview", "robot0_eye_in_hand", "robot1_eye_in_hand"))

TASKS: dict[str, RobosuiteTask] = {
    "Lift": RobosuiteTask(ph_steps=400, mh_steps=500),
    "Stack": RobosuiteTask(),
    "PickPlace": RobosuiteTask(),
    "PickPlaceSingle": RobosuiteTask(),
    "PickPlaceMilk": RobosuiteTask(),
    "PickPlaceBread": RobosuiteTask(),
    "PickPlaceCereal": RobosuiteTask(),
    "PickPlaceCan": RobosuiteTask(ph_steps=400, mh_steps=500),
    "NutAssembly": RobosuiteTask(),
    "NutAssemblySingle": RobosuiteTask(),
    "NutAssemblySquare": RobosuiteTask(ph_steps=400, mh_steps=500),
    "NutAssemblyRound": RobosuiteTask(),
    "Door": RobosuiteTask(),
    "Wipe": RobosuiteTask(),
    "ToolHang": RobosuiteTask(ph_steps=700, cameras=("sideview", "robot0_eye_in_hand"), size=240, since=(1, 5)),
    "TwoArmLift": _TWO_ARMS,
    "TwoArmPegInHole": _TWO_ARMS,
    "TwoArmHandover": _TWO_ARMS,
    "TwoArmTransport": RobosuiteTask(
        n_arms=2,
        ph_steps=700,
        mh_steps=1100,
        cameras=("shouldercamera0", "robot0_eye_in_hand", "shouldercamera1", "robot1_eye_in_hand"),
        since=(1, 5),
    ),
}
"""The tasks by robosuite's names; a task's place is its ``task_id``."""

ROBOMIMIC_NAMES = {
    "lift": "Lift",
    "can": "PickPlaceCan",
    "square": "NutAssemblySquare",
    "tool_hang": "ToolHang",
    "transport": "TwoArmTransport",
}
"""robomimic's names of the tasks of which it has datasets."""

GROUPS: dict[str, tuple[str, ...]] = {
    "single_arm": tuple(name for name, task in TASKS.items() if task.n_arms == 1),
    "two_arm": tuple(name for name, task in TASKS.items() if task.n_arms == 2),
    "robomimic": tuple(ROBOMIMIC_NAMES.values()),
}
"""Names that each select several tasks."""
