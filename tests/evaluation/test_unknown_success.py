"""An environment that says nothing of success has no success rate, wherever results are shown."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

import proctor
from proctor.cli import main
from proctor.reports.html import read_report_run
from proctor.reports.trackers.measurements import measurements
from proctor.results.eval_info import canonical_info
from proctor.results.measured import read_measured
from proctor.results.summary import load_summary
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import Outcome
from proctor.view.folder import RunFolder

FIELDS = {"max_steps": 12, "image_size": 32}
REPORTS_NONE = "Success: this environment reports none; give --env.success_key or --env.success_threshold."


def evaluate(directory, says="never", policy="random", **fields):
    """Two tasks of three episodes, in this process."""
    env = {"type": FAKE_BENCHMARK, "says": says, **FIELDS}
    fields = {"n_episodes": 3, "batch_size": 1, **fields}
    return proctor.evaluate({"type": policy}, env, output_dir=directory, **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of an environment that says nothing, and of the same one that reports its successes."""
    folder = tmp_path_factory.mktemp("runs")
    evaluate(folder / "silent")
    evaluate(folder / "other", seed=2000)
    evaluate(folder / "successes", "successes", "zero", n_episodes=20)
    return folder


def output_of(capsys, *arguments):
    """Status and what a command prints, in one line."""
    status = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return status, " ".join((out + err).split())


def test_the_command_ends_well_and_says_that_none_is_reported(tmp_path, capsys):
    """Rewards are the headline; nothing is called a failure."""
    env = [f"--env.{name}={value}" for name, value in (FIELDS | {"type": FAKE_BENCHMARK, "says": "never"}).items()]
    evaluation = ["--policy.type=random", *env, "--eval.n_episodes=2", "--eval.batch_size=1", "--eval.video=failures"]

    status, text = output_of(capsys, "eval", *evaluation, f"--output_dir={tmp_path}/run")

    assert status == 0
    assert "Mean reward -" in text
    assert REPORTS_NONE in text
    assert "Success rate" not in text
    assert "failure" not in text
    assert "the first episode" in text
    assert not list((tmp_path / "run").glob("videos/*/*.mp4"))
    assert REPORTS_NONE in output_of(capsys, "show", tmp_path / "run")[1]


def test_json_has_null_in_place_of_a_rate(folder):
    """At every level, and for every episode."""
    info = json.loads((folder / "silent" / "eval_info.json").read_text())

    assert info["macro"] is None
    for counts in (info["overall"], *info["per_group"].values(), *info["per_task"]):
        assert (counts["pc_success"], counts["n_successes"], counts["n_errors"]) == (None, None, 0)
        assert counts["n_unknown"] == counts["n_episodes"] == counts["n_rewards"] > 0
        assert counts["avg_sum_reward"] < 0
    assert info["per_task"][0]["metrics"]["successes"] == [None] * 3
    assert {episode["outcome"] for episode in info["per_episode"]} == {"unknown"}


def test_an_episode_does_not_depend_on_what_others_reported(folder):
    """Where only successes are reported the others are unknown, as they would be alone; so there is no rate either."""
    run, summary = read_report_run(folder / "successes").run, read_report_run(folder / "successes").summary
    outcomes = {result.outcome for result in summary.episodes}

    assert run is not None
    assert outcomes == {Outcome.SUCCESS, Outcome.UNKNOWN}
    assert summary.overall.rate is None


def test_where_some_episodes_said_something_the_key_is_named(folder, capsys):
    """With it, absence is a failure."""
    status, text = output_of(capsys, "show", folder / "successes")

    assert status == 0
    assert "No success rate: the environment did not report success or failure of" in text
    assert "give --env.success_key: an episode without a reported success is then a failure." in text


def test_resumed_or_with_other_workers_it_is_the_same(folder, tmp_path):
    """An unknown episode is completed: it is not run again, and read back from its journal."""
    shutil.copytree(folder / "silent", tmp_path / "run")
    before = (tmp_path / "run" / "journal.actions.bin").stat().st_size

    again, elsewhere = evaluate(tmp_path / "run"), evaluate(tmp_path / "workers", batch_size=2)

    assert (tmp_path / "run" / "journal.actions.bin").stat().st_size == before
    assert canonical_info(again.info) == canonical_info(elsewhere.info)
    assert again.pc_success is None


