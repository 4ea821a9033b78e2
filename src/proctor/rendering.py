"""What simulators draw with: decided before any of them starts, by drawing."""

from __future__ import annotations

import os
import re
import sys
from functools import cache

from proctor.benchmarks.base import Benchmark
from proctor.doctor.examination import Check, make
from proctor.doctor.findings import Status
from proctor.errors import ConfigError

_BACKEND, _EGL_DEVICE = "MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID"
_KNOWN_TO_OPENGL = ("egl", "osmesa")
_LIMIT_S = 60.0

_Settings = tuple[tuple[str, str], ...]


def choose_renderer(benchmark: Benchmark, policy_device: str | None = None, *, draws: bool = True) -> None:
    """Settle in the environment what this process and all that it starts from now on draw with.

    With ``--env.render_device=auto`` a ``MUJOCO_GL`` of the user's is kept; else it is EGL if a frame can be drawn with
    it, else OSMesa if that one can draw. EGL draws on the GPU that ``policy_device`` (``cuda:1``) names, if it can; a
    ``MUJOCO_EGL_DEVICE_ID`` of the user's is kept. Where the benchmark does not draw with GL nothing is tried.

    Raises:
        ConfigError: something will be drawn (``draws``), with MuJoCo's GL, and what the user has set cannot draw.
    """
    if sys.platform != "linux":
        return
    wanted = benchmark.config.render_device
    backend = os.environ.get(_BACKEND, "").strip().lower() if wanted == "auto" else wanted  # as MuJoCo reads it
    options = [_settings(name) for name in ([backend] if backend else _KNOWN_TO_OPENGL)]
    usual = options[0]
    device = None if _EGL_DEVICE in os.environ else _egl_device(policy_device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if device is not None and backend in ("", "egl"):
        options.insert(0, (*_settings("egl"), (_EGL_DEVICE, device)))
    if not benchmark.draws_with_gl or len(options) == 1:
        chosen = usual
    else:
        chosen = next((option for option in options if _draws(option)), usual)  # if none can, the simulator says why
    if backend and draws and benchmark.needs_gl:
        _require_drawing(chosen, os.environ.get(_EGL_DEVICE), by_variable=wanted == "auto")
    os.environ.update(chosen)


def _require_drawing(settings: _Settings, device: str | None, *, by_variable: bool) -> None:
    """Refuse settings of the user's that cannot draw: the backend, or EGL's device."""
    name, value = settings[0]
    on_device = (*settings, (_EGL_DEVICE, device)) if device is not None and value == "egl" else settings
    if _draws(on_device):
        return
    if by_variable:
        blamed, way_on = f"{name}={value}", "unset it, and what can draw is found out"
    else:
        blamed, way_on = f"env.render_device={value}", "leave it out, and what can draw is found out"
    if on_device != settings and _draws((*settings, (_EGL_DEVICE, "0"))):
        blamed, way_on = f"{_EGL_DEVICE}={device}", "unset it, or name another device"
    raise ConfigError(
        f"Simulators cannot draw on this machine with {blamed}: {way_on}; `proctor doctor` tries them all."
    )


def _settings(backend: str) -> _Settings:
    settings = ((_BACKEND, backend),)
    return (*settings, ("PYOPENGL_PLATFORM", backend)) if backend in _KNOWN_TO_OPENGL else settings


@cache
def _draws(settings: _Settings) -> bool:
    """Whether a frame can be drawn so, in a process of its own: GL may crash, and leaves traces where it has been."""
    check = Check("GL", "proctor.doctor.checks:gl", environment=dict(settings), limit_s=_LIMIT_S)
    return make(check).status is not Status.BROKEN


def _egl_device(policy_device: str | None, visible: str | None) -> str | None:
    """EGL's number of the policy's GPU: that of the machine, whatever ``CUDA_VISIBLE_DEVICES`` calls it."""
    match = re.match(r"cuda(?::(\d+))?(?:,|$)", policy_device or "")
    if match is None:
        return None
    number = int(match[1] or 0)
    if not visible:
        return str(number)
    names = visible.split(",")
    return names[number] if number < len(names) and names[number].isdecimal() else None
