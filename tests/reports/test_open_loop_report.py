"""A result in open loop as people see it: in a terminal of eighty columns, and as a page."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from proctor.reports.html.open_loop import render_open_loop
from proctor.reports.open_loop import EpisodePlot, choose_plots, print_open_loop, worst_first
from proctor.results.open_loop import (
    DimensionErrors,
    Error,
    Errors,
    Finding,
    OpenLoopEpisode,
    OpenLoopResult,
    OpenLoopVerdict,
    PositionErrors,
    TaskErrors,
)
from proctor.statistics.intervals import Interval

EVIL = "<script>alert(1)</script>\x1b[31m[red] $\\x$ 肘"


def errors(mae, *, with_std=True):
    interval = Interval(mae / 2, 2 * mae)
    physical, std = Error(10 * mae, mae, interval, interval), Error(mae, mae**2, interval, interval)
    return Errors(24, physical, std if with_std else None, None)


def result(*, with_std=True, name="elbow", n_episodes=5, **fields):
    episodes = tuple(
        OpenLoopEpisode(index, EVIL, 12, 3, errors(0.1 * (1 + index % 3), with_std=with_std))
        for index in range(n_episodes)
    )
    values = {
        "fingerprint": {},
        "n_episodes_selected": n_episodes,
        "missing": (),
        "n_action_steps": 4,
        "overall": errors(0.25, with_std=with_std),
        "constant_std": 0.8 if with_std else None,
        "dimensions": tuple(
            DimensionErrors(index, each, errors(0.2, with_std=with_std), -0.5, 40.0, None)
            for index, each in enumerate(("shoulder", name))
        ),
        "positions": tuple(PositionErrors(at, at < 4, errors(0.1 + 0.01 * at, with_std=with_std)) for at in range(30)),
        "tasks": tuple(TaskErrors(task, 2, errors(0.3, with_std=with_std)) for task in ("push", EVIL)),
        "episodes": episodes,
    }
    return OpenLoopResult(**values | fields)


def printed(found, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_open_loop(console, "a policy on a dataset", found, Path("out"))
    return console.file.getvalue()


def plots_of(found, n=2):
    wave = [[0.1 * step for step in range(12)], [0.0] * 12]
    return [
        EpisodePlot(each.episode_index, each.task, ("shoulder", EVIL), [40.0, 0.0], wave, wave, [0, 4, 8])
        for each in choose_plots(found.episodes, n)
    ]


def test_the_terminal_shows_the_error_with_its_interval_and_what_it_compares_with():
    """In standard deviations first, and nothing is cut off in eighty columns."""
    text = printed(result())

    assert "MAE 0.25 std  (95% interval 0.125 … 0.5" in text
    assert "That is 31 % of the error of a constant prediction, the dataset's mean action (0.8 std)" in text
    assert "MAE 2.5, MSE 0.25 in the dataset's units" in text
    (shoulder,) = (line for line in text.splitlines() if line.startswith("shoulder"))
    assert shoulder.split() == ["shoulder", "2", "0.2", "0.2", "0.1", "…", "0.4", "-0.5"]
    assert text.count("position ") == 8
    assert "not executed" in text
    assert "\x1b[31m" not in text


def test_without_standard_deviations_the_physical_error_is_shown():
    text = printed(result(with_std=False))

    assert "MAE 2.5  (95% interval 0.125 … 0.5" in text
    assert "std" not in text


def test_missing_episodes_and_the_verdict_stand_in_the_first_lines():
    verdict = OpenLoopVerdict("run", Finding.INPUTS_DIFFER, "Open loop is good, and closed loop is 0.0 %.", 0.0)
    text = printed(result(missing=(3, 4), n_episodes_selected=7, verdict=verdict))

    assert "2 of 7 episodes have no result yet." in text
    assert text.index("closed loop is 0.0 %") < text.index("shoulder")


@pytest.mark.parametrize(
    ("n", "expected"), [(1, [0.3]), (2, [0.3, 0.1]), (3, [0.3, 0.2, 0.1]), (9, [0.3, 0.2, 0.2, 0.1, 0.1])]
)
def test_the_episodes_that_are_drawn_go_from_the_worst_to_the_best(n, expected):
    """At equal distances; all of them if there are fewer."""
    chosen = choose_plots(result().episodes, n)

    assert [each.errors.std.mae for each in chosen] == pytest.approx(expected)
    assert worst_first(result().episodes)[0] == chosen[0]


def test_the_page_shows_everything_and_runs_nothing():
    """Names of a dataset are text, whatever they hold."""
    found = result(name=EVIL)
    page = render_open_loop("a policy", found, plots_of(found), [("seed", "1000"), ("packages", EVIL)])

    assert "<script" not in page
    assert "style=" not in page
    assert page.count("<svg") == 3
    assert page.count("&lt;script&gt;alert(1)") > 5
    for heading in ("By number of the action", "By position in the chunk", "By task", "By episode", "Provenance"):
        assert heading in page
    assert page.count("<details>") == 1  # of thirty positions
    assert page.count("<tr>") == 4 + 2 + 30 + 2 + 5 + 2


def test_single_actions_have_no_curve_over_positions():
    found = result(positions=(PositionErrors(0, True, errors(0.1)),), n_action_steps=1)
    page = render_open_loop("a policy", found, [], [])

    assert "<svg" not in page
    assert "the policy inferred every step" in page
