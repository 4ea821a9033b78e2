"""MuJoCo's rendering resources without those that no image needs: the same pixels, for less time and memory."""

from __future__ import annotations

from typing import Any

import numpy as np

_CUBE_SIDES = 6
_DESCRIPTIONS = ("tex_type", "tex_width", "tex_height", "tex_nchannel", "tex_colorspace")
"""What MuJoCo has of a texture besides its content; the last one only in newer versions."""


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
    originals: list[int] = []
    copies = {}
    for number in range(model.ntex):
        original = next((earlier for earlier in originals if _are_equal(model, earlier, number)), None)
        if original is None:
            originals.append(number)
        else:
            copies[number] = original
    return copies


def _are_equal(model: Any, one: int, other: int) -> bool:
    described = [name for name in _DESCRIPTIONS if hasattr(model, name)]
    if any(getattr(model, name)[one] != getattr(model, name)[other] for name in described):
        return False
    size = int(model.tex_width[one]) * int(model.tex_height[one]) * int(model.tex_nchannel[one])
    contents = [model.tex_data[start : start + size] for start in map(int, model.tex_adr[[one, other]])]
    return bool(np.array_equal(*contents))
