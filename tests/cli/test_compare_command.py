"""``proctor compare``, on runs of the fake benchmark."""

from __future__ import annotations

import json
import shutil

import pytest

import proctor
from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

ENV = {"type": FAKE_BENCHMARK, "max_steps": 12}


def run(directory, policy, **fields):
    """Two tasks of 20 episodes, in this process."""
    fields = {"env": ENV, "n_episodes": 20, "use_async_envs": False, **fields}
    return proctor.evaluate(policy, output_dir=directory, **fields)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A policy that often reaches the goal in time, one that seldom does, and one that looks at every step."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder / "good", {"type": "expert"})
    run(folder / "bad", {"type": "random"})
    run(folder / "three", FakePolicy(3))
    run(folder / "five", FakePolicy(5))
    return folder


@pytest.fixture
def compared(runs, capsys):
    """Runs the command; gives its status and what it printed."""

    def command(*arguments):
        status = main(["compare", *[str(runs / a) if (runs / a).exists() else str(a) for a in arguments]])
        out, err = capsys.readouterr()
        return status, out, err

    return command


def test_a_worse_policy_is_called_worse(compared, runs):
    """By the episodes that both ran; with what it rests on."""
    status, out, err = compared("good", "bad")

    assert (status, err) == (0, "")
    assert f"A  {runs / 'good'}\nB  {runs / 'bad'}\n" in out
    assert "B is worse than A: -97.5 points  (95% interval -99.6 … -83.9; McNemar's test p < .001)" in out
    assert "The same 40 episodes under both policies." in out
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row[-3:] == ["<", ".001", "worse"]] == ["task-0", "task-1", "all"]


def test_a_better_one_is_called_better_and_the_first_is_what_others_are_compared_with(compared):
    """In the order they were given."""
    _, out, _ = compared("bad", "good", "bad")

    assert "B is better than A: +97.5 points" in out
    assert "No difference between C and A is shown: +0.0 points" in out
    assert "by Holm's method" in out


def test_a_file_alone_is_compared_in_pairs_too_where_it_names_its_episodes(compared, runs, tmp_path):
    """Proctor's does."""
    file = shutil.copy(runs / "bad" / "eval_info.json", tmp_path / "other.json")

    _, out, _ = compared("good", file)

    assert "The same 40 episodes under both policies." in out


def test_lerobots_file_is_compared_as_an_independent_sample(compared, runs, tmp_path):
    """And it says that nobody knows what was run."""
    info = json.loads((runs / "bad" / "eval_info.json").read_text())
    theirs = {"per_task": [{k: t[k] for k in ("task_group", "task_id", "metrics")} for t in info["per_task"]]}
    file = tmp_path / "eval_info.json"
    file.write_text(json.dumps(theirs))

    _, out, _ = compared("good", file)

    assert "compared as independent samples." in out
    assert "Boschloo's test" in out
    assert f"Note: what {file} ran is not recorded; that it is the same exam is taken on trust." in out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["good", "bad", "--fail-if-worse", "0.05"], 6),
        (["good", "bad", "--fail-if-worse=0.05", "--json"], 6),
        (["good", "bad"], 0),
        (["bad", "good", "--fail-if-worse", "0.05"], 0),
        (["good", "good", "--fail-if-worse", "0.05"], 0),
        (["good", "good", "bad", "--fail-if-worse", "0.05"], 6),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_exit_status_says_whether_one_is_worse_where_that_is_wanted(compared, arguments, status):
    """For continuous integration."""
    assert compared(*arguments)[0] == status


def test_an_ablation_is_compared_with_a_note(compared):
    """How often the policy looks belongs to what is compared."""
    status, out, err = compared("three", "five")

    assert (status, err) == (0, "")
    assert "Note: the policies were not run alike: policy.n_action_steps: 3 and 5." in out


def test_another_exam_is_refused_unless_it_is_compared_anyway(compared, runs, tmp_path):
    """The differences are listed; exit status 2."""
    longer = run(tmp_path / "longer", {"type": "expert"}, env={**ENV, "max_steps": 20}).directory

    status, out, err = compared("good", longer)

    assert (status, out) == (2, "")
    assert f"{runs / 'good'} and {longer} are not the same exam:\n  env.max_steps: 12 and 20\n" in err
    assert "--anyway" in err

    status, out, _ = compared("--anyway", "good", longer)

    assert status == 0
    assert "Note: not the same exam: env.max_steps: 12 and 20." in out


def test_json_holds_every_number(compared, runs):
    """Of every task, as numbers."""
    _, out, _ = compared("good", "bad", "--json")

    (challenge,) = json.loads(out)
    assert (challenge["a"], challenge["b"]) == (str(runs / "good"), str(runs / "bad"))
    assert [task["task"] for task in challenge["per_task"]] == ["task-0", "task-1"]
    overall = challenge["overall"]
    assert overall["a"] == {"successes": 40, "n": 40, "n_errors": 0, "n_missing": 0}
    assert overall["difference"] == -0.975
    assert overall["interval"] == pytest.approx([-0.996, -0.839], abs=5e-4)
    assert (overall["test"], overall["verdict"], overall["more_episodes"]) == ("McNemar", "worse", None)
    assert overall["adjusted_p"] == overall["p_value"] < 1e-9


def test_unfinished_runs_and_errors_are_reported_with_bounds(compared, runs, tmp_path):
    """And only what both completed is compared."""
    faults = {"0/1001/1": "raise"}
    (tmp_path / "faults").mkdir()
    broken = run(
        tmp_path / "broken",
        {"type": "expert"},
        env={**ENV, "faults": faults, "scratch": str(tmp_path / "faults"), "times": 9},
    )
    assert broken.n_errors == 1
    unfinished = shutil.copytree(runs / "bad", tmp_path / "unfinished")
    journal = unfinished / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:30]))

    _, out, _ = compared("--anyway", broken.directory, unfinished)

    assert "Note: A has 1 episode in error, not compared." in out
    assert "Note: B is incomplete: 11 of 40 episodes have no result yet." in out
    assert "The same 28 episodes under both policies." in out
    assert "Note: Whatever the episodes in error would become, the difference is -96.6 … -94.1." in out


def test_a_small_difference_shows_how_many_more_episodes_would_show_it(compared, runs, tmp_path):
    """If it is one."""
    info = json.loads((runs / "good" / "eval_info.json").read_text())
    info["per_episode"][3] |= {"success": False, "outcome": "failure"}
    info["per_task"][0]["metrics"]["successes"][3] = False
    (tmp_path / "nearly.json").write_text(json.dumps(info))

    _, out, _ = compared("good", tmp_path / "nearly.json")

    assert "No difference between B and A is shown: -2.5 points" in out
    assert "more episodes of each would show a true difference of this size with a probability of 80%." in out


def test_a_run_that_stopped_early_is_reported(compared, tmp_path):
    """How many episodes it has depends on how they went; read from the directory, or from its file alone."""
    stopped = run(tmp_path / "stopped", {"type": "expert"}, stop_at_ci_width=0.3).directory

    for path in (stopped, stopped / "eval_info.json"):
        _, out, _ = compared("good", path)

        assert f"Note: {path} stopped early, as its own results decided;" in out
    assert "The same 14 episodes under both policies." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "/nothing"], "nothing cannot be read: No such file or directory"),
        (["good", "bad", "--fail-if-worse=5"], "--fail_if_worse is 5.0; it is a level of significance"),
        (["good"], "RUN_DIR RUN_DIR"),
    ],
)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_users_mistake_is_a_sentence(compared, arguments, message):
    """With exit status 2."""
    status, out, err = compared(*arguments)

    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
