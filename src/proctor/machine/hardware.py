"""What the machine has and what processes take of it, as the system and the driver tell it."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proctor.machine.resources import available_memory, usable_cores

_PROC = Path("/proc")
_DRIVER_COMMAND = "nvidia-smi"
_DRIVER_FIELDS = "index,uuid,name,memory.total,memory.free,utilization.gpu"
_DRIVER_LIMIT_S = 20.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """An accelerator, as it is now. Memory in bytes.

    ``busy`` is the part of the driver's last sample period (up to a second) in which kernels ran, 0 to 1; 1 where the
    driver does not say.
    """

    name: str
    total_bytes: int
    free_bytes: int
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """What an evaluation may use. ``memory_bytes`` is what is available; None where that cannot be told."""

    cores: int
    memory_bytes: int | None
    gpus: tuple[Gpu, ...] = ()


def probe_hardware() -> Hardware:
    """The cores this process may use, the memory that is available, the accelerators that are visible."""
    return Hardware(usable_cores(), available_memory(), tuple(visible_gpus()))


def visible_gpus() -> list[Gpu]:
    """The accelerators that this process may use, in the driver's order; none without a driver that answers."""
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
    except (OSError, subprocess.SubprocessError):  # no driver behind it: as good as none
        return []
    return list(_read_gpus(done.stdout, os.environ.get("CUDA_VISIBLE_DEVICES")))


def _read_gpus(listing: str, visible: str | None) -> Iterator[Gpu]:
    """The driver's table, a line per accelerator, as far as ``CUDA_VISIBLE_DEVICES`` lets them be seen."""
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
            return  # as CUDA does: what follows an unknown one is not visible
        yield match


# ------------------------------------------------------------------------------------------------ processes and cores


def core_seconds_in_use() -> float:
    """Seconds that the cores this process may use have worked so far, for whomever; 0 where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return 0.0
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    try:
        rows = [line.split() for line in (_PROC / "stat").read_text().splitlines() if line.startswith("cpu")]
    except OSError:
        return 0.0
    ticks = 0
    for name, user, nice, system, _idle, _waiting, irq, softirq, stolen, *_ in rows:
        if name in ours:
            ticks += sum(map(int, (user, nice, system, irq, softirq, stolen)))
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        if (fields := _stat_fields(stat)) is not None:
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, unseen = [], [pid]
    while unseen:
        born = children.get(unseen.pop(), [])
        found += born
        unseen += born
    return found


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU time a process has taken so far, all its threads; 0 where it is gone or cannot be asked."""
    fields = _stat_fields(_PROC / str(pid) / "stat")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def memory_bytes(pid: int) -> int:
    """Bytes of memory a process takes, pages that it shares divided among those who share them; 0 as above."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _stat_fields(stat: Path) -> list[str] | None:
    """From the state on: what stands before may hold spaces and brackets."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
