"""A compiled robosuite scene with its GL context, which one simulation after another uses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from proctor.benchmarks.compiled_models import compile_model
from proctor.machine.resources import give_back_freed_memory
from proctor.types import Array

_LARGEST_RESTORED = 1 << 20
"""Bytes. Larger arrays of a model hold meshes and textures, which an episode never changes."""


class CompiledScene:
    """A scene's text, the model that it compiles to, and the GL context made for that model.

    Only one simulation at a time may use it. The first scene is looked up among the kept ones
    (:mod:`proctor.benchmarks.compiled_models`); scenes that differ from episode to episode are compiled and not kept.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.context: Any = None
        self._text = ""
        self._new: Mapping[str, Array] = MappingProxyType({})

    def is_of(self, text: str) -> bool:
        """Return True if this is the scene with this text."""
        return self.model is not None and text == self._text

    def simulation(self, text: str) -> Any:
        """Return a new robosuite simulation of the scene with this text, equal to one of a freshly compiled model."""
        from robosuite.utils.binding_utils import MjSim

        if not self.is_of(text):
            self._compile(text)
        for name, values in self._new.items():
            getattr(self.model, name)[...] = values
        simulation = MjSim(self.model)
        if self.context is not None:
            context = self.context
            context.sim, context.model, context.data = simulation, simulation.model, simulation.data
            simulation.add_render_context(context)
        return simulation

    def _compile(self, text: str) -> None:
        import mujoco

        is_first, before = self.model is None, self.model
        self.model = compile_model(text) if is_first else mujoco.MjModel.from_xml_string(text)
        self._text, self._new = text, _small_arrays(self.model)
        if self.context is not None and not look_alike(before, self.model):
            self.context = None
        if is_first:
            mujoco.MjModel.from_xml_string("<mujoco/>")  # the compiler frees a scene when it is given another one
            give_back_freed_memory()

    def forget(self) -> None:
        """Free the GL context and the model."""
        self.context, self.model, self._text, self._new = None, None, "", MappingProxyType({})


def _small_arrays(model: Any) -> dict[str, Array]:
    """Return copies of a model's arrays that an episode may change."""
    found = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {
        name: values.copy()
        for name, values in found.items()
        if isinstance(values, np.ndarray) and values.nbytes < _LARGEST_RESTORED and values.flags.writeable
    }


def look_alike(one: Any, other: Any) -> bool:
    """Return True if a GL context made for one model also draws the other: what it was made from is the same.

    That is meshes (but not the polygons of collisions), textures, materials, and the scene's extent, which sets its fog
    and the depth of its shadows. MuJoCo reads sizes, places and colours whenever it draws.
    """
    names = [name for name in dir(one) if name.startswith(("hfield_", "mat_", "mesh_", "skin_", "tex_"))]
    drawn = [name for name in names if not name.startswith("mesh_poly")]
    return bool(one.stat.extent == other.stat.extent) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in drawn
    )
