"""The index in Chromium: filtering, sorting, choosing runs, sweeps, an empty folder."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import expect
from served_runs import STORED, fake_run, fake_sweep, opened, viewing


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of fakes, a stored one of Meta-World, and a sweep."""
    runs = tmp_path_factory.mktemp("index")
    fake_run(runs / "first" / "with-videos")
    fake_run(runs / "second" / "without-videos", video="none", seed=7)
    shutil.copytree(STORED, runs / "act_metaworld")
    fake_sweep(runs / "trained")
    return runs


def names(page):
    return page.locator("tbody tr:visible .name a").all_inner_texts()


def find(page, words):
    page.get_by_label("Find").fill(words)


def filtered(page, name, value):
    page.locator(f"[data-filter={name}]").select_option(value)


def test_the_index_is_filtered_by_text_benchmark_policy_and_status(page):
    """Every word counts; how many are left is said; the address keeps it."""
    assert sorted(names(page)) == ["act_metaworld", "first/with-videos", "second/without-videos", "trained"]
    expect(page.locator("output")).to_have_text("5 runs")

    find(page, "expert sec")
    assert names(page) == ["second/without-videos"]
    expect(page.locator("output")).to_have_text("1 of 5 runs")

    find(page, "")
    filtered(page, "benchmark", "metaworld")
    assert names(page) == ["act_metaworld"]

    filtered(page, "benchmark", "")
    filtered(page, "policy", "expert")
    page.reload()
    assert sorted(names(page)) == ["002000", "first/with-videos", "second/without-videos", "trained"]
    assert page.locator("[data-filter=policy]").input_value() == "expert"

    find(page, "no such run")
    page.get_by_role("button", name="Show all").click()
    assert len(names(page)) == 4
    assert page.url.endswith("/")


def test_a_press_on_a_heading_sorts_and_a_second_one_turns_it_round(page):
    """What is not known comes last both times; the address keeps it."""

    def seeds():
        return page.locator("tbody:not(.sweep) [data-label=seed]").all_inner_texts()

    page.get_by_role("button", name="seed").click()
    assert seeds() == ["7", "1000", "1000"]
    page.get_by_role("button", name="seed").click()
    expect(page.get_by_role("columnheader", name="seed")).to_have_attribute("aria-sort", "descending")
    assert seeds() == ["1000", "1000", "7"]
    assert page.locator("tbody").last.get_attribute("class") == "sweep"

    page.reload()
    expect(page.get_by_role("columnheader", name="seed")).to_have_attribute("aria-sort", "descending")
    assert seeds() == ["1000", "1000", "7"]


def test_the_newest_run_is_on_top(page):
    """By when it was last worked on; runs of one second by name."""
    assert names(page)[-1] == "act_metaworld"


def test_a_time_is_that_of_the_reader_s_clock(browser, viewer):
    """The time in UTC is its title."""
    for page in opened(browser, viewer.url, timezone_id="Asia/Kolkata"):
        time = page.locator("tr", has_text="act_metaworld").locator("time")
        utc = time.get_attribute("title")
        (hour, minute), (shown_hour, shown_minute) = (
            map(int, re.search(r"(\d\d):(\d\d)", text).groups()) for text in (utc, time.inner_text())
        )
        assert (60 * (shown_hour - hour) + shown_minute - minute) % (24 * 60) == 5 * 60 + 30


def test_the_index_shows_what_has_come_since(page, folder):
    """Ticks and filters stay as they were; a run that has not finished has a rate so far, and a reason."""
    page.get_by_label("Compare first/with-videos").check()
    find(page, "s")
    shutil.copytree(folder / "first" / "with-videos", folder / "zebras")
    (folder / "zebras" / "eval_info.json").unlink()
    journal = folder / "zebras" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))

    row = page.locator("tr", has_text="zebras")
    expect(row).to_contain_text("unfinished: It ended before all of its episodes were run.")
    expect(row.locator(".rate")).to_contain_text("so far")
    expect(page.get_by_label("Compare first/with-videos")).to_be_checked()
    assert page.get_by_label("Find").input_value() == "s"
    shutil.rmtree(folder / "zebras")
    expect(page.locator("tr", has_text="zebras")).to_have_count(0)


