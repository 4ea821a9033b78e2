"""The hardware of the machine, and the resources that processes use, as the system and the driver report them."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proctor.machine.resources import available_memory, usable_cores

_PROC = Path("/proc")
_CPU_CLOCK = 2
"""Linux gives the CPU clock of each process a number, which is computed from the process id and this one as in
clock_getcpuclockid(3). To read it is a hundred times faster than to read /proc, and nanoseconds are counted."""
_DRIVER_COMMAND = "nvidia-smi"
_DRIVER_FIELDS = "index,uuid,name,memory.total,memory.free,utilization.gpu"
_DRIVER_LIMIT_S = 20.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """An accelerator in its current state. Memory is in bytes.

    ``busy`` is the fraction, 0 to 1, of the driver's last sample period (up to a second) in which kernels ran; it is 1
    if the driver does not report it.
    """

    name: str
    total_bytes: int
    free_bytes: int
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware that an evaluation may use. ``memory_bytes`` is the available memory; None if it is unknown."""

    cores: int
    memory_bytes: int | None
    gpus: tuple[Gpu, ...] = ()


def probe_hardware() -> Hardware:
    """Return the cores that this process may use, the available memory and the visible accelerators."""
    return Hardware(usable_cores(), available_memory(), tuple(visible_gpus()))


def visible_gpus() -> list[Gpu]:
    """Return the accelerators that this process may use, in the driver's order; empty if no driver answers."""
    if (command := shutil.which(_DRIVER_COMMAND)) is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603 - the driver's own command
            [command, f"--query-gpu={_DRIVER_FIELDS}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DRIVER_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # the tool is there, but no working driver
        return []
    return list(_read_gpus(done.stdout, os.environ.get("CUDA_VISIBLE_DEVICES")))


def _read_gpus(listing: str, visible: str | None) -> Iterator[Gpu]:
    """Parse the driver's table, one line per accelerator, and keep those that ``CUDA_VISIBLE_DEVICES`` allows."""
    found = {}
    for index, uuid, name, total, free, busy in csv.reader(listing.splitlines(), skipinitialspace=True):
        share = float(busy) / 100 if busy.strip().isdigit() else 1.0
        found[index, uuid] = Gpu(name, int(total) * _MIB, int(free) * _MIB, share)
    if visible is None:
        yield from found.values()
        return
    for wanted in filter(None, (part.strip() for part in visible.split(","))):
        match = next((gpu for (index, uuid), gpu in found.items() if wanted == index or uuid.startswith(wanted)), None)
        if match is None:
            return  # CUDA does the same: everything after an unknown device is invisible
        yield match


# ------------------------------------------------------------------------------------------------ processes and cores


def core_seconds_in_use() -> float:
    """Return the busy time, in seconds, of the cores that this process may use; 0 if the system does not report it."""
    return sum(_core_seconds("user", "nice", "system", "irq", "softirq", "stolen"))


def seconds_stolen_of_a_core() -> float:
    """Return the time, in seconds, for which this machine's host ran others on a core that this process may use.

    It is the mean over these cores; 0 on a machine that has its cores to itself, and if the system does not report it.
    """
    stolen = list(_core_seconds("stolen"))
    return sum(stolen) / len(stolen) if stolen else 0.0


_CLOCKS = ("user", "nice", "system", "idle", "waiting", "irq", "softirq", "stolen")
"""The columns of ``/proc/stat``, in their order (``proc_stat(5)``)."""


def _core_seconds(*clocks: str) -> Iterator[float]:
    """Yield the seconds on these clocks of each core that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    try:
        rows = [line.split() for line in (_PROC / "stat").read_text().splitlines()]
    except OSError:
        return
    for name, *ticks in rows:
        if name in ours:
            counted = dict(zip(_CLOCKS, ticks, strict=False))
            yield sum(int(counted[clock]) for clock in clocks) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below ``pid``: its children, their children, and so on."""
    children: dict[int, list[int]] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        if (fields := _stat_fields(stat)) is not None:
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, unseen = [], [pid]
    while unseen:
        direct = children.get(unseen.pop(), [])
        found += direct
        unseen += direct
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time in seconds of a process, all threads included; 0 if it is gone or cannot be read."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    except OSError:
        return 0.0


def core_wait_seconds(pid: int) -> float:
    """Return the seconds in which a process's first thread could have run and had no core; 0 if it cannot be read."""
    try:
        return int((_PROC / str(pid) / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # it is gone, or the kernel does not count that
        return 0.0


def memory_bytes(pid: int) -> int:
    """Return the memory of a process in bytes (PSS: shared pages are divided among their users); 0 if unreadable."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _stat_fields(stat: Path) -> list[str] | None:
    """Return the fields from the state on; the fields before it may contain spaces and brackets."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
