"""The page as Chromium shows it from disk: sorted, filtered, played, copied from; and asking nothing of anybody."""

from __future__ import annotations

import re
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


FIRST_PAINT = """() => new Promise((resolve) => new PerformanceObserver((list) => {
    const painted = list.getEntriesByName('first-contentful-paint')[0];
    if (painted) resolve(painted.startTime);
}).observe({ type: 'paint', buffered: true }))"""


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
        context.set_default_timeout(60_000)
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
        "() => { const v = document.querySelector('.lane video'); return v.readyState >= 2 && v.currentTime > 0 }"
    )
    assert page.locator(".player h3").inner_text() == "task-1, episode 1"
    assert opened.requests[-1] == (run / "videos/fake_1/eval_episode_1.mp4").as_uri()
    assert not page.locator(".replay").is_visible()


def test_an_episode_without_a_video_offers_the_command_that_renders_it(opened, run):
    """As it must be typed; one press copies it."""
    page = opened.page
    page.get_by_label("Find").fill("1007")

    opened.show(1)
    page.locator(".replay button").click()

    command = f"proctor replay {run} --task task-1 --episode 7"
    page.locator(".replay button", has_text="Copied").wait_for()
    assert page.locator(".player .problem").inner_text() == "It has no video yet. Render it with:"
    assert page.locator(".replay code").inner_text() == command
    assert page.evaluate("navigator.clipboard.readText()") == command
    assert not page.locator(".lane video").is_visible()


