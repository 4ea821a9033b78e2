"""Chooses the renderer of simulators before any of them starts, by drawing a frame with each possibility."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from functools import cache

from proctor.benchmarks.base import Benchmark
from proctor.child.calls import Call, ChildError
from proctor.errors import ConfigError

_BACKEND, _EGL_DEVICE = "MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID"
_KNOWN_TO_OPENGL = ("egl", "osmesa")
_LIMIT_S = 60.0

_Settings = tuple[tuple[str, str], ...]


def choose_renderer(benchmark: Benchmark, policy_device: str | None = None, *, draws: bool = True) -> None:
    """Set in the environment what this process and all that it starts from now on draw with.

    With ``--env.render_device=auto`` a ``MUJOCO_GL`` that the user has set is kept. Otherwise EGL is chosen if a frame
    can be drawn with it, else OSMesa if a frame can be drawn with OSMesa. EGL draws on the GPU that ``policy_device``
    (``cuda:1``) names, if it can; a ``MUJOCO_EGL_DEVICE_ID`` that the user has set is kept. If the benchmark does not
    draw with GL, nothing is tried.

    Raises:
        ConfigError: something will be drawn (``draws``) with MuJoCo's GL, and what the user has set cannot draw.
    """
    if sys.platform != "linux":
        return
    wanted, python = benchmark.config.render_device, benchmark.config.python
    backend = os.environ.get(_BACKEND, "").strip().lower() if wanted == "auto" else wanted  # as MuJoCo reads it
    options = [_settings(name) for name in ([backend] if backend else _KNOWN_TO_OPENGL)]
    usual = options[0]
    device = None if _EGL_DEVICE in os.environ else _egl_device(policy_device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if device is not None and backend in ("", "egl"):
        options.insert(0, (*_settings("egl"), (_EGL_DEVICE, device)))
    if not benchmark.draws_with_gl or len(options) == 1:
        chosen = usual
    else:
        # If none can draw, the simulator raises an error with the reason.
        chosen = next((option for option in options if _draws(option, python)), usual)
    if draws and benchmark.needs_gl:
        named = "" if not backend else f"{_BACKEND}={backend}" if wanted == "auto" else f"env.render_device={backend}"
        _require_drawing(chosen, named, python)
    os.environ.update(chosen)


def _require_drawing(settings: _Settings, named: str, python: str | None) -> None:
    """Refuse what the user has set if it cannot draw: the backend, if it is ``named``, or EGL's device.

    If the user has set nothing, the simulator itself reports what is missing.
    """
    device = os.environ.get(_EGL_DEVICE) if settings[0][1] == "egl" else None
    on_device = settings if device is None else (*settings, (_EGL_DEVICE, device))
    if (device is None and not named) or _draws(on_device, python):
        return
    way_on = "leave it out, and what can draw is found out"
    if device is not None and _draws((*settings, (_EGL_DEVICE, "0")), python):
        named, way_on = f"{_EGL_DEVICE}={device}", "leave it out, or name another device"
    if named:
        raise ConfigError(f"Simulators cannot draw here with {named}: {way_on}; `proctor doctor` tries every backend.")


def _settings(backend: str) -> _Settings:
    settings = ((_BACKEND, backend),)
    return (*settings, ("PYOPENGL_PLATFORM", backend)) if backend in _KNOWN_TO_OPENGL else settings


@cache
def _draws(settings: _Settings, python: str | None) -> bool:
    """Try to draw a frame, in a process of its own: GL may crash, and a process in which it ran is marked by it.

    The frame is drawn under another interpreter, ``python``, if simulators have one. Without MuJoCo nothing can be
    tried, and any settings will do.
    """
    if python is None and importlib.util.find_spec("mujoco") is None:
        return True
    address = "proctor.rendering.frame:can_draw"
    try:
        Call(address, result=bool, environment=dict(settings), limit_s=_LIMIT_S, interpreter=python).result()
    except ChildError:
        return False
    return True


def _egl_device(policy_device: str | None, visible: str | None) -> str | None:
    """Give EGL's number of the policy's GPU: the machine's number, whatever ``CUDA_VISIBLE_DEVICES`` calls it."""
    match = re.match(r"cuda(?::(\d+))?(?:,|$)", policy_device or "")
    if match is None:
        return None
    number = int(match[1] or 0)
    if not visible:
        return str(number)
    names = visible.split(",")
    return names[number] if number < len(names) and names[number].isdecimal() else None
