"""The panel of a served page: what was recorded comes from the server, and a video of either side on request."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect
from served_runs import ask, fake_run, viewing

from proctor.results.run_dir import RunDirectory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs on the same seeds, the second without videos."""
    runs = tmp_path_factory.mktemp("panel")
    fake_run(runs / "a")
    fake_run(runs / "b", video="none")
    return runs


@pytest.fixture(scope="module")
def viewer(folder):
    with viewing(folder) as serving:
        yield serving


def ids_of(viewer):
    """The ids of the two runs by name, from the index."""
    found = re.findall(r'value="(\w+)" aria-label="Compare (\w+)"', ask(viewer, "/").text)
    return {name: run_id for run_id, name in found}


def test_a_and_b_are_shown_together_and_b_is_rendered_on_request(viewer, folder, browser):
    """One lane each; the video of B comes into its lane, and what was recorded of both is drawn."""
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(viewer.url) else wrong.append(request.url))
    page.goto(viewer.url)
    page.get_by_label("Compare a", exact=True).check()
    page.get_by_label("Compare b", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    page.locator("#episodes tbody tr").first.click()
    lanes = page.locator(".lane")
    expect(lanes).to_have_count(2)
    expect(page.locator(".strip").first.locator("path")).to_have_count(2)
    expect(lanes.nth(0).locator(".rendering")).to_be_hidden()

    lanes.nth(1).get_by_role("button", name="Render it now").click()
    expect(lanes.nth(1).locator("video")).to_be_visible()

    assert len(list((folder / "b").glob("videos/*/*.mp4"))) == 1
    page.get_by_label("Step", exact=True).fill("3")
    moved = "() => [...document.querySelectorAll('.lane video')].every((each) => each.currentTime > 0)"
    page.wait_for_function(moved)
    context.close()
    assert wrong == []


def test_a_trace_is_served_for_each_episode_of_the_plan(viewer, folder):
    """As JSON; nothing else has one."""
    run_id = ids_of(viewer)["a"]
    tasks = RunDirectory(folder / "a").read_run().plan
    trace = json.loads(ask(viewer, f"/runs/{run_id}/episodes/1/{tasks[1].episodes[0].episode_index}/trace").body)

    assert trace["length"] > 0
    assert trace["channels"][-1][0].startswith("action")
    for path in (f"{run_id}/episodes/9/0", f"{run_id}/episodes/0/99", "nothing/episodes/0/0"):
        assert ask(viewer, f"/runs/{path}/trace").status == 404
