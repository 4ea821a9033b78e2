"""Rendering of robosuite's cameras on demand: an environment that renders nothing unless its images are used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from proctor.benchmarks.base import import_simulator
from proctor.benchmarks.robosuite.lean_context import lean_context
from proctor.machine.resources import give_back_freed_memory
from proctor.types import Array


@dataclass(frozen=True)
class View:
    """Cameras that a policy sees, and the size (width, height) of their images in pixels.

    ``looking`` is a context manager that is entered around every rendering.
    """

    cameras: tuple[str, ...]
    size: tuple[int, int]
    looking: Callable[[], AbstractContextManager[None]] = nullcontext


def import_robosuite(extra: str) -> Any:
    """Import robosuite without its log file in ``/tmp``, which only the first user on a machine can write.

    Raises:
        MissingExtraError: robosuite is not installed; ``extra`` of Proctor installs it.
    """
    log_file, logging.FileHandler = logging.FileHandler, lambda *_, **__: logging.NullHandler()  # type: ignore[misc, assignment]
    try:
        return import_simulator("robosuite", extra)
    finally:
        logging.FileHandler = log_file  # type: ignore[misc]


def draw_on_demand(environment: Any, view: View) -> Any:
    """Return a subclass of a robosuite environment that renders only while ``drawing`` is true.

    It creates no GL context; :func:`create_context` does.
    """

    class OnDemand(environment):  # type: ignore[misc, valid-type, unused-ignore]
        drawing = False

        def _reset_internal(self) -> None:
            # robosuite would create a GL context here, and end with a `forward`, which changes the constraint solver.
            self.sim.forward()
            self.has_offscreen_renderer = False
            super()._reset_internal()

        def _create_camera_sensors(self, *args: Any, **kwargs: Any) -> tuple[list[Any], list[str]]:
            sensors, names = super()._create_camera_sensors(*args, **kwargs)
            return [self._on_demand(sensor) for sensor in sensors], names

        def _on_demand(self, draw: Any) -> Any:
            width, height = view.size

            def look(cache: Any) -> Array:
                if not self.drawing:
                    return np.zeros((height, width, 3), np.uint8)
                with view.looking():
                    drawn: Array = draw(cache)
                return drawn

            look.__modality__ = draw.__modality__  # type: ignore[attr-defined]
            return look

    OnDemand.__name__ = environment.__name__  # LIBERO compares it with the name in the task's file
    return OnDemand


def create_context(sim: Any) -> Any:
    """Create the GL context of a robosuite simulation and return it. The simulation's state does not change."""
    import mujoco
    from robosuite.utils.binding_utils import MjRenderContextOffscreen

    class Lean(MjRenderContextOffscreen):  # type: ignore[misc, valid-type, unused-ignore]
        def _set_mujoco_context_and_buffers(self) -> None:
            self.con = lean_context(self.model._model)  # noqa: SLF001 - robosuite's own code does this
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.con)

    sim.forward = lambda: None  # the context's constructor would call it
    try:
        context = Lean(sim, device_id=-1)
    finally:
        del sim.forward
    give_back_freed_memory()  # meshes and textures pass through buffers of up to 100 MB
    context.vopt.geomgroup[0], context.vopt.geomgroup[1] = 0, 1  # show visual geometry, not collision geometry
    return context
