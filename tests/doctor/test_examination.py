"""Checks in processes of their own: one that crashes or hangs is a line, not an end."""

from __future__ import annotations

import os
import sys

import pytest

from proctor.doctor import Check, Finding, Status, checks_of_this_machine, examine
from proctor.doctor.examination import make


@pytest.fixture
def patients(tmp_path, monkeypatch):
    """A module of checks as bad as they can be, importable in the child."""
    (tmp_path / "patients.py").write_text(
        """
import ctypes, os, signal, subprocess, sys, time
from proctor.doctor.findings import Finding, Status
def fine(*said): return Finding(Status.OK, " ".join(said) + os.environ.get("PATIENT", ""))
def noisy():
    print("out " * 50_000); print("err " * 50_000, file=sys.stderr)
    return Finding(Status.WARNING, "noisy", "be quiet")
def segfault(): ctypes.string_at(0)
def hang():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)
def raises(): raise ValueError("the arm\\nfell off")
def raises_plainly(): raise RuntimeError("the arm fell off")
def leaves(): os._exit(3)
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def check(function, *arguments, **fields):
    return Check(function, f"patients:{function}", arguments, remedy="call a doctor", **fields)


@pytest.mark.parametrize(
    ("function", "status", "message"),
    [
        ("segfault", Status.BROKEN, "it was ended by SIGSEGV"),
        ("raises", Status.BROKEN, "fell off"),
        ("raises_plainly", Status.BROKEN, "the arm fell off"),
        ("leaves", Status.BROKEN, "it exited with status 3"),
    ],
)
def test_a_check_that_does_not_come_back_is_a_finding(patients, function, status, message):
    """With what is to be done about it."""
    assert make(check(function)) == Finding(status, message, "call a doctor")


def test_a_check_that_hangs_is_ended(patients):
    """Whatever signals it ignores."""
    assert make(check("hang", limit_s=1.0)) == Finding(Status.BROKEN, "it did not answer within 1 s", "call a doctor")


def test_what_is_not_needed_is_not_broken(patients):
    """A backend that nobody uses may be absent."""
    assert make(check("segfault", failure=Status.ABSENT)).status is Status.ABSENT


def test_what_a_check_prints_does_not_disturb_its_finding(patients):
    """Simulators talk a lot."""
    assert make(check("noisy")) == Finding(Status.WARNING, "noisy", "be quiet")


def test_a_check_has_arguments_and_an_environment(patients):
    """A GL backend is chosen by a variable."""
    assert make(check("fine", "a", "b", environment={"PATIENT": "!"})).message == "a b!"


def test_findings_come_in_order_and_all_of_them(patients):
    """One crash in the middle costs one line."""
    checks = [check("fine", "1"), check("segfault"), check("fine", "3"), check("fine", "4")]

    found = list(examine(checks))

    assert [one for one, _ in found] == checks
    assert [finding.message for _, finding in found] == ["1", "it was ended by SIGSEGV", "3", "4"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the backends of Linux")
def test_the_backend_in_use_is_needed_and_the_others_are_not(monkeypatch):
    """Only a broken one that is in use makes the machine unusable; one for a display is tried where there is one."""
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setenv("DISPLAY", ":0")
    gl = {one.environment["MUJOCO_GL"]: one for one in checks_of_this_machine() if one.name.startswith("GL")}

    assert {name: one.failure for name, one in gl.items()} == {
        "osmesa": Status.BROKEN,
        "egl": Status.ABSENT,
        "glfw": Status.ABSENT,
    }

    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.delenv("DISPLAY")
    assert [one.name for one in checks_of_this_machine() if one.name.startswith("GL")] == [
        "GL egl (in use)",
        "GL osmesa",
    ]


def test_every_check_of_this_machine_is_there():
    """Each names a function that exists."""
    from proctor.plugins import load_object

    checks = checks_of_this_machine()

    assert len({one.name for one in checks}) == len(checks)
    for one in checks:
        assert callable(load_object(one.function))
