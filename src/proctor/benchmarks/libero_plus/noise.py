"""LIBERO-plus's corruptions of an image, computed by its own functions, from random numbers that depend on the moment.

LIBERO-plus draws from numpy's global generator at every step. Here the numbers follow from the episode's seed and the
step, so that an image does not depend on whether the images before it were looked at, and the simulation's own random
numbers are not touched.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

from proctor.errors import ConfigError
from proctor.types import Array

SIZE = (256, 256)
"""The size (width, height) of images that all corruptions accept: fog has 256 pixels, glass is stirred for 224."""

_CORRUPTIONS = ("motion_blur", "gaussian_blur", "zoom_blur", "fog", "glass_blur")
"""The names of LIBERO-plus's functions; each has ten severities."""


def corrupted(image: Array, noise: int, moment: tuple[int, int]) -> Array:
    """Return ``image``, uint8 (256, 256, 3), with corruption number ``noise`` (1 to 50) of a moment (seed, step).

    Raises:
        ConfigError: see :func:`corruptions`.
    """
    from PIL import Image

    kind, severity = divmod(noise - 1, 10)
    corrupt = getattr(corruptions(), _CORRUPTIONS[kind])
    before = np.random.get_state()  # noqa: NPY002 - LIBERO-plus draws from the global generator
    np.random.seed(np.random.SeedSequence(moment).generate_state(1))  # noqa: NPY002
    try:
        drawn: Array = np.asarray(corrupt(Image.fromarray(image), severity=severity + 1)).astype(np.uint8)
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return drawn


@cache
def corruptions() -> Any:
    """Import LIBERO-plus's module of corruptions; its other modules must have been imported before.

    Raises:
        ConfigError: a package that the module needs is not installed.
    """
    try:
        module = importlib.import_module("liberoplus.liberoplus.envs.env_wrapper")
    except ImportError as error:
        raise ConfigError(
            f"LIBERO-plus's tasks of axis noise need more packages ({error}); install ImageMagick's library "
            "(apt install libmagickwand-6.q16-6, or libmagickwand-7), and pip install Wand scikit-image opencv-python."
        ) from error
    vars(module)["np"] = _Numpy1()
    return module


class _Numpy1:
    """Numpy with the names of version 1 that LIBERO-plus's corruptions use."""

    float_ = np.float64

    @staticmethod
    def fromstring(data: bytes, dtype: Any) -> Array:
        return np.frombuffer(data, dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)
