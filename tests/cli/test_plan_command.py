"""``proctor plan``: how many episodes it takes."""

from __future__ import annotations

import json

import pytest

from proctor.cli import main


def test_plan_says_how_many_episodes_it_takes(capsys):
    """The reference numbers, spread over tasks."""
    assert main(["plan", "--from", "0.8", "--to=0.9", "--tasks", "10"]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[-2:] for row in rows[1:]] == [["146", "15"], ["199", "20"]]


def test_plan_as_json(capsys):
    """With what was asked for."""
    assert main(["plan", "--from=0.95", "--to=0.9", "--json", "--correlation=0"]) == 0

    planned = json.loads(capsys.readouterr().out)
    assert planned["independent"] == {"episodes": 435, "episodes_per_task": 435}
    assert planned["paired"]["episodes"] == pytest.approx(435, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from=0.8", "--to=0.8"], "no number of episodes tells them apart"),
        (["--from=80", "--to=90"], "--from is 80; it must be between 0 and 1."),
        (["--from=0.8", "--to=0.9", "--power=1"], "--power is 1; it must be between 0 and 1."),
        (["--from=0.1", "--to=0.9"], "cannot have a correlation of 0.3"),
        (["--from=0.8", "--to=0.9", "--tasks=0"], "--tasks is 0; it must be at least 1."),
        (["--from=0.8"], "--to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_planned_is_a_sentence(capsys, arguments, message):
    """With exit status 2."""
    assert main(["plan", *arguments]) == 2

    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
