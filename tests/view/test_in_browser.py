"""The viewer in Chromium: choosing runs, comparing, following, watching, rendering."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from playwright.sync_api import expect
from served_runs import STORED, fake_run, viewing

from proctor.results.journal import read_journal
from proctor.results.run_dir import RunDirectory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of fakes, one with videos, and a stored one of Meta-World."""
    runs = tmp_path_factory.mktemp("browser")
    fake_run(runs / "first" / "with-videos")
    fake_run(runs / "second" / "without-videos", video="none")
    shutil.copytree(STORED, runs / "act_metaworld")
    return runs


@pytest.fixture(scope="module")
def viewer(folder):
    with viewing(folder) as serving:
        yield serving


@pytest.fixture
def page(browser, viewer):
    """The index; nothing may be wrong with a page, and nothing may be asked of anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    wrong = []
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: None if request.url.startswith(viewer.url) else wrong.append(request.url))
    opened.goto(viewer.url)
    yield opened
    context.close()
    assert wrong == []


def names(page):
    return page.locator("tbody tr:visible .name a").all_inner_texts()


def test_the_index_is_filtered_by_text_benchmark_and_policy(page):
    """Every word counts; how many are left is said."""
    assert sorted(names(page)) == ["act_metaworld", "first/with-videos", "second/without-videos"]
    expect(page.locator("output")).to_have_text("3 runs")

    page.get_by_label("Find").fill("expert sec")
    assert names(page) == ["second/without-videos"]
    expect(page.locator("output")).to_have_text("1 of 3 runs")

    page.get_by_label("Find").fill("")
    page.get_by_label("Benchmark").select_option("metaworld")
    assert names(page) == ["act_metaworld"]

    page.get_by_label("Benchmark").select_option("all")
    page.get_by_label("Policy").select_option("expert")
    assert sorted(names(page)) == ["first/with-videos", "second/without-videos"]


def test_the_newest_run_is_on_top(page):
    """By when it was last worked on; runs of one second by name."""
    assert names(page)[-1] == "act_metaworld"


def test_the_index_shows_what_has_come_since(page, folder):
    """Ticks and filters stay as they were; a run that has not finished has a rate so far."""
    page.get_by_label("Compare first/with-videos").check()
    page.get_by_label("Policy").select_option("expert")
    shutil.copytree(folder / "first" / "with-videos", folder / "zebra")
    (folder / "zebra" / "eval_info.json").unlink()
    journal = folder / "zebra" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))

    expect(page.locator("tr", has_text="zebra")).to_contain_text(re.compile(r"so far[\s\S]*unfinished"), timeout=15_000)
    assert sorted(names(page)) == ["first/with-videos", "second/without-videos", "zebra"]
    expect(page.get_by_label("Compare first/with-videos")).to_be_checked()
    shutil.rmtree(folder / "zebra")
    expect(page.locator("tr", has_text="zebra")).to_have_count(0, timeout=15_000)


def test_two_runs_are_compared_by_ticking_them(page):
    """Not one; with the one ticked first; and from the page one comes back."""
    compare = page.get_by_role("button", name="Compare")
    expect(compare).to_be_disabled()
    page.get_by_label("Compare second/without-videos").check()
    expect(compare).to_be_disabled()
    page.get_by_label("Compare first/with-videos").check()

    compare.click()
    expect(page.locator("#comparison")).to_contain_text("no difference")
    expect(page.locator("nav.viewer .place")).to_have_text(["second/without-videos", "first/with-videos"])
    page.get_by_role("link", name="All runs").click()
    expect(page.locator(".brand")).to_have_text("Proctor runs")


def test_a_video_plays_and_seeks(page):
    """From the server, in ranges."""
    page.get_by_role("link", name="first/with-videos").click()
    page.locator("#episodes tbody tr", has_text="▶").first.click()

    playing = (
        "() => { const v = document.querySelector('.lane video'); return v.readyState >= 2 && v.currentTime > 0; }"
    )
    page.wait_for_function(playing)
    sought = page.evaluate(
        """() => new Promise((resolve) => {
            const video = document.querySelector('.lane video');
            video.pause();
            video.addEventListener('seeked', () => resolve([video.currentTime, video.duration]), { once: true });
            video.currentTime = video.duration / 2;
        })"""
    )
    assert sought[0] == pytest.approx(sought[1] / 2, abs=0.1)


def test_an_episode_without_a_video_is_rendered_on_request(page, folder):
    """And then plays, in the same page, whose filter stays as it was."""
    page.get_by_role("link", name="second/without-videos").click()
    page.locator("select[data-filter=task]").select_option("task-1")
    page.locator("#episodes tbody tr").nth(1).click()
    expect(page.locator(".player")).to_contain_text("It has no video yet.")

    page.get_by_role("button", name="Render it now").click()
    expect(page.locator(".rendering")).to_contain_text("Rendering …")
    page.wait_for_function("() => document.querySelector('.lane video').currentTime > 0", timeout=40_000)

    assert len(list((folder / "second" / "without-videos").glob("videos/*_1/eval_episode_1.mp4"))) == 1
    expect(page.locator(".rendering")).to_be_hidden()
    expect(page.locator("#episodes .filters output")).to_have_text("3 of 6 episodes")
    expect(page.locator("#episodes tbody tr.chosen")).to_contain_text("▶")


def test_why_a_video_cannot_be_rendered_is_shown_in_the_page(page, folder):
    """In the words of the command."""
    shutil.copytree(folder / "second" / "without-videos", folder / "third")
    (folder / "third" / "journal.actions.bin").write_bytes(b"")
    page.reload()
    page.get_by_role("link", name="third").click()
    page.locator("#episodes tbody tr").first.click()

    page.get_by_role("button", name="Render it now").click()
    expect(page.locator(".rendering .failed")).to_contain_text("the recorded actions cannot be read", timeout=40_000)
    expect(page.get_by_role("button", name="Render it again")).to_be_enabled()


def test_a_run_that_goes_on_is_followed_to_its_end(page, folder):
    """PushT, really: rows come, the choice stays, the headline is that of the finished run."""
    command = [sys.executable, "-m", "proctor", "eval", "--policy.type=random", "--env.type=pusht"]
    command += ["--env.episode_length=100", "--eval.n_episodes=16", "--eval.video=none", "--eval.batch_size=1"]
    command += ["--eval.display=none", f"--output_dir={folder}/going_on"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "MUJOCO_GL": "egl"}) as child:
        try:
            link = page.get_by_role("link", name="going_on")
            while not link.count():
                page.wait_for_timeout(200)
                page.reload()
            link.click()
            expect(page.locator(".liveness")).to_have_text("running")
            rows = page.locator("#episodes tbody tr:has(button)")
            expect(rows.first).to_be_visible(timeout=60_000)
            assert rows.count() < 16
            rows.first.click()
            chosen = page.locator(".player h3").inner_text()

            expect(page.locator("#episodes .filters output")).to_have_text("16 episodes", timeout=60_000)
            expect(page.locator(".liveness")).to_have_text("")
            expect(page.locator("#results")).to_contain_text("of 16 episodes")
            assert page.locator(".player h3").inner_text() == chosen
            expect(page.locator("#episodes tbody tr.chosen")).to_have_count(1)
        finally:
            child.kill()


def test_a_page_finds_its_way_back_to_a_server_that_was_away(browser, tmp_path):
    """It says that the connection is lost, asks again, and is as good as new: also for rendering."""
    fake_run(tmp_path / "run", video="none")
    context = browser.new_context()
    page = context.new_page()
    fingerprint = read_journal(tmp_path / "run" / "journal.jsonl").header.fingerprint
    with RunDirectory(tmp_path / "run").open_journal(fingerprint):
        with viewing(tmp_path) as viewer:
            page.goto(viewer.url)
            page.get_by_role("link", name="run").click()
            expect(page.locator(".liveness")).to_have_text("running")
            page.locator("#episodes tbody tr").first.click()
            token = page.locator("#viewer").get_attribute("data-token")
        expect(page.locator(".liveness")).to_have_text("connection lost; trying again", timeout=15_000)

        with viewing(tmp_path, viewer.port):
            expect(page.locator(".liveness")).to_have_text("running", timeout=15_000)
            expect(page.locator("#viewer")).not_to_have_attribute("data-token", token, timeout=15_000)
            page.get_by_role("button", name="Render it now").click()
            expect(page.locator(".rendering button")).to_have_text("Rendering …")
            context.close()
