"""What this process may use of the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proctor.machine import resources
from proctor.machine.resources import available_memory, usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("", 8),
        ("nonsense", 8),
    ],
    ids=repr,
)
def test_a_containers_quota_bounds_the_cores(tmp_path, content, cores):
    """Rounded down, one at least; never more than the affinity allows."""
    (tmp_path / "cpu.max").write_text(content)

    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_quota_the_affinity_counts(tmp_path):
    """Not the number of the host's cores."""
    assert usable_cores(tmp_path / "nothing") == 8


@pytest.mark.parametrize(
    ("limit", "used", "available"),
    [("max", "5", 2048), ("4096", "1024", 2048), ("3000", "1000", 2000), ("1000", "1500", 0), (None, None, 2048)],
)
def test_a_containers_limit_bounds_the_memory(tmp_path, limit, used, available):
    """What it has used already counts; never more than the machine has available."""
    (tmp_path / "meminfo").write_text("MemTotal:       16 kB\nMemAvailable:    2 kB\n")
    for name, content in (("memory.max", limit), ("memory.current", used)):
        if content is not None:
            (tmp_path / name).write_text(content + "\n")

    assert available_memory(tmp_path / "meminfo", tmp_path) == available


def test_where_memory_cannot_be_told_it_is_not_guessed(tmp_path):
    """On other systems than Linux."""
    (tmp_path / "meminfo").write_text("nonsense")

    assert available_memory(tmp_path / "meminfo", tmp_path) is None
    assert available_memory(tmp_path / "nothing", tmp_path) is None


def open_files_in_a_process_limited_to(soft: int, hard: int, n_workers: int) -> list[int]:
    """What ``workers_by_open_files`` says there, and the soft limit afterwards."""
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from proctor.machine.resources import workers_by_open_files\n"
        f"print(workers_by_open_files({n_workers}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("soft", "hard", "n_workers", "expected"),
    [(256, 1024, 10, [10, 256]), (256, 1024, 100, [100, 428]), (256, 400, 100, [90, 400])],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(soft, hard, n_workers, expected):
    """As many workers as it then allows."""
    assert open_files_in_a_process_limited_to(soft, hard, n_workers) == expected
