"""Frames from Chromium, and the animated WebP file that they become."""

from __future__ import annotations

import io
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
QUALITY = 62


@contextmanager
def chromium_page(width: int, height: int, scale: float = 1.0) -> Iterator[Page]:
    """Open a page in the installed Chromium, which makes no picture move by itself."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        size = {"width": width, "height": height}
        yield browser.new_page(viewport=size, reduced_motion="reduce", device_scale_factor=scale)  # type: ignore[arg-type]
        browser.close()


@dataclass
class MovingPicture:
    """The frames so far, and the milliseconds for which each of them is shown."""

    width: int
    frames: list[Image.Image] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)

    def add(self, screenshot: bytes, milliseconds: int) -> None:
        """Add a frame, in the width of the picture."""
        frame = Image.open(io.BytesIO(screenshot)).convert("RGB")
        height = round(frame.height * self.width / frame.width)
        self.frames.append(frame.resize((self.width, height), Image.Resampling.LANCZOS))
        self.durations.append(milliseconds)

    def save(self, path: Path) -> str:
        """Write the file, and return a line that tells its size."""
        first, *others = self.frames
        first.save(
            path, save_all=True, append_images=others, duration=self.durations, loop=0, quality=QUALITY, method=6
        )
        return f"{path.name}: {len(self.frames)} frames, {sum(self.durations) / 1000:.0f} s, {_kilobytes(path)}\n"


def save_still(screenshot: bytes, path: Path) -> str:
    """Write a screenshot with 256 colours, and return a line that tells its size."""
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    return f"{path.name}: {_kilobytes(path)}\n"


def evenly(moments: Sequence[float], n: int) -> list[int]:
    """Return, for ``n`` evenly spaced points in time, the index of the last moment before each, without repetition."""
    first, last = moments[0], moments[-1]
    points = (first + (last - first) * k / (n - 1) for k in range(n))
    return sorted({bisect_right(moments, point) - 1 for point in points})


def _kilobytes(path: Path) -> str:
    return f"{path.stat().st_size / 1000:.0f} kB"
