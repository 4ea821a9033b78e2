"""A run's success rate has one interval, wherever the run is shown."""

from __future__ import annotations

import io

import pytest
from page_samples import sample_run
from rich.console import Console

from proctor.reports.html import render_report
from proctor.reports.progress import Progress, TaskProgress, line_of
from proctor.reports.sentences import headline_lines
from proctor.reports.text import percent_range
from proctor.reports.trackers.measurements import measurements
from proctor.results.eval_info import build_eval_info
from proctor.results.headline import headline_of
from proctor.results.run_dir import RunDirectory
from proctor.view.entries import entry_of

NAMES = ("feed-lion", "feed-bear", "feed-ape")
RUNS = {
    "equal": ["+++-", "++++", "+---"],
    "with errors": ["!+--", "!--+", "!-+-"],
    "one task": ["+++-+-"],
    "a task without a result": ["!!!!", "++--", "+++-"],
    "unfinished": ["++-.", "+-+.", "++.."],
}


@pytest.mark.parametrize("outcomes", RUNS.values(), ids=RUNS)
def test_terminal_report_index_file_and_wandb_show_the_same_interval(tmp_path, outcomes):
    """Complete runs, with and without errors, and a run that goes on."""
    run = sample_run(tmp_path / "run", outcomes, NAMES)
    shown = headline_of(run.summary)
    interval = percent_range(shown.interval)

    terminal = " ".join(line.plain for line in headline_lines(run.summary)[:1])
    page = render_report([run], [], lambda *_: None)
    entry = entry_of("id", "run", run.run, run.summary, RunDirectory(tmp_path / "run"))
    info = build_eval_info(run.summary, run.run)
    logged = dict(measurements(run.run, run.summary))

    assert interval in terminal
    assert f"interval {interval}, {shown.method}" in page
    assert (entry.rate, entry.interval) == (shown.rate, shown.interval)
    ends = [100 * shown.interval.low, 100 * shown.interval.high]
    assert info["headline"]["pc_success_interval"] == ends
    assert (info["headline"]["method"], info["headline"]["basis"]) == (shown.method, shown.basis)
    assert [logged["headline/pc_success_low"], logged["headline/pc_success_high"]] == ends


@pytest.mark.parametrize("outcomes", [RUNS["equal"], RUNS["with errors"], RUNS["one task"]], ids=" ".join)
def test_the_live_display_ends_with_that_interval(tmp_path, outcomes):
    """It does not jump there: before the last episode, the interval is of the same kind."""
    summary = sample_run(tmp_path / "run", outcomes, NAMES).summary
    tasks = tuple(TaskProgress(t.task.name, t.counts.n_planned, t.counts, t.counts) for t in summary.tasks)

    at_the_end = " · ".join(line_of(Progress(tasks, 9.0, 9.0)))
    before = " · ".join(line_of(Progress((*tasks, TaskProgress("feed-owl", 1)), 9.0, 9.0)))

    assert f"(95% interval {percent_range(headline_of(summary).interval)})" in at_the_end
    assert "so far" not in at_the_end
    assert "success so far" in before
    assert f"(95% interval {percent_range(headline_of(summary).interval)})" in before


def test_the_same_rate_is_never_shown_with_two_intervals(tmp_path):
    """Overall, the only suite and the mean over tasks are one number if all tasks have equally many episodes."""
    run = sample_run(tmp_path / "run", RUNS["equal"], NAMES)
    info = build_eval_info(run.summary, run.run)

    parts = (info["overall"], info["per_group"]["zoo"], info["macro"], info["headline"])
    assert len({part["pc_success"] for part in parts}) == 1
    assert len({tuple(part["pc_success_interval"]) for part in parts}) == 1
    out = Console(file=io.StringIO(), width=160)
    out.print(*headline_lines(run.summary))
    assert out.file.getvalue().count("wilson") == 1