def test_shards_are_merged(tmp_path, capsys):
    """To what one process gives."""
    env = [f"--env.{name}={value}" for name, value in (FIELDS | {"type": FAKE_BENCHMARK, "says": "never"}).items()]
    evaluation = ["--policy.type=random", *env, "--eval.n_episodes=3", "--eval.batch_size=1", "--eval.num_shards=2"]
    for shard in (0, 1):
        status, _ = output_of(
            capsys, "eval", *evaluation, f"--eval.shard_id={shard}", f"--output_dir={tmp_path}/shards"
        )
        assert status == 0

    status, text = output_of(capsys, "merge", tmp_path / "shards", f"--output_dir={tmp_path}/merged")

    assert status == 0
    assert REPORTS_NONE in text


def test_a_comparison_of_success_rates_is_refused(folder, capsys):
    """With the rewards that there are; a gate never passes because nothing could be compared."""
    for gate in ([], ["--fail_if_worse=0.05"]):
        status, text = output_of(capsys, "compare", folder / "silent", folder / "other", *gate)
        assert status == 2
        assert "have no success rates to compare: the environment of task-0, task-1 did not report" in text
        assert "the mean rewards there are -" in text


def test_a_gate_is_not_decided_by_the_tasks_that_have_a_rate_alone(folder, tmp_path, capsys):
    """One task of two is silent: the rest is compared, and it is said; the gate is refused."""
    for name in ("a", "b"):
        evaluate(tmp_path / name, "always")
        info = json.loads((tmp_path / name / "eval_info.json").read_text())
        for episode in info["per_episode"]:
            if episode["task_id"] == 1:
                episode |= {"success": None, "outcome": "unknown"}
        silent = info["per_task"][1]["metrics"]
        silent["successes"] = [None] * len(silent["successes"])
        (tmp_path / f"{name}.json").write_text(json.dumps(info))
    files = tmp_path / "a.json", tmp_path / "b.json"

    status, text = output_of(capsys, "compare", *files)
    assert status == 0
    assert "left out: the environment of task-1 did not report" in text
    assert "evaluated by only one of the two" not in text

    status, text = output_of(capsys, "compare", *files, "--fail_if_worse=0.05")
    assert status == 2
    assert "--fail_if_worse cannot be decided" in text


def test_no_episode_is_a_failure_to_be_rendered(folder, capsys):
    """Nor do they count as none: the sentence says why."""
    status, text = output_of(capsys, "replay", folder / "silent", "--task", "task-0", "--episode", "failures")

    assert status == 2
    assert "task-0 has no failed episode. The environment did not report whether 3 episodes succeeded" in text


def test_a_table_for_other_programs_has_neither_true_nor_false(folder, tmp_path):
    """And says that the outcome is unknown."""
    assert main(["export", str(folder / "silent"), f"--output={tmp_path}/episodes.csv"]) == 0
    rows = list(csv.DictReader((tmp_path / "episodes.csv").read_text().splitlines()))

    assert [(row["outcome"], row["success"]) for row in rows] == [("unknown", "")] * 6


def test_the_page_shows_rewards_and_why_there_is_no_rate(folder, tmp_path):
    """Without a chart of the rate; episodes of unknown success have a colour and a sign of their own."""
    assert main(["report", str(folder / "silent"), f"--output={tmp_path}/page.html"]) == 0
    page = (tmp_path / "page.html").read_text()

    assert REPORTS_NONE in page
    assert "Success over the plan" not in page
    assert '<span class="key unknown">unknown</span>' in page
    assert '<span class="key failure">' not in page
    assert "0/3" not in page


def test_the_index_shows_the_reward(folder):
    """In place of a rate."""
    entries = {entry.name: entry for entry in RunFolder(folder).entries()}

    assert (entries["silent"].rate, entries["silent"].interval, entries["silent"].state) == (None, None, "finished")
    assert float(entries["silent"].reward) < 0


def test_weights_and_biases_receives_no_rate(folder):
    """Rewards and the number of episodes whose success is unknown."""
    numbers = dict(measurements(*load_summary(folder / "silent")))

    assert not [name for name in numbers if "pc_success" in name or "n_successes" in name]
    assert numbers["overall/n_unknown"] == 6
    assert numbers["overall/avg_sum_reward"] < 0


def test_the_file_alone_says_what_the_run_says(folder):
    """An unknown success is no error when it is read back."""
    alone, whole = read_measured(folder / "successes" / "eval_info.json"), read_measured(folder / "successes")

    assert {key: (task.counts, task.successes) for key, task in alone.tasks.items()} == {
        key: (task.counts, task.successes) for key, task in whole.tasks.items()
    }


def test_it_never_stops_early(tmp_path):
    """There is no rate whose interval could be narrow."""
    assert evaluate(tmp_path / "reported", "always", n_episodes=40, stop_at_ci_width=0.4).summary.stop is not None

    result = evaluate(tmp_path / "silent", n_episodes=40, stop_at_ci_width=0.4)

    assert result.summary.stop is None
    assert result.summary.overall.n_unknown == 80
