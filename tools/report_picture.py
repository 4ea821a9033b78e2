"""Draw ``docs/images/report.png``: the page that ``proctor report`` writes for a run directory, in Chromium.

    python tools/report_picture.py RUN_DIR

The picture shows the first failure with its video and its steps; the part below the table of episodes is cut off.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from proctor.reports.html import linked_videos, read_report_run, render_report

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "report.png"
WIDTH, STEP = 1200, 80


def main(run_dir: Path) -> None:
    """Write the page, take a screenshot, and keep the file small."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        file.write_text(render_report([read_report_run(run_dir)], [], linked_videos(file)))
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": WIDTH, "height": 900}, reduced_motion="reduce")
        page.goto(file.as_uri())
        photograph = _photograph(page)
        chromium.close()
    picture = Image.open(io.BytesIO(photograph)).convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
    picture.save(PICTURE, optimize=True)


def _photograph(page: Page) -> bytes:
    page.locator(".chips button", has_text="failure").click()
    page.locator(".episodes tbody button", has_text="▶").first.click()
    page.wait_for_function("() => document.querySelector('.lane video').currentTime > 0")
    page.get_by_label("Step", exact=True).fill(str(STEP))
    page.wait_for_function("() => !document.querySelector('.lane video').seeking")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(1000)  # the posters of failures are loaded slightly longer
    height = page.evaluate("document.querySelector('#charts').getBoundingClientRect().top + scrollY")
    return page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height - 20})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
