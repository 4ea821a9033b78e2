"""What the machine says of itself, on this one; accelerators by a driver's command that we write."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from proctor.machine import hardware
from proctor.machine.hardware import (
    Gpu,
    core_seconds_in_use,
    core_wait_seconds,
    cpu_seconds,
    descendants,
    memory_bytes,
    probe_hardware,
    seconds_stolen_of_a_core,
    visible_gpus,
)

MIB = 1 << 20
LISTING = """\
0, GPU-1a2b, NVIDIA H100 80GB HBM3, 81559, 81007, 35
1, GPU-3c4d, NVIDIA H100 80GB HBM3, 81559, 1000, [N/A]
"""
BOTH = [
    Gpu("NVIDIA H100 80GB HBM3", 81559 * MIB, 81007 * MIB, 0.35),
    Gpu("NVIDIA H100 80GB HBM3", 81559 * MIB, 1000 * MIB, 1.0),
]


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver's command that prints something, and how it ends."""

    def install(listing: str, status: int = 0) -> None:
        command = tmp_path / "nvidia-smi"
        command.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\nexit {status}\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return install


def test_the_accelerators_of_the_driver(driver):
    """Memory in bytes; one that does not say how busy it is counts as busy."""
    driver(LISTING)

    assert visible_gpus() == BOTH
    assert probe_hardware().gpus == tuple(BOTH)


@pytest.mark.parametrize(
    ("visible", "seen"),
    [("1", BOTH[1:]), ("1,0", BOTH[::-1]), ("GPU-3c", BOTH[1:]), ("", []), ("7,0", []), ("0,-1,1", BOTH[:1])],
)
def test_only_those_that_may_be_seen(driver, monkeypatch, visible, seen):
    """By number or the beginning of their id; after an unknown one there are none, as CUDA has it."""
    driver(LISTING)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert visible_gpus() == seen


def test_a_driver_that_fails_is_none(driver):
    """As on a machine with the command but without the hardware."""
    driver("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", status=9)

    assert visible_gpus() == []


def test_the_time_and_memory_of_a_process_and_of_those_it_started():
    """A child that holds 64 MB and computes, started by a child."""
    work = "import time\nheld = bytearray(b'x' * (64 << 20))\nwhile time.process_time() < 0.5: pass\ninput()"
    start = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {work!r}])"
    before = core_seconds_in_use()
    child = subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE)
    try:
        until = time.monotonic() + 30
        while sum(map(cpu_seconds, descendants(child.pid))) < 0.4 and time.monotonic() < until:
            time.sleep(0.05)
        (grandchild,) = descendants(child.pid)

        assert {child.pid, grandchild} <= set(descendants(os.getpid()))
        assert 0.4 <= cpu_seconds(grandchild) < 5
        assert 64 * MIB <= memory_bytes(grandchild) < 128 * MIB
        assert core_seconds_in_use() - before >= 0.3
    finally:
        child.communicate()


def test_the_time_that_a_virtual_machines_host_took_from_its_cores(tmp_path, monkeypatch):
    """The mean of the cores that the process may use, in hundredths of a second: the last of the clocks that follow."""
    clocks = {"cpu": 777, "cpu0": 250, "cpu1": 350, "cpu2": 999}
    rows = [f"{name} 1 2 3 40 5 6 7 {stolen} 0 0\n" for name, stolen in clocks.items()]
    (tmp_path / "stat").write_text("".join(rows))
    monkeypatch.setattr(hardware, "_PROC", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "sysconf", lambda _: 100)

    assert seconds_stolen_of_a_core() == pytest.approx(3.0)
    assert core_seconds_in_use() == pytest.approx(6.38)

    (tmp_path / "stat").unlink()
    assert seconds_stolen_of_a_core() == core_seconds_in_use() == 0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel does not count it")
def test_the_time_for_which_a_process_has_had_no_core():
    """Two that compute share one core, so each waits while the other one runs; one that sleeps needs none."""
    pin = f"import os, time\nos.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
    works = [pin + "while True: pass"] * 2 + [pin + "time.sleep(60)"]
    with ExitStack() as started:
        processes = [started.enter_context(subprocess.Popen([sys.executable, "-c", work])) for work in works]
        for process in processes:
            started.callback(process.kill)
        begun = time.monotonic()
        while (waited := [core_wait_seconds(process.pid) for process in processes]) and min(waited[:2]) < 1:
            assert time.monotonic() - begun < 60, waited
            time.sleep(0.05)
        elapsed = time.monotonic() - begun

    first, second, sleeper = waited
    assert max(first, second) < elapsed + 5  # since they were started
    assert sleeper < min(first, second)


def test_a_process_that_is_gone_takes_nothing():
    """It may end while it is looked at."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert cpu_seconds(child.pid) == core_wait_seconds(child.pid) == 0
    assert memory_bytes(child.pid) == 0
    assert descendants(child.pid) == []
