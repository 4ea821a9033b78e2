"""The page of an evaluation in open loop as Chromium shows it from disk, on a desk and on a phone."""

from __future__ import annotations

import pytest
from test_open_loop_report import plots_of, result

from proctor.reports.html.open_loop import render_open_loop


@pytest.mark.parametrize("width", [1200, 420])
def test_the_page_is_complete_fits_and_asks_for_nothing(browser, tmp_path, width):
    """Its policy refuses nothing that it needs; tables scroll in themselves; a long one unfolds."""
    file = tmp_path / "open_loop.html"
    found = result()
    file.write_text(render_open_loop("a policy", found, plots_of(found), [("seed", "1000")]))
    context = browser.new_context(viewport={"width": width, "height": 900})
    page, seen = context.new_page(), []
    page.on("console", lambda message: seen.append(message.text))
    page.on("request", lambda request: seen.append(request.url))

    page.goto(file.as_uri())

    assert seen == [file.as_uri()]
    assert page.locator("svg.chart").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    last = page.get_by_role("rowheader", name="29", exact=True)
    assert not last.is_visible()
    page.locator("summary").click()
    assert last.is_visible()
    context.close()
