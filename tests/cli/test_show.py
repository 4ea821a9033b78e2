"""``proctor show``: a run's results from its files alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading

import pytest

from proctor import evaluate
from proctor.cli import main
from proctor.results.eval_info import canonical_info
from proctor.testing.fakes import FAKE_BENCHMARK


def run(directory, **fields):
    """An evaluation of two tasks of four episodes."""
    fields = {"n_episodes": 4, "use_async_envs": False, **fields}
    return evaluate({"type": "expert"}, {"type": FAKE_BENCHMARK}, output_dir=directory, **fields)


@pytest.fixture
def finished(tmp_path):
    return run(tmp_path / "run")


def test_a_finished_run_is_shown_as_it_was_at_its_end(finished, capsys):
    """The title, the table, the headline, where things are."""
    assert main(["show", str(finished.directory)]) == 0

    out = capsys.readouterr().out
    assert "expert · seed 1000" in out
    assert "task-1" in out
    assert "Success rate 100.0 %" in out
    assert f"Results     {finished.directory}\n" in out
    assert "resume" not in out


@pytest.mark.parametrize("order", [["show", "--json", "DIR"], ["show", "DIR", "--json"]], ids=" ".join)
def test_json_is_the_canonical_numbers(finished, capsys, order):
    """The same whatever happened on the way, and with the switch before or after the directory."""
    assert main([str(finished.directory) if word == "DIR" else word for word in order]) == 0

    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(canonical_info(finished.info)))


def test_an_unfinished_run_shows_what_is_missing(finished, capsys):
    """Every line of the journal that is whole counts; a torn one is about to be written."""
    journal = finished.directory / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:-20])

    assert main(["show", str(finished.directory)]) == 0

    out = capsys.readouterr().out
    assert "No final success rate; " in out
    assert "Missing     5 of 8 episodes have no result yet" in out
    assert f"Go on       proctor resume {finished.directory}" in out


def steady(observation):
    return [0.1, 0.1]


def restless(observation, generator=random.Random(0)):  # noqa: B008 - what cannot be recognised again
    return [generator.random(), 0.1]


@pytest.mark.parametrize(
    ("function", "advice"), [(steady, "Go on       the same call with output_dir="), (restless, "")]
)
def test_a_run_of_a_function_from_python_goes_on_by_the_same_call(tmp_path, capsys, function, advice):
    """The command line has no such function; one that cannot be recognised again goes on in no way."""
    evaluate(function, {"type": FAKE_BENCHMARK}, n_episodes=1, batch_size=1, video="none", output_dir=tmp_path)
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))

    assert main(["show", str(tmp_path)]) == 0

    out = capsys.readouterr().out
    assert advice in out
    assert "proctor resume" not in out
    assert ("Go on" in out) is bool(advice)


def test_an_old_locale_is_no_reason_to_stop(finished):
    """What it cannot show becomes a question mark."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "proctor", "show", str(finished.directory)]

    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert done.returncode == 0, done.stderr
    assert "67.6 ? 100.0" in done.stdout


def test_a_run_that_has_measured_nothing_yet_can_be_looked_at(finished, capsys):
    """There is a plan, and no result."""
    (finished.directory / "journal.jsonl").unlink()

    assert main(["show", str(finished.directory)]) == 0
    assert "Missing     8 of 8 episodes have no result yet" in capsys.readouterr().out


def test_shards_in_one_directory_are_one_run(tmp_path, capsys):
    """Half of them: half of it; all of them: the numbers of a run in one piece."""
    whole = run(tmp_path / "whole")
    run(tmp_path / "shards", shard_id=0, num_shards=2)
    assert main(["show", str(tmp_path / "shards")]) == 0
    assert "Missing     4 of 8" in capsys.readouterr().out

    run(tmp_path / "shards", shard_id=1, num_shards=2)
    assert main(["show", "--json", str(tmp_path / "shards")]) == 0

    assert json.loads(capsys.readouterr().out)["per_episode"] == canonical_info(whole.info)["per_episode"]


def test_a_run_can_be_watched_from_outside_and_is_not_disturbed(tmp_path):
    """Another process shows it while this one writes; the writer's lock holds, and its results are complete."""
    directory, shown = tmp_path / "run", []

    def show():
        command = [sys.executable, "-m", "proctor", "show", str(directory)]
        shown.append(subprocess.run(command, capture_output=True, text=True, check=False))

    watcher = threading.Thread(target=show)

    def predict(observation):
        if not watcher.ident:
            watcher.start()
        if watcher.is_alive() and not shown:
            watcher.join()
        return [0.0, 0.0]

    result = evaluate(predict, {"type": FAKE_BENCHMARK}, output_dir=directory, n_episodes=2, use_async_envs=False)

    assert shown[0].returncode == 0, shown[0].stderr
    assert "Running     process" in shown[0].stdout
    assert "resume" not in shown[0].stdout
    assert result.summary.complete


@pytest.mark.parametrize(
    ("prepare", "status", "message"),
    [
        (shutil.rmtree, 2, "holds no run: there is no run.json in it."),
        (lambda directory: (directory / "run.json").unlink(), 2, "holds no run: there is no run.json in it."),
        (lambda directory: (directory / "run.json").write_text("{"), 2, "run.json cannot be read"),
        (lambda directory: (directory / "run.json").write_text('{"format_version": 99}'), 2, "run.json"),
    ],
    ids=["no directory", "another directory", "a damaged file", "something else"],
)
def test_what_is_no_run_is_reported_in_a_sentence(finished, capsys, prepare, status, message):
    """Exit status 2, no traceback."""
    prepare(finished.directory)

    assert main(["show", str(finished.directory)]) == status

    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
