"""axe-core finds nothing serious on any page of the viewer, in light and in dark."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import expect
from served_runs import STORED, ask, fake_run, fake_sweep, opened, viewing


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A viewer's address, and the path of each kind of page."""
    folder = tmp_path_factory.mktemp("axe")
    fake_run(folder / "one", notes="a run with a note")
    shutil.copytree(STORED, folder / "two")
    (folder / "two" / "eval_info.json").unlink()
    journal = folder / "two" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    fake_sweep(folder / "sweep")
    with viewing(folder) as viewer, viewing(folder / "nothing", may_be_missing=True) as empty:
        index = ask(viewer, "/").text
        ids = {name: run for run, name in re.findall(r'value="(\w+)" aria-label="Compare ([^"]+)"', index)}
        (sweep,) = re.findall(r'href="/sweeps/(\w+)"', index)
        yield {
            "index": viewer.url,
            "empty": empty.url,
            "run": f"{viewer.url}runs/{ids['one']}",
            "unfinished": f"{viewer.url}runs/{ids['two']}",
            "compare": f"{viewer.url}compare?run={ids['sweep/001000']}&run={ids['sweep/002000']}",
            "sweep": f"{viewer.url}sweeps/{sweep}",
        }


@pytest.mark.parametrize("kind", ["index", "empty", "run", "unfinished", "compare", "sweep"])
def test_nothing_serious_is_found(browser, axe, addresses, kind):
    """Also with everything open that can be opened."""
    for page in opened(browser, addresses[kind]):
        if kind == "index":
            page.locator(".fold").click()
            page.locator("[name='run']").first.check()
            page.get_by_text("Delete …").click()
        if kind in ("run", "compare"):
            page.locator("#episodes tbody tr").first.click()
            expect(page.locator(".player h3").first).to_be_visible()
        found = axe(page)
        assert found == [], "\n".join(found)


def test_axe_would_find_something(browser, axe, addresses):
    """A picture without words is serious."""
    for page in opened(browser, addresses["empty"]):
        page.evaluate("() => document.querySelector('main').append(document.createElement('img'))")
        assert [each.split()[0] for each in axe(page)] == ["image-alt"]
