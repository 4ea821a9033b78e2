"""MuJoCo's rendering resources without those that no image needs: the same pixels, for less time and memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from proctor.types import Array

_CUBE_SIDES = 6
_DESCRIPTIONS = ("tex_type", "tex_width", "tex_height", "tex_nchannel", "tex_colorspace")
"""What MuJoCo has of a texture besides its content; the last one only in newer versions."""
_SKETCHED = 997
"""A prime, so that the bytes of the sketch are not of one column or one colour."""


def lean_context(model: Any) -> Any:
    """Return MuJoCo's rendering context of a model; a GL context must be current. Its images are the usual ones.

    MuJoCo allocates a shadow map of 4096 x 4096 even if no light casts a shadow, as in all of LIBERO; here there is
    none then. It uploads a texture once for each object that has it; here textures that are equal are uploaded once.
    """
    import mujoco

    quality = model.vis.quality
    shadow_size, copies = quality.shadowsize, _copies(model)
    sizes = model.tex_width.copy(), model.tex_height.copy()
    try:
        if not model.light_castshadow.any():
            quality.shadowsize = 0
        for copy in copies:
            model.tex_width[copy] = 1
            model.tex_height[copy] = _CUBE_SIDES if model.tex_height[copy] > model.tex_width[copy] else 1
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
    finally:
        quality.shadowsize = shadow_size
        model.tex_width[:], model.tex_height[:] = sizes
    for copy, original in copies.items():
        context.texture[copy] = context.texture[original]
    return context


def _copies(model: Any) -> dict[int, int]:
    """Map each texture that equals an earlier one to that one."""
    originals: dict[tuple[Any, ...], int] = {}
    copies = {}
    for number in range(model.ntex):
        original = originals.setdefault(_sketch(model, number), number)
        if original != number and np.array_equal(_content(model, original), _content(model, number)):
            copies[number] = original
    return copies


def _sketch(model: Any, number: int) -> tuple[Any, ...]:
    """Return what is equal for equal textures and hardly for others: the description and one in a thousand bytes."""
    described = [int(getattr(model, name)[number]) for name in _DESCRIPTIONS if hasattr(model, name)]
    return (*described, _content(model, number)[::_SKETCHED].tobytes())


def _content(model: Any, number: int) -> Array:
    start = int(model.tex_adr[number])
    size = int(model.tex_width[number]) * int(model.tex_height[number]) * int(model.tex_nchannel[number])
    content: Array = model.tex_data[start : start + size]
    return content
