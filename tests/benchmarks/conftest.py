"""The simulators draw without a display."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported
