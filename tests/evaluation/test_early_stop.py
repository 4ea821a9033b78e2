"""``--eval.stop_at_ci_width``, from end to end: what counts does not depend on how it was run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs

import proctor
from proctor.cli import main
from proctor.config import EvalConfig
from proctor.errors import ConfigError
from proctor.results.eval_info import canonical_info
from proctor.statistics.intervals import IntervalMethod, anytime
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

WIDTH = 0.35


def evaluate(directory: Path, *, env=None, **fields):
    """Three tasks of at most 60 episodes; 29 of each are enough."""
    env = {"type": FAKE_BENCHMARK, "max_steps": 12, "n_tasks": 3, **(env or {})}
    fields = {"n_episodes": 60, "batch_size": 1, "stop_at_ci_width": WIDTH, **fields}
    return proctor.evaluate(FakePolicy(7), env, output_dir=directory, **fields)


def results(result):
    """What is the same however it was run."""
    return json.dumps({**canonical_info(result.info), "fingerprint": None})


def without_times(episode):
    return structs.replace(episode, timings=None)


def n_run(directory):
    return (directory / "journal.jsonl").read_text().count('"kind":"episode"')


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    return evaluate(tmp_path_factory.mktemp("stopped") / "run")


def test_it_stops_when_the_interval_is_narrow_enough(stopped):
    """And says so: in the result, with the interval by the method that allows it."""
    stop, overall = stopped.summary.stop, stopped.summary.overall

    assert 5 < stop.episodes_per_task < 60
    assert overall.n_completed == overall.n_planned == 3 * stop.episodes_per_task
    assert anytime(overall.n_successes, overall.n_completed).width <= WIDTH
    assert stopped.summary.complete
    assert stopped.info["stopped_early"] == {
        "width": WIDTH,
        "episodes_per_task": stop.episodes_per_task,
        "planned_per_task": 60,
    }
    assert stopped.info["intervals"]["pc_success"] == stopped.info["macro"]["method"] == "anytime"


def test_what_it_counts_is_the_beginning_of_the_whole_evaluation(stopped, tmp_path):
    """The same episodes with the same results, and not one more."""
    whole = evaluate(tmp_path / "whole", stop_at_ci_width=None)

    n = stopped.summary.stop.episodes_per_task
    beginning = [episode for episode in whole.summary.episodes if episode.spec.episode_index < n]
    assert [structs.replace(e, timings=None) for e in stopped.summary.episodes] == [
        structs.replace(e, timings=None) for e in beginning
    ]
    assert whole.info["stopped_early"] is None
    assert n_run(stopped.directory) < n_run(whole.directory) / 1.4


@pytest.mark.parametrize("batch_size", [2, 7])
def test_the_number_of_workers_does_not_matter(stopped, tmp_path, batch_size):
    """What was running when enough was known has finished, and does not count."""
    other = evaluate(tmp_path / "run", batch_size=batch_size)

    assert results(other) == results(stopped)
    assert n_run(tmp_path / "run") >= other.summary.overall.n_completed


def test_an_interrupted_run_stops_at_the_same_place(stopped, tmp_path):
    """Whatever had been finished before, in whatever order."""
    directory = tmp_path / "run"
    evaluate(directory)
    journal = directory / "journal.jsonl"
    head, *lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([head, *lines[:40]]))

    resumed = evaluate(directory, batch_size=3)

    assert results(resumed) == results(stopped)


def test_a_run_that_has_stopped_is_over(stopped, tmp_path):
    """To resume it runs nothing."""
    evaluate(tmp_path / "run")
    before = n_run(tmp_path / "run")

    again = evaluate(tmp_path / "run", batch_size=2)

    assert n_run(tmp_path / "run") == before
    assert results(again) == results(stopped)


def test_more_precision_goes_on_where_it_stopped(stopped, tmp_path):
    """A narrower width, or none, needs more episodes and keeps those there are."""
    directory = tmp_path / "run"
    evaluate(directory)

    narrower = evaluate(directory, stop_at_ci_width=0.3)
    assert 60 > narrower.summary.stop.episodes_per_task > stopped.summary.stop.episodes_per_task

    whole = evaluate(directory, stop_at_ci_width=None)
    assert whole.summary.overall.n_completed == n_run(directory) == 180


def test_an_error_on_the_way_is_run_again_and_changes_nothing(stopped, tmp_path):
    """It counts as either outcome until then."""
    (tmp_path / "faults").mkdir()
    env = {"faults": {"1/1002/1": "raise"}, "scratch": str(tmp_path / "faults"), "times": 2}
    first = evaluate(tmp_path / "run", env=env)
    assert first.n_errors == 1
    assert first.summary.stop.episodes_per_task >= stopped.summary.stop.episodes_per_task

    second = evaluate(tmp_path / "run", env=env)

    assert second.n_errors == 0
    assert json.loads(results(second))["per_task"] == json.loads(results(stopped))["per_task"]


def test_it_is_shown_with_the_reason(stopped, capsys):
    """At the end and later, read from the files alone."""
    assert main(["show", str(stopped.directory)]) == 0

    out = " ".join(capsys.readouterr().out.split())
    n = stopped.summary.stop.episodes_per_task
    assert f"Stopped early after {n} of 60 episodes per task: the interval is at most 35 points wide" in out
    assert ", anytime; mean over 3 tasks, " in out
    assert "Missing" not in out


@pytest.mark.parametrize("video", ["none", "first"])
def test_videos_are_of_episodes_that_count(tmp_path, video):
    """Of no other."""
    result = evaluate(tmp_path / "run", batch_size=3, video=video, n_episodes_to_render=1)

    assert len(result.summary.videos) == (3 if video == "first" else 0)
    assert len(list((tmp_path / "run").glob("videos/*/*"))) == len(result.summary.videos)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stop_at_ci_width": 0.0}, "eval.stop_at_ci_width is 0.0; it must be between 0 and 1."),
        ({"stop_at_ci_width": 10}, "eval.stop_at_ci_width is 10; it must be between 0 and 1."),
        ({"stop_at_ci_width": 0.1, "ci": "wilson"}, "only the anytime-valid interval may decide"),
        ({"stop_at_ci_width": 0.1, "num_shards": 2}, "leave out eval.num_shards."),
        ({"ci": "wald"}, "eval.ci is 'wald'; it must be one of wilson, exact, anytime."),
    ],
)
def test_what_cannot_be_valid_is_refused(fields, message):
    """Before anything runs."""
    with pytest.raises(ConfigError, match=message):
        EvalConfig(**fields)


@pytest.mark.parametrize("method", ["wilson", "exact", "anytime"])
def test_the_interval_that_was_asked_for_is_everywhere(tmp_path, capsys, method):
    """In the file and on the screen."""
    run = evaluate(tmp_path / "run", stop_at_ci_width=None, n_episodes=4, ci=method)
    assert main(["show", str(run.directory)]) == 0

    for task in run.info["per_task"]:
        expected = IntervalMethod(method).interval(task["n_successes"], task["n_episodes"])
        assert task["pc_success_interval"] == [100 * expected.low, 100 * expected.high]
    assert run.info["intervals"]["pc_success"] == method
    mean = run.info["macro"]
    assert mean["method"] == (method if method == "anytime" else f"{method}-effective")
    assert mean["pc_success_interval"] == run.info["overall"]["pc_success_interval"]
    low, high = mean["pc_success_interval"]
    assert f"{low:.1f} … {high:.1f}, {mean['method']}" in " ".join(capsys.readouterr().out.split())
