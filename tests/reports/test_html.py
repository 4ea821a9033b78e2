"""The page as text: what stands in it, and what does not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from page_samples import sample_run

from proctor.reports.comparison import conclusion
from proctor.reports.html import linked_videos, render_report
from proctor.reports.html.episodes import COLUMNS
from proctor.reports.sentences import headline_lines
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
    assert "feed-bear 20/20 1/20 -95.0" in text


def test_another_exam_is_shown_and_not_compared(tmp_path):
    """With what differs."""
    runs = [
        sample_run(tmp_path / name, ["+-"], benchmark={"name": "zoo", "protocol": name}) for name in ("zoo-1", "zoo-2")
    ]

    text = Elements(render(*runs)).text

    assert 'Not compared: benchmark.protocol: "zoo-1" and "zoo-2"' in text
    assert "better" not in text


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
