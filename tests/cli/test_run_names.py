"""Commands take the last run, or the run with a part of a name; what begins and ends a run says what it is."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from proctor import evaluate
from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK

EVAL = ["eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--eval.n_episodes=2", "--eval.video=none"]
EVAL += ["--eval.use_async_envs=false"]
REFUSED = ["eval", "--policy.type=expert", "--env.type=gymnasium", "--env.task=CartPole-v1", *EVAL[3:]]
"""It is only once the environment is there that it turns out to have no expert."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with two runs, the second of which lies in a directory of the user's."""
    folder, state = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_STATE_HOME", str(state))
        fields = {"n_episodes": 2, "use_async_envs": False}
        first = evaluate({"type": "expert"}, {"type": FAKE_BENCHMARK}, **fields)
        os.utime(first.directory / "run.json", (1, 1))
        evaluate({"type": "expert"}, {"type": FAKE_BENCHMARK}, output_dir="mine/act", **fields)
    return folder, state, first.directory


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder[0])
    monkeypatch.setenv("XDG_STATE_HOME", str(folder[1]))
    return folder[2]


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["show", "--json"], ["profile"], ["export"], ["resume"], ["replay", "--episode=0", "--task=task-0"]],
    ids=" ".join,
)
def test_a_command_without_a_run_takes_the_last_one_and_says_which(here, arguments, capsys):
    """On standard error: standard output is the same as with the name."""
    status = main(arguments)
    default = capsys.readouterr()
    assert main([arguments[0], "mine/act", *arguments[1:]]) == status == 0
    named = capsys.readouterr()

    assert "The last run: mine/act\n" in default.err
    assert "The last run" not in named.err
    # A session more, without an episode, has lasted a moment longer.
    assert default.out.splitlines()[5:] == named.out.splitlines()[5:]


def test_a_report_without_a_run_is_one_of_the_last(here, capsys):
    """It lies in its directory."""
    pytest.importorskip("matplotlib")
    assert main(["report"]) == 0
    assert capsys.readouterr().out == "mine/act/report.html\n"


def test_a_part_of_a_name_is_enough(here, capsys):
    """The user is told which run that is."""
    assert main(["show", "fake_expert"]) == 0

    shown = capsys.readouterr()
    assert f"The run: {here}\n" in shown.err
    assert f"Results     {here}\n" in shown.out


def test_a_part_of_two_names_is_refused_with_the_candidates(here, capsys):
    """Not the first of them taken."""
    assert main(["show", "a"]) == 2
    assert f"'a' is in the names of 2 runs; give more of one name:\n  mine/act\n  {here}\n" in capsys.readouterr().err


def test_the_last_two_runs_are_compared_the_older_one_first(here, capsys):
    """And named."""
    assert main(["compare"]) == 0

    shown = capsys.readouterr()
    assert f"The run before the last: {here}\nThe last run: mine/act\n" in shown.err
    assert shown.out.index(f"A  {here}") < shown.out.index("B  mine/act")


def test_one_run_is_compared_with_the_last_other_one(here, capsys):
    """Whichever of the two it is."""
    assert main(["compare", "act"]) == 0
    assert f"The run: mine/act\nThe last other run: {here}\n" in capsys.readouterr().err


