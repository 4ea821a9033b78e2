"""What this process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_CPU_MAX = _CGROUP / "cpu.max"
_MEMINFO = Path("/proc/meminfo")


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


def available_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes this process may still use: what the machine has available, bounded by what its container is allowed.
    None where that cannot be told.
    """
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, ValueError, KeyError):
        return None
    try:
        allowed, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # not in a container, or "max"
        return available
    return max(0, min(available, allowed - used))
