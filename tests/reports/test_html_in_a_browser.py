"""The page as Chromium shows it from disk: sorted, filtered, played, copied from; and asking nothing of anybody."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from page_samples import sample_run
from test_html import EVIL, render

import proctor
from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK

N_EPISODES = 20
COLUMNS = ["show", "task", "episode", "seed", "outcome", "steps", "reward", "max reward"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two tasks of a benchmark of fakes, with the real encoder's videos of two episodes each."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    env = {"type": FAKE_BENCHMARK, "max_steps": 12, "image_size": 64}
    proctor.evaluate(
        {"type": "random"},
        env,
        output_dir=directory,
        n_episodes=N_EPISODES,
        video="first",
        n_episodes_to_render=2,
        use_async_envs=False,
    )
    assert main(["report", str(directory)]) == 0
    return directory


@dataclass
class Opened:
    """A page, what it asked for, and what it complained of."""

    page: object
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def texts(self, column):
        """Of a column of the table of episodes, from the top."""
        return self.page.locator(f".episodes tbody td:nth-child({COLUMNS.index(column) + 1})").all_inner_texts()

    def press(self, heading):
        self.page.locator(".episodes thead button", has_text=heading).first.click()

    def show(self, position):
        self.page.locator(".episodes tbody button").nth(position).click()

    @property
    def order(self):
        """By which column the table is sorted, and how."""
        headings = self.page.locator(".episodes thead th[aria-sort]")
        found = headings.evaluate_all("all => all.map(each => [each.innerText.split(' ')[0], each.ariaSort])")
        return [each for each in found if each[1] != "none"]


@pytest.fixture
def open_page(browser):
    """Opens a file; no page may ask for anything but files, or complain."""
    opened, contexts = [], []

    def open_file(file, **options):
        context = browser.new_context(**{"permissions": ["clipboard-read", "clipboard-write"], **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        seen = Opened(context.new_page())
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("dialog", lambda dialog: seen.complaints.append(dialog.message))
        seen.page.goto(file.as_uri())
        opened.append(seen)
        return seen

    yield open_file
    for seen in opened:
        assert all(url.startswith(("file://", "data:")) for url in seen.requests)
        assert not seen.complaints
    for context in contexts:
        context.close()


@pytest.fixture
def opened(run, open_page):
    return open_page(run / "report.html")


def test_failures_come_first_and_every_heading_sorts(opened):
    """Numbers as numbers, and the other way round when pressed again; a screen reader is told."""
    outcomes = opened.texts("outcome")
    assert len(outcomes) == 2 * N_EPISODES
    assert outcomes == sorted(outcomes, key=lambda text: "failure" not in text)
    assert opened.order == [["outcome", "ascending"]]

    opened.press("reward")
    ascending = [float(text) for text in opened.texts("reward")]
    opened.press("reward")
    descending = [float(text) for text in opened.texts("reward")]

    assert ascending == sorted(ascending) != sorted(ascending, key=str)
    assert descending == ascending[::-1]
    assert opened.order == [["reward", "descending"]]


def test_filters_narrow_the_table_together(opened):
    """Words, outcome and task; how many are left is said."""
    page = opened.page

    page.get_by_label("Find").fill("steer 1007")
    assert opened.texts("seed") == ["1007", "1007"]
    page.locator("[data-filter=task]").select_option(label="task-1")
    assert opened.texts("task") == ["task-1"]
    assert page.locator(".filters output").inner_text() == f"1 of {2 * N_EPISODES} episodes"

    page.get_by_label("Find").fill("nothing is like this")
    assert page.locator(".episodes tbody").inner_text() == "No episode is like that."


def test_a_video_plays_beside_the_table(opened, run):
    """It moves; it is the episode's own file, found from where the page lies."""
    page = opened.page
    page.get_by_label("Find").fill("1001")
    page.locator("[data-filter=task]").select_option(label="task-1")

    opened.show(0)

    page.wait_for_function(
        "() => { const v = document.querySelector('video'); return v.readyState >= 2 && v.currentTime > 0 }"
    )
    assert page.locator(".player h3").inner_text() == "task-1, episode 1"
    assert opened.requests[1:] == [(run / "videos/fake_1/eval_episode_1.mp4").as_uri()]
    assert not page.locator(".replay").is_visible()