def test_a_video_that_is_gone_is_offered_again(run, tmp_path, browser):
    """The page was taken somewhere else without it."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
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

    seen.page.wait_for_function("() => document.querySelector('.lane video').currentTime > 0")
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


def test_the_address_holds_the_episode_and_the_filters(opened, run):
    """So that a link leads back to them; a filter that is taken away leaves the address, too."""
    page = opened.page
    page.get_by_label("Find").fill("steer")
    page.locator(".chips button", has_text="failure").click()
    page.locator("[data-filter=task]").select_option(label="task-1")
    opened.press("reward")
    opened.show(1)
    address, heading, rewards = page.url, page.locator(".player h3").inner_text(), opened.texts("reward")
    assert "#task-1/" in address

    page.goto("about:blank")
    page.goto(address)

    assert page.locator(".player h3").inner_text() == heading
    assert opened.texts("reward") == rewards
    assert page.locator(".chips [aria-pressed=true]").inner_text().startswith("✗ failure")
    assert page.get_by_label("Find").input_value() == "steer"
    page.get_by_label("Find").fill("")
    assert "find" not in page.url
    page.evaluate("location.hash = 'task-0/3'")
    page.locator(".player h3", has_text="task-0, episode 3").wait_for()


def test_odd_addresses_are_ignored(run, open_page):
    """A task or an episode that does not exist, and what is not an address at all."""
    seen = open_page(run / "report.html")
    for odd in ["nothing/0", "task-1/999", "%E0%A4%A/1", "task-0/3?task=nothing&a=77&outcome=odd", "tasks"]:
        seen.page.goto(f"{(run / 'report.html').as_uri()}#{odd}")
        seen.page.reload()
        assert seen.page.locator(".filters output").is_visible()


def test_everything_recorded_of_an_episode_is_under_one_scrubber(opened):
    """The video, success, reward and actions; keys step by frames, change the speed, and start it."""
    page = opened.page
    page.emulate_media(reduced_motion="reduce")
    opened.show(opened.texts("outcome").index("✗ failure"))
    page.locator(".strip").first.wait_for()
    names = page.locator(".strip .name").all_inner_texts()
    assert names[:2] == ["success", "reward"]
    assert names[2] == "action 0"
    slider = page.get_by_label("Step", exact=True)
    n_steps = int(slider.get_attribute("max"))
    assert page.locator(".step").inner_text() == f"step 0 of {n_steps}"
    assert page.locator(".strip .value").first.inner_text() == "\u2013"

    page.keyboard.press(".")
    page.keyboard.press(".")
    page.keyboard.press(",")
    assert page.locator(".step").inner_text() == f"step 1 of {n_steps}"
    assert page.locator(".strip .value").first.inner_text() == "0"
    slider.fill(str(n_steps))
    assert page.locator(".cursor").first.get_attribute("x1") == "1000"
    page.keyboard.press("<")
    assert page.get_by_label("Speed").input_value() == "0.5"
    page.locator("[data-do=play]").click()
    page.wait_for_function(f"() => Number(document.querySelector('.controls input').value) < {n_steps}")
    assert page.get_by_role("button", name="Pause").is_visible()


def test_single_keys_go_through_the_failures(opened):
    """Not while something is typed; a sheet lists them, and turns them off."""
    page = opened.page
    opened.press("episode")
    outcomes = opened.texts("outcome")
    failures = [i for i, text in enumerate(outcomes) if "failure" in text]

    def chosen():
        return page.locator(".episodes tbody tr").evaluate_all("all => all.findIndex(each => each.matches('.chosen'))")

    page.keyboard.press("n")
    assert chosen() == failures[0]
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert chosen() == failures[2]
    page.keyboard.press("p")
    assert chosen() == failures[1]
    page.keyboard.press("j")
    assert chosen() == failures[1] + 1
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.get_by_label("Single keys are shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert chosen() == failures[1] + 1
    page.keyboard.press("?")
    assert not page.get_by_role("dialog").is_visible()
    page.get_by_title("Keys (?)").click()
    page.get_by_label("Single keys are shortcuts").check()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("njk")
    assert page.get_by_label("Find").input_value() == "njk"


def test_failures_are_a_gallery(opened):
    """Those with a video show its end, and play if one points at them; each leads to its episode."""
    page = opened.page
    outcomes = opened.texts("outcome")
    n_failures = [each for each in outcomes if "failure" in each]
    gallery = page.locator("#failures")
    heads = gallery.locator("h3 small").all_inner_texts()
    assert sum(int(text.split()[0]) for text in heads) == len(n_failures)
    assert all(text.endswith(f"of {N_EPISODES}") for text in heads)
    film = gallery.locator(".tile:has(video)").first
    film.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => { const v = document.querySelector('.tile video'); return v.currentTime > v.duration / 2; }"
    )

    film.hover()
    page.wait_for_function("() => !document.querySelector('.tile video').paused")
    name = film.get_attribute("aria-label")
    film.click()

    _, episode, task = re.match(r"Show (episode (\d+)) of (\S+), a failure", name).groups()
    assert page.locator(".player h3").inner_text() == f"{task}, episode {episode}"
    gallery.locator(".rest").first.click()
    assert set(opened.texts("outcome")) == {"✗ failure"}


def test_what_identifies_a_run_is_copied(opened, run):
    """Its place, as it was given."""
    opened.page.get_by_role("button", name="Copy where").click()
    opened.page.locator(".copies", has_text="Copied").wait_for()

    assert opened.page.evaluate("navigator.clipboard.readText()") == str(run)


@pytest.fixture(scope="module")
def compared(run, tmp_path_factory):
    """The run, and two others on the same seeds: one of another policy with a video, and half of one."""
    folder = tmp_path_factory.mktemp("compared")
    env = {"type": FAKE_BENCHMARK, "max_steps": 12, "image_size": 64}
    given = {"video": "first", "n_episodes_to_render": 1, "use_async_envs": False}
    proctor.evaluate({"type": "expert"}, env, output_dir=folder / "expert", n_episodes=N_EPISODES, **given)
    proctor.evaluate({"type": "expert"}, env, output_dir=folder / "half", n_episodes=N_EPISODES // 2, **given)
    page = folder / "report.html"
    assert main(["report", str(run), str(folder / "expert"), str(folder / "half"), f"--output={page}"]) == 0
    return page


def test_a_and_b_are_compared_by_seed(compared, open_page):
    """What each made of it, and where they part; any two runs can be A and B."""
    seen = open_page(compared)
    page = seen.page
    chips = page.locator(".chips button")
    counts = {text.rsplit(None, 1)[0].strip(): int(text.split()[-1]) for text in chips.all_inner_texts()}
    assert counts["all"] == 2 * N_EPISODES == sum(n for name, n in counts.items() if name != "all")
    assert counts["A ✗ B ✓"] > 0

    page.get_by_role("button", name="A ✗ B ✓").click()
    rows = page.locator(".episodes tbody tr")
    assert rows.count() == counts["A ✗ B ✓"]
    assert all("✗ failure" in text and "✓ success" in text for text in rows.all_inner_texts())
    page.locator("[data-filter=b]").select_option("2")
    assert page.locator(".chips button", has_text="A ✗ C ✓").count() == 1
    page.locator(".chips button", has_text="all").click()
    page.locator(".chips button", has_text="other").click()
    assert rows.count() == N_EPISODES  # half of the seeds are missing of C
    assert "b=2" in page.url


def test_two_videos_run_under_one_scrubber(compared, open_page):
    """Side by side, on the same step; what was recorded of both is drawn on one scale."""
    seen = open_page(compared)
    page = seen.page
    page.goto(f"{compared.as_uri()}#task-0/0")
    page.reload()
    page.wait_for_function(
        "() => { const v = [...document.querySelectorAll('.lane video')];"
        " return v.length === 2 && v.every((each) => each.readyState >= 2); }"
    )
    assert [text.split()[0] for text in page.locator(".of-lane").all_inner_texts()] == ["A", "B"]
    assert page.locator(".strip").first.locator("path").count() == 2

    page.get_by_label("Step", exact=True).fill("3")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.lane video')].every((each) => each.paused && each.currentTime > 0)"
    )
    times = page.locator(".lane video").evaluate_all("all => all.map((each) => each.currentTime)")
    assert times[0] == pytest.approx(times[1], abs=0.11)  # a frame lasts a tenth of a second
    assert "  " in page.locator(".strip .value").nth(2).inner_text()


def test_the_matrix_sorts_and_reads_out_its_cells(compared, open_page):
    """By a run's rate; arrow keys move through the cells, and a cell leads to its task on the same seeds."""
    page = open_page(compared).page
    names = page.locator(".matrix tbody.task th")
    given = names.all_inner_texts()
    page.locator(".matrix [data-sort='0']").click()
    cells = page.locator(".matrix tbody.task td[data-run='0']")
    rates = cells.evaluate_all("all => all.map((e) => +e.dataset.value)")
    assert rates == sorted(rates, reverse=True)
    page.locator(".matrix [data-sort='name']").click()
    assert names.all_inner_texts() == sorted(given)

    page.locator(".matrix td[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    detail = page.locator("#comparison .detail").inner_text()
    assert re.match(rf"B expert, task-1\S*: .* % .* {N_EPISODES}/{N_EPISODES} .* points to A .*, p ", detail)
    assert page.locator(".matrix td[tabindex='0']").count() == 1
    page.locator("[data-matrix=order]").select_option("best")
    headings = page.locator(".matrix thead [data-run]").evaluate_all("all => all.map((e) => e.dataset.run)")
    assert headings[-1] == "0"
    page.locator("[data-matrix=show]").select_option("steps")
    assert not page.locator(".matrix .of-rate").first.is_visible()
    page.locator(".matrix tbody.task td[data-run='2']").first.click()
    assert "task=" in page.url
    assert "b=2" in page.url


def test_thirty_runs_fit_into_few_screens(tmp_path, open_page):
    """Eight took fourteen screens once."""
    file = tmp_path / "report.html"
    file.write_text(render(*(sample_run(tmp_path / f"run-{n}", ["+-" * 3, "++-"]) for n in range(30))))
    page = open_page(file, viewport={"width": 1400, "height": 900}).page

    assert page.evaluate("document.documentElement.scrollHeight") < 5000
    assert page.evaluate("document.documentElement.scrollWidth") == 1400
    assert page.locator(".matrix").bounding_box()["height"] < 300


def test_ten_thousand_episodes_are_shown_a_hundred_at_a_time(tmp_path, open_page):
    """All of them are sorted and found."""
    file = tmp_path / "report.html"
    file.write_text(render(sample_run(tmp_path / "run", ["+-" * 2500, "-+" * 2500])))
    seen = open_page(file)
    pager = seen.page.locator(".pager")

    assert len(seen.texts("episode")) == 100
    times = [seen.page.evaluate(FIRST_PAINT) for _ in range(3) if seen.page.reload()]
    assert min(times) < 1000, times  # the machine may be busy
    assert "page 1 of 100" in pager.inner_text()
    seen.press("seed")
    seen.press("seed")
    assert seen.texts("seed")[:3] == ["5999", "5999", "5998"]
    pager.get_by_role("button", name="Next").click()
    assert seen.texts("seed")[0] == "5949"
    seen.page.get_by_label("Find").fill("3456")
    assert seen.texts("seed") == ["3456", "3456"]
