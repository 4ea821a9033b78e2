"""What this process may use of the machine."""

from __future__ import annotations

import os

import pytest

from proctor import machine
from proctor.machine import choose_gl_backend, usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


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


def test_the_users_choice_of_gl_backend_is_kept(monkeypatch):
    """Otherwise EGL on Linux, for this process and all it starts."""
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert choose_gl_backend() == "osmesa"

    monkeypatch.delenv("MUJOCO_GL")
    assert choose_gl_backend() == os.environ["MUJOCO_GL"] == "egl"
