"""Conversions of images for policy servers: rotation, and resizing with black bars as openpi's client, to the byte."""

from __future__ import annotations

import numpy as np

from proctor.errors import ConfigError
from proctor.types import Array


def turned(image: Array) -> Array:
    """Give an image ``(height, width, channels)`` turned by 180 degrees."""
    return np.ascontiguousarray(image[::-1, ::-1])


def resize_with_pad(image: Array, height: int, width: int) -> Array:
    """Give a uint8 image ``(height, width, channels)`` shrunk or enlarged to fit, in the middle of black.

    The size is computed as ``openpi_client.image_tools.resize_with_pad`` computes it, whose filter is Pillow's bilinear
    one: sides are rounded down, and so are the bars above and on the left. The last bits of resized tall images differ
    between Pillow 12 and Pillow 13, so results depend on Pillow's version.
    """
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    there = Image.fromarray(image)
    ratio = max(there.width / width, there.height / height)
    inner_width, inner_height = int(there.width / ratio), int(there.height / ratio)
    inner = there.resize((inner_width, inner_height), resample=Image.Resampling.BILINEAR)
    whole = Image.new(inner.mode, (width, height), 0)
    whole.paste(inner, (int((width - inner_width) / 2), int((height - inner_height) / 2)))
    return np.asarray(whole)


def stretched(image: Array, height: int, width: int) -> Array:
    """Give a uint8 image ``(height, width, channels)`` at another size and shape, as ``cv2.resize`` does it by default:
    each pixel is interpolated between the four nearest ones.

    Raises:
        ConfigError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "policy.inputs stretches an image, which needs OpenCV: pip install opencv-python-headless"
        ) from error
    resized: Array = cv2.resize(image, (width, height))
    return resized


def as_uint8(image: Array) -> Array:
    """Give an image of real numbers from 0 to 1 as uint8, rounded down as in openpi's client; leave others."""
    return (255 * image).astype(np.uint8) if image.dtype.kind == "f" else image
