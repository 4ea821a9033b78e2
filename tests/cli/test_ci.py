"""Options of continuous integration: ``--fail_under``, ``--junit``, ``--markdown``."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK

EVAL = ["eval", f"--env.type={FAKE_BENCHMARK}", "--env.max_steps=12", "--eval.n_episodes=4"]
EVAL += ["--eval.use_async_envs=false", "--eval.n_episodes_to_render=0"]


@pytest.fixture
def evaluated(tmp_path, capsys):
    """Runs the command; gives its status, and what it printed."""

    def command(*options, policy="expert"):
        status = main([*EVAL, f"--policy.type={policy}", f"--output_dir={tmp_path / 'run'}", *options])
        return status, capsys.readouterr()

    return command


@pytest.mark.parametrize(("policy", "status", "word"), [("expert", 0, "Passed"), ("random", 6, "Failed")])
def test_the_exit_status_says_whether_the_rate_is_high_enough(evaluated, policy, status, word):
    """The results are printed all the same."""
    found, printed = evaluated("--fail-under", "0.8", policy=policy)

    assert found == status
    assert "Success rate" in printed.out
    assert f"{word}: the rate " in printed.err


def test_errors_come_before_the_gate(evaluated, tmp_path):
    """A run in which an episode could not be run is neither passed nor failed."""
    fault = ['--env.faults={"0/1000/1": "raise"}', f"--env.scratch={tmp_path}", "--eval.max_attempts=1"]

    found, printed = evaluated("--fail_under=0.1", *fault)

    assert found == 3
    assert "Not decided: 1 episode of the plan" in printed.err


def test_a_threshold_that_is_no_rate_is_refused_before_anything_runs(evaluated, tmp_path):
    """In time, and in one sentence."""
    found, printed = evaluated("--fail_under=80")

    assert found == 2
    assert "0.8 means 80 %" in printed.err
    assert not (tmp_path / "run").exists()


def test_files_for_the_pages_of_continuous_integration_are_written(evaluated, tmp_path):
    """The Markdown is appended, because several steps of a job share one file."""
    page, junit = tmp_path / "page.md", tmp_path / "junit.xml"
    page.write_text("Before.\n")

    evaluated(f"--markdown={page}", f"--junit={junit}", "--fail_under=1")

    assert page.read_text().startswith("Before.\n### ")
    assert "**Passed: the rate 100.0 % is at least 100.0 %" in page.read_text()
    assert [case.get("name") for case in ET.parse(junit).iter("testcase")] == [
        "task-0",
        "task-1",
        "fail_under",
    ]


def test_show_judges_a_run_afterwards_and_leaves_its_json_alone(evaluated, tmp_path, capsys):
    """What the gate decides is not part of the numbers."""
    evaluated(policy="random")

    assert main(["show", str(tmp_path / "run"), "--json", "--fail_under=0.9", f"--markdown={tmp_path / 'm.md'}"]) == 6

    printed = capsys.readouterr()
    assert json.loads(printed.out)["overall"]["n_episodes"] == 8
    assert "Failed: the rate" in printed.err
    assert (tmp_path / "m.md").read_text().startswith("### ")


def test_a_comparison_is_written_as_markdown_too(evaluated, tmp_path):
    """Beside what is printed."""
    evaluated()
    run = str(tmp_path / "run")

    assert main(["compare", run, run, f"--markdown={tmp_path / 'm.md'}"]) == 0

    assert "**No difference between B and A is shown" in (tmp_path / "m.md").read_text()


def test_a_file_that_cannot_be_written_is_one_sentence(evaluated, tmp_path):
    """The results are on disk before."""
    found, printed = evaluated(f"--markdown={tmp_path / 'no' / 'm.md'}")

    assert found == 4
    assert "cannot be written: No such file or directory." in printed.err
    assert (tmp_path / "run" / "eval_info.json").exists()
