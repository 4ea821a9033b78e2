"""A comparison as it is printed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from proctor.reports.comparison import print_comparison, print_first
from proctor.results.compare import compare
from proctor.results.measured import EpisodeId, MeasuredRun, MeasuredTask
from proctor.statistics.counts import Counts
from proctor.types import TaskKey


def measured(path, tasks, name="feed-animal"):
    """Tasks whose episodes came out like ``+`` and ``-``."""
    return MeasuredRun(
        Path(path),
        {
            TaskKey("zoo", number): MeasuredTask(
                f"{name}-{number}",
                Counts(len(outcomes), outcomes.count("+"), outcomes.count("-")),
                {EpisodeId(i, 1000 + i, None): outcome == "+" for i, outcome in enumerate(outcomes)},
            )
            for number, outcomes in enumerate(tasks)
        },
        {},
    )


def printed(evaluations, width, remarks=()):
    out = Console(file=io.StringIO(), width=width)
    print_first(out, evaluations[0].path)
    challenges = compare(evaluations)
    print_comparison(out, challenges, [remarks] * len(challenges))
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 160])
def test_numbers_are_whole_at_usual_widths(width):
    """Names give way, numbers do not; the verdict is in the row."""
    evaluations = [
        measured("runs/old", ["+" * 450 + "-" * 50] * 3, "a-task-with-a-name-that-is-much-too-long-for-a-terminal"),
        measured("runs/new", ["+" * 200 + "-" * 300] * 3, "a-task-with-a-name-that-is-much-too-long-for-a-terminal"),
    ]

    lines = printed(evaluations, width).splitlines()

    table = lines[lines.index("B  runs/new") + 2 :][:5]
    assert max(map(len, table)) <= width
    assert table[0].split() == ["task", "A", "B", "points", "adj.", "interval", "adj.", "p"]
    for row in table[1:4]:
        assert row.split()[1:] == ["450/500", "200/500", "-50.0", "-55.1", "…", "-44.4", "<", ".001", "worse"]
    assert table[4].startswith("all tasks")
    assert "B is worse than A: -50.0 points" in " ".join(lines)


def test_one_task_has_no_second_row_for_all():
    """It would say the same."""
    text = printed([measured("a", ["++-"]), measured("b", ["+--"])], 80)

    assert "all tasks" not in text
    assert "No difference between B and A is shown: -33.3 points" in text
    assert "more episodes of each would show" in text


def test_that_tasks_weigh_the_same_is_stated_if_the_pooled_numbers_would_say_something_else():
    """80 of 100 and 1 of 10 against 10 of 10 and 30 of 100: 81/110 and 40/110, and yet the second is better."""
    a = measured("a", ["+" * 80 + "-" * 20, "+" + "-" * 9])
    b = measured("b", ["+" * 10, "+" * 30 + "-" * 70])
    a = replace(a, tasks={key: replace(task, successes={}) for key, task in a.tasks.items()})

    text = printed([a, b], 80)

    assert "81/110" in text
    assert "B is better than A: +20.0 points" in text
    assert "in the difference every task has the same weight." in text


def test_of_many_tasks_the_clearest_are_shown():
    """In their order; the rest is counted."""
    same = ["+" * 10 + "-" * 10] * 60
    other = [*same]
    other[41] = "-" * 20

    text = printed([measured("a", same), measured("b", other)], 80)

    assert "feed-animal-41" in text
    assert "40 more tasks with less clear differences; --json has all." in text


def test_several_are_named_by_letters():
    """In the order they were given, the first one once."""
    lines = printed([measured(name, ["++-"]) for name in ("first", "second", "third")], 80).splitlines()

    assert [line for line in lines if line[1:3] == "  "] == ["A  first", "B  second", "C  third"]


@pytest.mark.parametrize("evil", ["\x1b]0;owned\x07", "a\rb", "\u202egnp", "[bold red]markup[/]"])
def test_foreign_names_cannot_drive_the_terminal(evil):
    """Of tasks, of paths, of what differs."""
    text = printed([measured(f"a{evil}", ["++-"], evil)] * 2, 300, [f"other {evil}"])

    assert not any(char in text for char in "\x1b\x07\r\u202e")
    assert text.count("[bold red]markup[/]") in (0, 4)
