"""Limits of this process: the cores, memory and open files that it may use."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_CGROUP_CPU_MAX = _CGROUP / "cpu.max"
_MEMINFO = Path("/proc/meminfo")
_FILES_PER_WORKER = 3
"""Open files per worker in the engine's process: the connection, the shared memory, the process."""
_OTHER_FILES = 128
"""Open files for everything else: more than ten times the number measured in an engine without workers."""


def usable_cores(cgroup: Path = _CGROUP_CPU_MAX) -> int:
    """Return the number of cores this process may use: its affinity, bounded by the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cgroup.read_text().split()
    except (OSError, ValueError):
        return cores
    if quota == "max":
        return cores
    return max(1, min(cores, int(quota) // int(period)))


def available_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Return the bytes this process may still use: the machine's available memory, bounded by the container's limit.

    None means that it is unknown.
    """
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, ValueError, KeyError):
        return None
    try:
        allowed, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # there is no container, or its limit is "max"
        return available
    return max(0, min(available, allowed - used))


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process has to itself or shares; 0 if that is unknown."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):  # it has ended, or this is not Linux
        return 0
    return resident * resource.getpagesize()


def workers_by_open_files(n_workers: int) -> int:
    """Bound ``n_workers`` by this process's limit of open files, which is raised first if possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_WORKER * n_workers + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return n_workers
    return max(0, (soft - _OTHER_FILES) // _FILES_PER_WORKER)


def give_back_freed_memory() -> None:
    """Return the memory that this process has freed, and that the C library caches, to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # only glibc has it
        trim(0)