def test_two_runs_are_compared_by_ticking_them(page):
    """Not one; with the one ticked first; and from the page one comes back."""
    compare = page.locator("button.compare")
    expect(compare).to_be_hidden()
    page.get_by_label("Compare second/without-videos").check()
    expect(compare).to_be_disabled()
    page.get_by_label("Compare first/with-videos").check()

    compare.click()
    expect(page.locator("main")).to_contain_text("no difference")
    expect(page.locator("nav.viewer .place")).to_have_text(["second/without-videos", "first/with-videos"])
    page.get_by_role("link", name="All runs").click()
    expect(page.locator(".brand")).to_have_text("Proctor runs")


def test_paths_are_copied_and_runs_are_deleted_in_a_terminal_only(browser, viewer, folder):
    """The command is shown, quoted for a shell."""
    shutil.copytree(STORED, folder / "it's old")
    for page in opened(browser, viewer.url, permissions=["clipboard-read", "clipboard-write"]):
        page.get_by_label("Compare act_metaworld").check()
        page.get_by_label("Compare it's old").check()
        page.get_by_role("button", name="Copy paths").click()
        copied = page.evaluate("() => navigator.clipboard.readText()")
        page.get_by_text("Delete …").click()
        command = page.locator(".chosen-runs code").inner_text()
        page.get_by_role("button", name="Clear").click()
        expect(page.locator(".chosen-runs")).to_be_hidden()
    shutil.rmtree(folder / "it's old")

    assert copied.splitlines() == [str(folder / "act_metaworld"), str(folder / "it's old")]
    assert command == f"rm -r -- {folder}/act_metaworld '{folder}/it'\"'\"'s old'"


def test_a_sweep_is_one_row_that_unfolds_and_has_a_page(page):
    """With its curve; a checkpoint that a word means is shown at once."""
    sweep = page.locator("tbody.sweep")
    expect(sweep).to_contain_text("2 of 3 checkpoints done, 1 failed")
    expect(sweep.locator(".spark circle")).to_have_count(2)
    assert "001000" not in names(page)

    page.get_by_role("button", name="Checkpoints of trained").click()
    assert [name for name in names(page) if name.startswith("00")] == ["001000", "002000"]
    page.reload()
    assert "001000" in names(page)
    page.get_by_role("button", name="Checkpoints of trained").click()
    find(page, "002000")
    assert names(page) == ["trained", "002000"]

    page.get_by_role("link", name="trained").click()
    expect(page.locator("#verdict")).to_contain_text("Best: 002000")
    expect(page.locator("#checkpoints")).to_contain_text("its weights cannot be read")
    page.get_by_role("link", name="1000", exact=True).click()
    expect(page.locator("nav.viewer")).to_contain_text("trained/001000")
    page.locator("nav.viewer").get_by_role("link", name="trained").click()
    page.get_by_role("link", name="Compare all").click()
    expect(page.locator("nav.viewer .place")).to_have_text(["trained/001000", "trained/002000"])


def test_another_exam_is_compared_if_one_asks_for_it(browser, tmp_path):
    """The page says why not, and has the way on."""
    fake_run(tmp_path / "short", video="none")
    fake_run(tmp_path / "long", video="none", max_steps=30)
    with viewing(tmp_path) as viewer:
        for page in opened(browser, viewer.url):
            for name in ("short", "long"):
                page.get_by_label(f"Compare {name}").check()
            page.locator("button.compare").click()
            expect(page.locator("main")).to_contain_text("env.max_steps")
            page.get_by_role("link", name="Compare anyway").click()
            expect(page.locator("main")).to_contain_text("not the same exam: env.max_steps")
            expect(page.get_by_role("link", name="Compare anyway")).to_have_count(0)


def test_an_empty_folder_is_a_page_with_a_first_command(browser, tmp_path):
    """Whose run then appears by itself, although the folder does not even exist at first."""
    folder = tmp_path / "outputs"
    with viewing(folder, may_be_missing=True) as viewer:
        for page in opened(browser, viewer.url):
            expect(page.locator(".empty code").first).to_contain_text(f"--output_dir={folder}/first")
            fake_run(folder / "first", video="none")
            expect(page.get_by_role("link", name="first")).to_be_visible(timeout=15_000)
