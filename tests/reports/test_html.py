"""The page as text: what stands in it, and what does not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from page_samples import sample_run

from proctor.reports.comparison import conclusion
from proctor.reports.html import linked_videos, render_report
from proctor.reports.html.charts import N_RUN_COLOURS
from proctor.reports.html.episodes import COLUMNS
from proctor.reports.html.page import read_template
from proctor.reports.html.tables import provenance
from proctor.reports.sentences import headline_lines, run_title
from proctor.results.compare import compare_where_possible


def render(*runs, **options):
    comparisons = compare_where_possible([run.measured for run in runs])
    return render_report(runs, comparisons, linked_videos(runs[0].path / "report.html"), **options)


class Elements(HTMLParser):
    """Every element's name and attributes, and the text that is read."""

    def __init__(self, html):
        super().__init__()
        self.found, self._text, self._tag = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._tag = tag

    def handle_endtag(self, tag):
        self._tag = ""
        if tag in ("td", "th"):
            self._text.append(" ")

    def handle_data(self, data):
        if self._tag not in ("style", "script"):
            self._text.append(data)

    @property
    def text(self):
        """In one line, as it is read."""
        return " ".join("".join(self._text).split())


def words(text):
    return " ".join(str(text).split())


def episodes_of(html):
    (data,) = re.findall(r'<script type="application/json" id="episode-data">(.*?)</script>', html, re.DOTALL)
    return json.loads(data)


def test_the_headline_is_the_terminals(tmp_path):
    """Word for word: one place makes the sentences."""
    run = sample_run(tmp_path / "run", ["++++-", "+++--"])

    text = Elements(render(run)).text

    for line in headline_lines(run.summary):
        assert words(line.plain) in text
    assert "Success rate 70.0 %" in text


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        (["+-!", "++-"], "1 episode ended in an error, which is not a failure and in no rate."),
        (["+-!", "++-"], "First error: zoo/0 episode 2 (seed 1002): raised: the arm fell off"),
        (["+-.", "+.."], "3 of 6 planned episodes have no result yet."),
        (["...", "..."], "6 of 6 planned episodes have no result yet."),
    ],
)
def test_what_is_wrong_with_a_run_is_reported(tmp_path, outcomes, sentence):
    """And nothing is called its success rate."""
    text = Elements(render(sample_run(tmp_path / "run", outcomes))).text

    assert sentence in text
    assert "Success rate" not in text.replace("Success rate over the plan", "")


def test_a_run_that_goes_on_is_said_to_and_not_where(tmp_path):
    """A page is given to others, and the name of a machine is not for them."""
    run = sample_run(tmp_path / "run", ["+-.", "..."])
    run = replace(run, status=replace(run.status, writer="process 7 on secret-host, since this morning"))

    html = render(run)

    assert "It was still running when this page was made." in Elements(html).text
    assert "secret-host" not in html


def test_a_comparison_is_what_the_command_says(tmp_path):
    """Its sentences, a row for each task, and the differences in points."""
    good, bad = sample_run(tmp_path / "good", ["+" * 20] * 2), sample_run(tmp_path / "bad", ["-" * 20, "-" * 19 + "+"])
    (challenge,) = compare_where_possible([good.measured, bad.measured])

    text = Elements(render(good, bad)).text

    for line in conclusion(challenge.overall, "B"):
        assert words(line.plain) in text
    assert "B is worse than A: -97.5 points" in text
    assert re.search(
        r"feed-bearfeed 100.0 %20/20 · 83.9 … 100.0\S* 5.0 %▼ worse than A1/20 · 0.9 … 23.6\S* -95.0", text
    )


def test_another_exam_is_shown_and_not_compared(tmp_path):
    """With what differs."""
    runs = [
        sample_run(tmp_path / name, ["+-"], benchmark={"name": "zoo", "protocol": name}) for name in ("zoo-1", "zoo-2")
    ]

    text = Elements(render(*runs)).text

    assert 'B: not compared with A: benchmark.protocol: "zoo-1" and "zoo-2"' in text
    assert "better" not in text


def test_what_several_comparisons_have_to_note_is_noted_once(tmp_path):
    """With the letters of those that it is about."""
    runs = [sample_run(tmp_path / "first", ["+-"], benchmark={"name": "zoo", "protocol": "1"})]
    runs += [sample_run(tmp_path / f"run-{n}", ["+-"], benchmark={"name": "zoo", "protocol": "2"}) for n in range(2)]

    assert Elements(render(*runs)).text.count("B, C: not compared with A") == 1


