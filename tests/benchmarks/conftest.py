"""The simulators draw without a display: most with GL, ManiSkill with Vulkan. LIBERO-plus's package lies apart, because
it asks for another numpy.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from proctor.doctor import Check, Status
from proctor.doctor.examination import make

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported
sys.path.append(str(Path(sys.prefix) / "liberoplus"))  # where the Makefile installs it

DRIVER = Path(__file__).parents[2] / ".cache" / "vulkan" / "lvp_icd.json"
"""What ``make install`` puts there (``tools/vulkan_driver``)."""

if DRIVER.exists():
    os.environ.setdefault("VK_DRIVER_FILES", str(DRIVER))


@pytest.fixture(scope="session")
def vulkan():
    """Skip what needs ManiSkill and a Vulkan driver for it, if one of them is missing, and say which."""
    if find_spec("mani_skill") is None:
        pytest.skip("ManiSkill is not installed: pip install 'proctor-eval[maniskill]'")
    finding = make(Check("Vulkan", "proctor.doctor.checks:vulkan", limit_s=240))
    if finding.status is not Status.OK:
        pytest.skip(f"{finding.message}; {finding.remedy}")