def test_runs_are_listed_the_last_one_first(here, capsys, monkeypatch):
    """Name, policy, benchmark, rate with interval, state, date."""
    monkeypatch.setenv("COLUMNS", "150")
    assert main(["runs"]) == 0

    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "policy", "benchmark", "rate", "95%", "interval", "state", "date"]
    assert [row.split()[0] for row in rows] == ["act", here.name]
    assert re.search(r"expert +\S*FakeBenchmark +100.0 % +51.0 … 100.0 +finished +\d\d-\d\d \d\d:\d\d", rows[0])


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_fits_the_terminal(here, width, capsys, monkeypatch):
    """Numbers are whole, and so are dates; names give way."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["runs"]) == 0

    rows = capsys.readouterr().out.splitlines()
    assert max(map(len, rows)) <= width
    assert all(re.search(r"100(\.0)? % .*finished +\d\d-\d\d \d\d:\d\d *$", row) for row in rows[1:])


def test_the_list_for_programs_has_the_numbers(here, capsys):
    """Rates in percent, as in eval_info.json."""
    assert main(["runs", "--json"]) == 0

    first, second = json.loads(capsys.readouterr().out)
    assert (first["directory"], first["pc_success"], first["state"]) == ("mine/act", 100.0, "finished")
    assert first["pc_success_interval"][0] == pytest.approx(51.0, abs=0.1)
    assert (first["n_done"], first["n_planned"], first["n_errors"], first["problem"]) == (4, 4, 0, None)
    assert second["directory"] == str(here)


def test_a_run_that_cannot_be_read_and_one_that_is_not_finished_are_listed_too(tmp_path, capsys, monkeypatch):
    """A list is for finding out."""
    monkeypatch.setenv("COLUMNS", "150")
    evaluate(
        {"type": "expert"}, {"type": FAKE_BENCHMARK}, n_episodes=2, use_async_envs=False, output_dir=tmp_path / "a"
    )
    journal = tmp_path / "a" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("{")

    assert main(["runs", str(tmp_path)]) == 0

    out = capsys.readouterr().out
    assert "unfinished 1/4" in out
    assert "unreadable" in out


@pytest.mark.usefixtures("in_an_empty_folder")
def test_without_a_run_the_list_is_a_sentence(capsys):
    """With what to do."""
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "There is no run in outputs/eval. Begin one with: proctor eval\n"


# -------------------------------------------------------------------------------------------------- beginning and end


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("options", [[], ["--output_dir=mine"]], ids=["a new directory", "the user's"])
def test_a_start_that_is_refused_leaves_nothing_behind(options, capsys):
    """No run with 0 of 50 episodes, no empty folder, no link; the reason is what is left."""
    assert main([*REFUSED, *options]) == 2

    assert "has no scripted expert" in capsys.readouterr().err
    assert list(Path.cwd().iterdir()) == []
    assert not list(Path(os.environ["XDG_STATE_HOME"]).glob("proctor/runs/*"))


def test_a_start_that_is_refused_leaves_what_was_there(in_an_empty_folder):
    """The user's files, and the results of an earlier session."""
    (in_an_empty_folder / "mine").mkdir()
    (in_an_empty_folder / "mine" / "notes.txt").write_text("")
    assert main([*REFUSED, "--output_dir=mine"]) == 2
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]

    assert main([*EVAL, "--output_dir=run"]) == 0
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    assert main([*REFUSED, "--output_dir=run"]) == 2
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_finished_run_has_nothing_to_do(capsys):
    """Whether it is resumed or evaluated again."""
    assert main([*EVAL, "--output_dir=run"]) == 0
    assert "Nothing to do" not in capsys.readouterr().out

    for arguments in ([*EVAL, "--output_dir=run"], ["resume"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out.startswith("Nothing to do: all 4 episodes had a result already.")


@pytest.mark.usefixtures("in_an_empty_folder")
def test_shards_say_what_they_are_and_what_is_next(capsys):
    """The first leads to the second, and that to the merge; neither shows a rate as if it were the evaluation's."""

    def block(*arguments):
        capsys.readouterr()
        assert main([*arguments]) == 0
        return capsys.readouterr().out

    shards = [[*EVAL, "--eval.num_shards=2", f"--eval.shard_id={number}", "--output_dir=run"] for number in (0, 1)]

    first = block(*shards[0])
    assert first.startswith("This is shard 0 of 2, with 2 of the 4 episodes of the evaluation: no result yet.\n")
    assert "Success rate" not in first
    following = (
        "Next        the same command with --output_dir=run --eval.shard_id=1\nThen        proctor merge run, with"
    )
    assert following in first
    assert following in block("show")

    second = block(*shards[1])
    assert "This is shard 1 of 2" in second
    assert "Next        proctor merge run\n" in second

    merged = block("merge", "run")
    assert "Success rate 100.0 %" in merged
    assert "Next" not in merged
