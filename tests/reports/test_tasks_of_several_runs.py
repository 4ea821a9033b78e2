"""Pages of several evaluations whose benchmarks number tasks as they are given."""

from __future__ import annotations

from page_samples import sample_run

from proctor.reports.html.episodes import episode_table
from proctor.reports.html.tables import task_table


def test_tasks_of_one_number_and_two_names_have_rows_of_their_own(tmp_path):
    """And a task that LeRobot's file only numbers is in the row of its number."""
    runs = [
        sample_run(tmp_path / "a", ["++", "--"], names=("feed-lion", "feed-bear")),
        sample_run(tmp_path / "b", ["+-", "-+"], names=("feed-wolf", "zoo/1")),
    ]

    rows = {row.name: [(score.run, score.rate) for score in row.scores] for row in task_table(runs).rows}
    table = episode_table(runs, lambda *_: None).data

    assert rows["feed-lion"] == [(0, 1.0)]
    assert rows["feed-wolf"] == [(1, 0.5)]
    assert rows["feed-bear"] == [(0, 0.0), (1, 0.5)]
    assert [task["name"] for task in table["tasks"]] == ["feed-lion", "feed-bear", "feed-wolf"]
    assert sorted({(run, task) for run, task, *_ in table["rows"]}) == [(0, 0), (0, 1), (1, 1), (1, 2)]