def test_an_episode_without_a_video_offers_the_command_that_renders_it(opened, run):
    """As it must be typed; one press copies it."""
    page = opened.page
    page.get_by_label("Find").fill("1007")

    opened.show(1)
    page.get_by_role("button", name="Copy").click()

    command = f"proctor replay {run} --task task-1 --episode 7"
    page.get_by_role("button", name="Copied").wait_for()
    assert page.locator(".player .problem").inner_text() == "It has no video yet. Render it with:"
    assert page.locator(".replay code").inner_text() == command
    assert page.evaluate("navigator.clipboard.readText()") == command
    assert not page.locator("video").is_visible()


def test_a_video_that_is_gone_is_offered_again(run, tmp_path, browser):
    """The page was taken somewhere else without it."""
    page = browser.new_page()
    page.set_default_timeout(10_000)
    page.goto(Path(shutil.copy(run / "report.html", tmp_path)).as_uri())

    page.locator(".episodes tbody button", has_text="▶").first.click()

    page.locator(".replay").wait_for()
    assert "is not where it was when this page was made" in page.locator(".player .problem").inner_text()
    page.close()


def test_the_table_is_used_without_a_mouse(opened):
    """Enter shows an episode, arrows go on to the next, and what is shown is marked."""
    page = opened.page
    page.locator(".episodes tbody button").first.focus()

    page.keyboard.press("Enter")
    first = page.locator(".player h3").inner_text()
    page.keyboard.press("ArrowDown")
    second = page.locator(".player h3").inner_text()
    page.keyboard.press("ArrowUp")

    assert first == page.locator(".player h3").inner_text() != second
    assert page.locator("[aria-current=true]").count() == 1
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_telephone_in_light_and_dark(run, open_page, theme):
    """Nothing sticks out; text and charts stand out from the page."""
    page = open_page(run / "report.html", viewport={"width": 390, "height": 844}, color_scheme=theme).page

    assert page.evaluate("document.documentElement.scrollWidth") == 390
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    tick = page.evaluate("getComputedStyle(document.querySelector('.chart text')).fill")
    darker, lighter = sorted((brightness(background), brightness(tick)))
    assert (lighter + 0.05) / (darker + 0.05) > 4.5  # the contrast that accessible text needs
    assert (brightness(background) < 0.5) == (theme == "dark")


def brightness(colour):
    """The relative luminance of ``rgb(…)``, 0 to 1."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_embedded_videos_make_it_a_single_file(run, tmp_path, open_page):
    """It plays where there is nothing else."""
    assert main(["report", str(run), "--embed", f"--output={tmp_path / 'alone.html'}"]) == 0
    seen = open_page(tmp_path / "alone.html")

    seen.page.locator(".episodes tbody button", has_text="▶").first.click()

    seen.page.wait_for_function("() => document.querySelector('video').currentTime > 0")
    assert [url for url in seen.requests if not url.startswith("data:")] == [(tmp_path / "alone.html").as_uri()]


def test_foreign_names_are_shown_and_not_run(tmp_path, open_page):
    """In the tables, in the filters, beside the video; nothing of them becomes an element."""
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    file = tmp_path / "report.html"
    file.write_text(render(sample_run(folder, ["-+!"] * len(EVIL), EVIL, instruction=EVIL[0])))
    seen = open_page(file)

    for position in range(len(EVIL)):
        seen.show(position)

    assert seen.page.locator("img").count() == 0
    assert seen.texts("task")[: len(EVIL)] == EVIL
    assert EVIL[0] in seen.page.locator(".player .instruction").inner_text()
    assert "'" + str(folder) + "'" in seen.page.locator(".replay code").inner_text()
    assert seen.requests == [file.as_uri()]


def test_ten_thousand_episodes_are_shown_a_hundred_at_a_time(tmp_path, open_page):
    """All of them are sorted and found."""
    file = tmp_path / "report.html"
    file.write_text(render(sample_run(tmp_path / "run", ["+-" * 2500, "-+" * 2500])))
    seen = open_page(file)
    pager = seen.page.locator(".pager")

    assert len(seen.texts("episode")) == 100
    assert "page 1 of 100" in pager.inner_text()
    seen.press("seed")
    seen.press("seed")
    assert seen.texts("seed")[:3] == ["5999", "5999", "5998"]
    pager.get_by_role("button", name="Next").click()
    assert seen.texts("seed")[0] == "5949"
    seen.page.get_by_label("Find").fill("3456")
    assert seen.texts("seed") == ["3456", "3456"]
