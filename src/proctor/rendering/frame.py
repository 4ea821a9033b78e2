"""Draws one frame with MuJoCo, to find out whether and how that is possible."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast")

_RED_BALL = """
<mujoco><worldbody>
  <light pos="0 0 3"/>
  <geom type="sphere" size="0.5" rgba="1 0 0 1"/>
  <camera name="above" pos="0 0 2"/>
</worldbody></mujoco>
"""


@dataclass(frozen=True, slots=True)
class DrawnFrame:
    """The name that the driver gives the renderer of a frame, and the seconds that the frame took."""

    renderer: str
    seconds: float

    @property
    def misses_the_gpu(self) -> bool:
        """The CPU drew the frame although there is an NVIDIA driver."""
        return _NVIDIA_DRIVER.exists() and any(name in self.renderer for name in _SOFTWARE_RENDERERS)


def draw_test_frame() -> DrawnFrame:
    """Draw a red ball with MuJoCo, through the backend that ``MUJOCO_GL`` names. The process may crash of it, and the
    driver keeps traces of it as long as the process lives.

    Raises:
        RuntimeError: a library is missing, or the image is wrong.
    """
    if os.environ.get("MUJOCO_GL") == "osmesa" and ctypes.util.find_library("OSMesa") is None:
        raise RuntimeError("the OSMesa library is not installed")
    import mujoco

    began = perf_counter()
    model = mujoco.MjModel.from_xml_string(_RED_BALL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, 64, 64)  # it closes itself; MuJoCo 2 has no other way
    renderer.update_scene(data, "above")
    image = renderer.render()
    name = _gl_renderer()
    middle, corner = image[32, 32], image[0, 0]
    if not (middle[0] > 100 > middle[1] and corner[0] < 100):
        raise RuntimeError(f"it draws a wrong image: {middle.tolist()} where red should be (by {name})")
    return DrawnFrame(name, perf_counter() - began)


def can_draw() -> bool:
    """Say whether :func:`draw_test_frame` works; it does if there is no MuJoCo, as nothing can be tried then."""
    if importlib.util.find_spec("mujoco") is not None:
        draw_test_frame()
    return True


def _gl_renderer() -> str:
    """Give what draws, in the driver's words. A context must be current."""
    from OpenGL import GL

    return str(GL.glGetString(GL.GL_RENDERER).decode())
