"""The pages of runs in Chromium: following, watching, rendering."""

from __future__ import annotations

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
    page.wait_for_function("() => document.querySelector('.lane video').currentTime > 0")

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
    expect(page.locator(".rendering .failed")).to_contain_text("the recorded actions cannot be read")
    expect(page.get_by_role("button", name="Render it again")).to_be_enabled()


WAITING = """
import os, time
from itertools import count

calls = count()

def act(observation):
    while os.path.exists("wait") and next(calls) > 150:
        time.sleep(0.05)
    return [256.0, 256.0]
"""
"""A policy that waits in the third episode, until a file is gone."""


def test_a_run_that_goes_on_is_followed_to_its_end(page, folder, tmp_path):
    """PushT, really: rows come, the choice stays, the headline is that of the finished run."""
    (tmp_path / "waiting_policy.py").write_text(WAITING)
    (tmp_path / "wait").touch()
    command = [sys.executable, "-m", "proctor", "eval", "--policy.type=function", "--env.type=pusht"]
    command += ["--policy.function=waiting_policy:act", "--env.episode_length=60", "--eval.n_episodes=8"]
    command += ["--eval.video=none", "--eval.batch_size=1", "--eval.display=none", f"--output_dir={folder}/going_on"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as child:
        try:
            link = page.get_by_role("link", name="going_on")
            while not link.count():
                page.wait_for_timeout(200)
                page.reload()
            link.click()
            expect(page.locator(".liveness")).to_have_text("running")
            rows = page.locator("#episodes tbody tr:has(button)")
            expect(rows.first).to_be_visible()
            assert rows.count() <= 2
            rows.first.click()
            chosen = page.locator(".player h3").inner_text()
            (tmp_path / "wait").unlink()

            # After a page that took long to make the next one is asked for after ten times as long.
            expect(page.locator("#episodes .filters output")).to_have_text("8 episodes", timeout=300_000)
            expect(page.locator(".liveness")).to_have_text("")
            expect(page.locator("#results")).to_contain_text("of 8 episodes")
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
        expect(page.locator(".liveness")).to_have_text("connection lost; trying again")

        with viewing(tmp_path, viewer.port):
            expect(page.locator(".liveness")).to_have_text("running")
            expect(page.locator("#viewer")).not_to_have_attribute("data-token", token)
            page.get_by_role("button", name="Render it now").click()
            expect(page.locator(".rendering button")).to_have_text("Rendering …")
            context.close()
