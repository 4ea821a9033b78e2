"""What tests in several folders need."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


@dataclass(frozen=True)
class Video:
    """A file as a player reads it. ``frames`` is uint8 ``(n, height, width, 3)``; times are in seconds."""

    codec: str
    pixel_format: str
    frame_rate: Fraction
    seconds: float
    times: list[float]
    frames: np.ndarray


def decode(path: Path) -> Video:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return Video(
            codec=stream.codec_context.name,
            pixel_format=stream.codec_context.pix_fmt,
            frame_rate=stream.average_rate,
            seconds=float(stream.duration * stream.time_base),
            times=[float(frame.pts * frame.time_base) for frame in frames],
            frames=np.stack([frame.to_ndarray(format="rgb24") for frame in frames]),
        )


@pytest.fixture(scope="session")
def watch():
    """Plays a video file: a function from its path to what is in it."""
    return decode


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window, as Playwright drives it."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "pages are tested in Chromium, which is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
