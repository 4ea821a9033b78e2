"""The checks on this machine, which is in order, and on machines that are not."""

from __future__ import annotations

import os
import resource
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from proctor import plugins
from proctor.doctor import Check, Status, checks
from proctor.doctor.checks import cores_and_memory, descriptors, disk, lerobot, python, shared_memory, simulator, torch
from proctor.doctor.examination import make
from proctor.errors import MissingFilesError
from proctor.plugins import Requirements
from proctor.rendering import frame
from proctor.testing.fakes import FakeBenchmark


def test_the_machine_of_the_tests_is_in_order(tmp_path):
    """What needs no import is checked here; what does, in the next tests."""
    for finding in (python(), shared_memory(), disk(str(tmp_path / "not" / "there" / "yet")), descriptors()):
        assert finding.status is Status.OK, finding
    assert "usable" in cores_and_memory().message
    assert not (tmp_path / "not").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pusht", "metaworld", "gymnasium"])
def test_a_simulator_is_built_and_drawn_for_real(name):
    """In a process of its own, as `proctor doctor` does."""
    finding = make(Check(name, "proctor.doctor.checks:simulator", (name,), {"MUJOCO_GL": "egl"}, limit_s=120))

    assert finding.status is Status.OK, finding
    if name == "metaworld":
        assert "button-press-v3 built and drawn (480x480)" in finding.message


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL")
def test_a_frame_is_drawn_for_real():
    """By whom is said; a backend that does not exist has failed."""
    gl = "proctor.doctor.checks:gl"

    drawn = make(Check("GL", gl, environment={"MUJOCO_GL": "egl"}, limit_s=60))
    failed = make(Check("GL", gl, environment={"MUJOCO_GL": "nonsense"}, limit_s=60, remedy="use egl"))

    assert drawn.status in (Status.OK, Status.WARNING), drawn
    assert "drew a frame in" in drawn.message
    assert failed.status is Status.BROKEN
    assert failed.remedy == "use egl"


def test_an_interpreter_that_nobody_tests_with_is_a_warning(monkeypatch):
    """Not an end."""
    monkeypatch.setattr(checks.sys, "version_info", (3, 99, 0))

    assert python().status is Status.WARNING
    assert "3.11 and 3.12" in python().remedy


