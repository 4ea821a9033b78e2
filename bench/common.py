"""Functions that the scripts share: the machine's name, a policy loaded beforehand, the memory of processes."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent / ".cache"


def machine() -> str:
    """Return one line that names the machine."""
    cpus = (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines())
    model = next((cpu for cpu in cpus if "AMD" in cpu or "Intel" in cpu), platform.machine())
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.platform()}, MUJOCO_GL={os.environ['MUJOCO_GL']}"


def loaded(fields: dict[str, Any]) -> Any:
    """Return the policy of ``--policy.*`` with its weights in memory."""
    from proctor.compat import make_policy

    return make_policy(fields)


def descendants(pid: int) -> list[int]:
    """Return the ids of the processes below one."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def proportional_mb(pid: int) -> float:
    """Return a process's memory in MB; shared memory is divided among the processes that share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (pss,) = (int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return pss / 1024
