"""A Vulkan driver beside the system's Mesa: what MuJoCo draws stays as it is, and what is missing is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / "tools" / "vulkan_driver"
DRIVER = REPOSITORY / ".cache" / "vulkan" / "lvp_icd.json"

DRAW = """
import hashlib, sys
import mujoco
body = "<body pos='0 0 .3'><geom type='box' size='.1 .2 .1' rgba='1 .2 .1 1'/></body>"
light = "<light pos='1 1 3'/><geom type='plane' size='2 2 .1'/>"
model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{light}{body}</worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 120, 160)
renderer.update_scene(data)
frame = renderer.render()
assert frame.std() > 10
loaded = open("/proc/self/maps").read()
print(hashlib.sha256(frame.tobytes()).hexdigest(), "libvulkan" in loaded)
"""


def drawn(backend, **environment):
    """The digest of a frame that MuJoCo draws in a process of its own, and whether a Vulkan driver is loaded there."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("VK_")}
    inherited |= {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend, **environment}
    done = subprocess.run([sys.executable, "-c", DRAW], env=inherited, capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else done.stderr.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL and OSMesa")
@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_mujoco_draws_the_same_with_the_driver_as_without(backend):
    """Byte by byte, and no Vulkan driver is loaded for it."""
    without = drawn(backend)
    if isinstance(without, str):
        pytest.skip(f"MuJoCo cannot draw with {backend} here: {without.splitlines()[-1]}")

    assert drawn(backend, VK_DRIVER_FILES=str(DRIVER)) == without
    assert without[1] == "False"


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """A system whose package sources have the version of Mesa that the test writes into a file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {
        "apt-get": "[ $1 != indextargets ] || (. /etc/os-release; echo http://mirror/debian $VERSION_CODENAME main)",
        "apt-cache": f'echo "mesa-vulkan-drivers | $(cat {tmp_path}/version) | http://mirror/debian main"',
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return tmp_path


def run(folder):
    return subprocess.run([str(TOOL), str(folder)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/usr/bin/dpkg").exists(), reason="needs Debian's dpkg")
def test_a_mesa_that_is_too_old_is_refused(debian):
    """With the version that there is, and the one that is needed; nothing is left behind."""
    (debian / "version").write_text("24.0.5-1")
    done = run(debian / "driver")

    assert done.returncode == 1
    assert "has Mesa 24.0.5-1, also in its backports, but ManiSkill needs 24.3" in done.stderr
    assert not [*(debian / "driver").iterdir()]


def test_a_driver_that_is_there_is_used_again(tmp_path):
    """Nothing is asked of any package source, so this takes no time and needs no network."""
    (tmp_path / "lvp_icd.json").touch()
    done = run(tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}/lvp_icd.json\n", "")