def test_too_few_descriptors_are_a_warning_with_the_command(monkeypatch):
    """Within what the system allows."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 2048))

    assert descriptors().status is Status.WARNING
    assert descriptors().remedy == "ulimit -n 2048"


def test_little_memory_is_a_warning(monkeypatch):
    """Simulators take half a gigabyte each, some two."""
    monkeypatch.setattr(checks, "usable_cores", lambda: 8)
    monkeypatch.setattr(checks, "available_memory", lambda: 1 << 30)
    assert cores_and_memory().status is Status.WARNING

    monkeypatch.setattr(checks, "available_memory", lambda: None)
    assert cores_and_memory().status is Status.OK


def test_little_disk_and_none_are_warnings(monkeypatch, tmp_path):
    """Results may be put elsewhere."""
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    assert disk(str(tmp_path)).status is Status.WARNING

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checks.tempfile, "TemporaryDirectory", refuse)
    assert disk(str(tmp_path)).message == f"{tmp_path} does not take results: Read-only file system"
    assert "--output_dir" in disk(str(tmp_path)).remedy


@pytest.mark.parametrize(
    ("needs", "status"),
    [
        (Requirements({}, ("gym-pusht>=0.1.5",), "pip install it"), Status.ABSENT),
        (Requirements({}, ("mujoco<3.4,>=3 (there is 4.0)",), "pip install it"), Status.WARNING),
        (Requirements({"mujoco": "3.3"}, ("metaworld==3.1.1",), "pip install it"), Status.WARNING),
    ],
    ids=["nothing", "another version", "a part"],
)
def test_what_is_not_installed_is_absent_and_what_is_half_installed_a_warning(monkeypatch, needs, status):
    """With the command that installs it; the same for benchmarks and for LeRobot."""
    monkeypatch.setattr(plugins, "requirements_of", lambda _: needs)

    for finding in (simulator("pusht"), lerobot()):
        assert finding.status is status
        assert needs.missing[0] in finding.message
        assert finding.remedy == "pip install it"


@pytest.mark.parametrize(("name", "package"), [("hil", "gym_hil"), ("xarm", "gym_xarm")])
def test_a_benchmark_whose_package_no_extra_brings_is_absent_without_it(monkeypatch, name, package):
    """Else a new installation would be called broken."""
    monkeypatch.setitem(sys.modules, package, None)
    finding = simulator(name)

    assert finding.status is Status.ABSENT
    assert f"proctor env create {name}" in finding.message


def test_an_image_of_one_colour_is_trouble(monkeypatch):
    """Environments drawn from the wrong thread, or through a lost context, are black and say nothing."""
    import numpy as np

    from proctor.testing.fakes import FakeEnv

    monkeypatch.setattr(
        plugins, "installed", lambda _: {"fake": EntryPoint("fake", "proctor.testing.fakes:FakeBenchmark", "")}
    )
    assert simulator("fake").status is Status.OK
    monkeypatch.setattr(FakeEnv, "_image", lambda self: np.zeros((8, 8, 3), np.uint8))

    with pytest.raises(RuntimeError, match="all of one colour"):
        simulator("fake")


@pytest.mark.parametrize(
    ("release", "remedy"),
    [
        ({"ID": "debian", "VERSION_ID": "12"}, "run tools/vulkan_driver of Proctor's repository"),
        ({"ID": "ubuntu", "VERSION_ID": "22.04"}, "Ubuntu 22.04 may have a Mesa that is too old"),
        ({"ID": "debian", "VERSION_ID": "13"}, "apt-get install mesa-vulkan-drivers"),
        (OSError(), "apt-get install mesa-vulkan-drivers"),
    ],
    ids=["Debian 12", "Ubuntu 22.04", "Debian 13", "another system"],
)
def test_without_a_vulkan_driver_the_remedy_is_the_systems(monkeypatch, release, remedy):
    """Debian 12 has none that ManiSkill can use, and another Mesa would draw other images with MuJoCo."""

    class Lost:
        Device = RenderSystem = staticmethod(lambda _: (_ for _ in ()).throw(RuntimeError("no driver")))

    sapien = SimpleNamespace(render=Lost, Device=str)
    monkeypatch.setitem(sys.modules, "sapien", sapien)
    monkeypatch.setitem(sys.modules, "sapien.render", Lost)
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda _: object())

    def told():
        if isinstance(release, OSError):
            raise release
        return release

    monkeypatch.setattr(checks.platform, "freedesktop_os_release", told)

    finding = checks.vulkan()

    assert finding.status is Status.BROKEN
    assert finding.message == "ManiSkill cannot draw on the CPU: no driver"
    assert remedy in finding.remedy


def test_a_benchmark_whose_files_must_be_fetched_is_absent(monkeypatch):
    """What is missing is said; nothing on this machine is broken."""
    point = EntryPoint("fake", "proctor.testing.fakes:FakeBenchmark", "")
    monkeypatch.setattr(plugins, "installed", lambda _: {"fake": point})

    def refuse(*_):
        raise MissingFilesError("It needs files: fetch them.")

    monkeypatch.setattr(FakeBenchmark, "make_env", refuse)

    assert simulator("fake").status is Status.ABSENT
    assert simulator("fake").message.endswith("It needs files: fetch them.")


def test_without_torch_there_is_nothing_to_check(monkeypatch):
    """It is needed for policies with weights only."""
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda _: None)

    assert torch().status is Status.ABSENT
    assert checks.gl().status is Status.ABSENT
    assert checks.vulkan().status is Status.ABSENT


def test_a_library_that_is_missing_is_named(monkeypatch):
    """MuJoCo itself would say that None has no attribute."""
    monkeypatch.setitem(os.environ, "MUJOCO_GL", "osmesa")
    monkeypatch.setattr(frame.ctypes.util, "find_library", lambda _: None)

    with pytest.raises(RuntimeError, match="OSMesa library is not installed"):
        frame.draw_test_frame()
