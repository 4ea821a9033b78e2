"""What this process may use of the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cgroup: Path = _CGROUP_CPU_MAX) -> int:
    """Cores this process may use: its affinity, bounded by the container's quota, not the host's count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cgroup.read_text().split()
    except (OSError, ValueError):
        return cores
    if quota == "max":
        return cores
    return max(1, min(cores, int(quota) // int(period)))


def choose_gl_backend() -> str | None:
    """Settle what MuJoCo draws with, for this process and the workers it starts: the user's choice, else EGL."""
    if sys.platform == "linux":
        return os.environ.setdefault("MUJOCO_GL", "egl")
    return os.environ.get("MUJOCO_GL")
