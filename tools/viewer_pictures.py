"""Draw the viewer on real runs: stills of the index, a run and a comparison, and a moving picture of a visit.

    python tools/viewer_pictures.py FOLDER

``FOLDER`` holds two runs on the same tasks and seeds, ``act`` and another one. The files, in ``docs/images``, are
``viewer.webp`` (moving), ``viewer-index.png``, ``viewer-run.png``, ``viewer-compare.png``, ``viewer-pair.png``. Videos
that are missing are rendered by the viewer.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moving_picture import IMAGES, MovingPicture, chromium_page, save_still
from playwright.sync_api import FloatRect, Page

from proctor.view import Viewer

FIRST = "act"
WIDTH, HEIGHT, PICTURE_WIDTH = 1180, 740, 860
LOOK_MS, STEP_MS, STEPS = 1500, 110, 22
RENDERING_MS = 240_000
_SEEKED = "() => [...document.querySelectorAll('.lane video')].every(each => !each.seeking && each.readyState > 1)"


def main(folder: Path) -> None:
    """Serve the folder, visit its pages, and write the pictures."""
    picture = MovingPicture(PICTURE_WIDTH)
    with _served(folder) as url, chromium_page(WIDTH, HEIGHT) as page:
        lines = _index(page, url, picture) + _run(page, picture) + _comparison(page, url, picture)
    sys.stdout.write(lines + picture.save(IMAGES / "viewer.webp"))


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    viewer = Viewer(folder)
    thread = threading.Thread(target=viewer.serve)
    thread.start()
    try:
        yield viewer.url
    finally:
        viewer.stop()
        thread.join()


def _index(page: Page, url: str, picture: MovingPicture) -> str:
    page.goto(url)
    page.wait_for_timeout(800)
    picture.add(page.screenshot(), LOOK_MS)
    return save_still(page.screenshot(clip=_top(page, "tbody:last-of-type")), IMAGES / "viewer-index.png")


def _run(page: Page, picture: MovingPicture) -> str:
    page.locator(".name a").filter(has_text=FIRST).click()
    page.wait_for_timeout(800)
    picture.add(page.screenshot(), LOOK_MS)
    page.locator(".chips button", has_text="failure").click()
    page.locator("#episodes tbody tr").first.click()
    _render_what_is_missing(page)
    _scroll_to(page, "#episodes")
    _play(page, picture)
    return save_still(page.screenshot(), IMAGES / "viewer-run.png")


def _comparison(page: Page, url: str, picture: MovingPicture) -> str:
    page.goto(url)
    for box in sorted(page.get_by_role("checkbox").all(), key=lambda each: each.get_attribute("aria-label") or ""):
        box.check()
    picture.add(page.screenshot(), LOOK_MS // 2)
    page.locator("button.compare").click()
    page.wait_for_timeout(800)
    picture.add(page.screenshot(), 2 * LOOK_MS)
    line = save_still(page.screenshot(clip=_top(page, "#results")), IMAGES / "viewer-compare.png")
    page.locator("#episodes .chips button", has_text="A ✓ B ✗").click()
    page.locator("#episodes tbody tr").first.click()
    _render_what_is_missing(page)
    _scroll_to(page, "#episodes")
    _play(page, picture)
    return line + save_still(page.screenshot(), IMAGES / "viewer-pair.png")


def _render_what_is_missing(page: Page) -> None:
    for lane in page.locator(".lane").all():
        if (button := lane.get_by_role("button", name="Render it now")).is_visible():
            button.click()
        lane.locator("video").wait_for(state="visible", timeout=RENDERING_MS)


def _scroll_to(page: Page, selector: str) -> None:
    page.evaluate(f"document.querySelector('{selector}').scrollIntoView()")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(600)


def _play(page: Page, picture: MovingPicture) -> None:
    """Step through the episode that is selected, a frame of the picture for each of some steps."""
    slider = page.get_by_label("Step", exact=True)
    last = int(slider.get_attribute("max") or 0)
    for k in range(STEPS + 1):
        slider.fill(str(round(last * k / STEPS)))
        page.wait_for_function(_SEEKED)
        page.wait_for_timeout(60)  # the frame that was sought is drawn
        picture.add(page.screenshot(), STEP_MS)
    picture.durations[-1] = LOOK_MS


def _top(page: Page, last: str) -> FloatRect:
    """Return the part of the page from its top to the end of an element."""
    box = page.locator(last).bounding_box()
    return {"x": 0, "y": 0, "width": WIDTH, "height": min(HEIGHT, box["y"] + box["height"] + 16) if box else HEIGHT}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
