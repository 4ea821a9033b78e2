"""What this process may use of the machine."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_CPU_MAX = _CGROUP / "cpu.max"
_MEMINFO = Path("/proc/meminfo")
_FILES_PER_WORKER = 3
"""Open files that a worker costs its engine: the connection, the shared memory, the process."""
_OTHER_FILES = 128
"""For everything else: more than ten times what an engine without workers was seen to have open."""


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


def workers_by_open_files(n_workers: int) -> int:
    """How many of so many workers this process may have for its limit of open files, which is raised if it can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_WORKER * n_workers + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return n_workers
    return max(0, (soft - _OTHER_FILES) // _FILES_PER_WORKER)