def test_thirty_runs_are_one_matrix(tmp_path):
    """A row for each task and a cell for each run that ran it, with its interval to be read, and no chart of them."""
    runs = [sample_run(tmp_path / f"run-{n}", ["+" * (n % 4) + "-" * 3, "+-"][: 1 + n % 2]) for n in range(30)]

    html = render(*runs)
    matrix = html[
        html.index('<table class="matrix dense"') : html.index("</table>", html.index('<table class="matrix dense"'))
    ]

    assert re.findall(r'<tr data-name="([^"]*)"', matrix) == [
        "feed-lion",
        "feed-bear",
        "all episodes",
        "mean over tasks",
    ]
    assert [row.count("<td data-run=") for row in matrix.split("<tr ")[1:]] == [30] * 4
    assert matrix.count("not run") == 15
    assert 'data-tally="3/6"' in matrix
    assert 'data-interval="18.8 … 81.2"' in matrix
    assert 'class="chart"' not in html


def test_commands_are_as_they_are_typed(tmp_path):
    """Without the place of the installation; a script's stays."""
    run = sample_run(tmp_path / "run", ["+-"])
    typed = {
        ("/home/me/.venv/bin/proctor", "eval", "a b"): "proctor eval 'a b'",
        ("/x/proctor/__main__.py", "eval"): "proctor eval",
        ("/home/me/train.py",): "/home/me/train.py",
    }

    for command, shown in typed.items():
        facts = {fact.name: fact for fact in provenance([replace(run, run=replace(run.run, command=command))])}
        assert facts["command"].values == (shown,)
        assert facts["command"].is_copied


@pytest.mark.parametrize(
    ("chosen", "title"),
    [([1], "libero s, task 1"), ([0, 2], "libero s, tasks 0, 2"), (None, "libero s"), ("x", "libero s")],
)
def test_the_heading_names_the_chosen_tasks_of_a_suite(tmp_path, chosen, title):
    """A subset is not the suite."""
    run = sample_run(tmp_path / "run", ["+-"]).run
    config = {**run.config, "env": {"type": "libero", "task": "s", "task_ids": chosen}}

    assert run_title(replace(run, config=config))[0] == title


def test_a_heading_does_not_name_a_hundred_tasks(tmp_path):
    run = sample_run(tmp_path / "run", ["+-"]).run
    config = {**run.config, "env": {"type": "libero", "task_ids": list(range(100))}}

    assert run_title(replace(run, config=config))[0] == "libero, tasks 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 more"


# How people see a colour who lack the cones for red, or for green: Machado, Oliveira & Fernandes 2009, severity 1, for
# linear RGB. The last matrix is OKLab's, after Ottosson 2020.
EYES = {
    "all cones": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def themes():
    """The colours of the style sheet by name, of the light theme and of the dark one."""
    light, dark = read_template("page.css").split("prefers-color-scheme: dark", 1)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in (light, dark)]


def seen(colour, eyes):
    encoded = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return OKLAB @ np.cbrt(CONES @ np.clip(EYES[eyes] @ linear, 0, 1))


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("eyes", EYES)
def test_no_run_looks_like_an_outcome_and_no_outcome_like_the_other(theme, eyes):
    """A tenth of the distance from black to white, whoever looks; runs also have letters, outcomes have signs."""
    colours = themes()[theme]
    runs = [colours[f"run-{number}"] for number in range(N_RUN_COLOURS)]
    pairs = [(colours["success"], colours["failure"])]
    pairs += [(run, colours[outcome]) for run in runs for outcome in ("success", "failure")]
    pairs += list(combinations(runs, 2))

    assert min(np.linalg.norm(seen(a, eyes) - seen(b, eyes)) for a, b in pairs) > 0.1


def test_a_single_value_is_the_only_tick_of_its_histogram(tmp_path):
    """No axis from 29.55 to 30.45."""
    html = render(sample_run(tmp_path / "run", ["+", "-"]))
    (chart,) = re.findall(r'<svg [^>]*aria-label="Distribution of steps".*?</svg>', html, re.DOTALL)

    assert re.findall(r"<text [^>]*>([\d.]+)</text>", chart)[0] == "10"
    assert "9.5" not in re.findall(r"<text [^>]*>([\d.]+)</text>", chart)


