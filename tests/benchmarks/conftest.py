"""The simulators draw without a display; LIBERO-plus's package lies apart, because it asks for another numpy."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported
sys.path.append(str(Path(sys.prefix) / "liberoplus"))  # where the Makefile installs it