def test_each_task_has_the_scale_of_its_own_rewards(tmp_path):
    """A picture each, up to a number; tasks of several runs are compared in the matrix instead."""
    names = [f"task-{number}" for number in range(14)]
    html = render(sample_run(tmp_path / "run", ["+-"] * 14, names))

    assert 'aria-label="Distribution of the sum of rewards in each of 12 tasks, of 14"' in html
    assert "sum of rewards" not in render(*(sample_run(tmp_path / name, ["+-"] * 2) for name in "ab"))


def test_episodes_are_ordered_failures_first_then_errors(tmp_path):
    """In each kind in the order of the plan; an error has no length."""
    data = episodes_of(render(sample_run(tmp_path / "run", ["+-!", "-+."])))
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in data["rows"]]

    assert [(row["outcome"], row["task"], row["episode"]) for row in rows] == [
        ("failure", 0, 1),
        ("failure", 1, 0),
        ("error", 0, 2),
        ("success", 0, 0),
        ("success", 1, 1),
    ]
    assert rows[2]["error"] == "raised: the arm fell off"
    assert rows[2]["length"] is None
    assert rows[0]["seed"] == 1001


def test_more_episodes_than_a_browser_bears_are_left_out_and_counted(tmp_path):
    """Successes first."""
    html = render(sample_run(tmp_path / "run", ["+-+-+-", "+++-++"]), most_rows=5)

    assert len(episodes_of(html)["rows"]) == 5
    assert [row[COLUMNS.index("outcome")] for row in episodes_of(html)["rows"]] == ["failure"] * 4 + ["success"]
    assert "5 of 12 episodes are shown, failures and errors before successes" in Elements(html).text


EVIL = ["</script><img src=x onerror=alert(1)>", "<!--<script>", "'\"><svg onload=alert(1)>", "{{ 7 * 7 }}", "a\u2028b"]


def test_foreign_names_stay_text(tmp_path):
    """Of tasks, instructions, paths and errors; in the HTML and in the data of its script."""
    clean = Elements(render(sample_run(tmp_path / "run", ["+-"] * len(EVIL), [f"task-{i}" for i in range(len(EVIL))])))
    directory = tmp_path / "<img src=x onerror=alert(1)>\udcff"  # a file name need not be text

    html = render(sample_run(directory, ["+-"] * len(EVIL), EVIL, instruction=EVIL[0]))

    def tags(elements):
        return [tag for tag, _ in elements.found]

    assert tags(Elements(html.encode().decode())) == tags(clean)
    assert [task["name"] for task in episodes_of(html)["tasks"]] == EVIL
    assert "49" not in Elements(html).text.split("Episodes")[0].split("Charts")[0].split("Tasks")[-1]


def test_nothing_in_it_comes_from_elsewhere(tmp_path):
    """No address but those of XML's name spaces; no handler, no style in an attribute; every id once."""
    html = render(sample_run(tmp_path / "a", ["+-", "-+"]), sample_run(tmp_path / "b", ["++", "-+"]))
    attributes = [(name, value) for _, found in Elements(html).found for name, value in found.items()]
    ids = [value for name, value in attributes if name == "id"]

    assert {value for _, value in attributes if value and "//" in value} <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not [name for name, _ in attributes if name.startswith("on") or name == "style"]
    assert len(ids) == len(set(ids))


def test_its_policy_allows_its_own_script_and_style_only(tmp_path):
    """By their hashes; nothing may be loaded or sent, but videos from where the page lies."""
    html = render(sample_run(tmp_path / "run", ["+-"]))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    parts = dict(part.split(" ", 1) for part in unescape(policy).split("; "))

    assert parts["default-src"] == parts["connect-src"] == parts["form-action"] == parts["base-uri"] == "'none'"
    assert parts["script-src"].startswith("'sha256-")
    assert parts["script-src"].count("'") == parts["style-src"].count("'") == 2
    assert parts["media-src"] == "'self' data:"


def test_charts_are_drawn_in_the_pages_colours(tmp_path):
    """Else they would not follow its theme: no colour of matplotlib's own is left."""
    html = render(sample_run(tmp_path / "run", ["++-+-", "-+-++"]))
    charts = re.findall(r"<svg [^>]*class=\"chart\".*?</svg>", html, re.DOTALL)

    assert len(charts) == 4
    for chart in charts:
        assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(href="#|url\(#|id=")\w+', "", chart))
        assert "var(--" in chart
