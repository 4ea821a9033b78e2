"""``proctor reproduce``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proctor.cli import main, reproduce
from proctor.cli.arguments import expand
from proctor.cli.main import app
from proctor.results import reproduction
from proctor.results.reproduction import KnownRate, KnownResult, known_results
from proctor.testing.fakes import FAKE_BENCHMARK

OPTIONS = ("--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--eval.n_episodes=2")


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A known result of the fake benchmark, and an empty working directory."""

    def make(*rates, recorded=False, options=OPTIONS):
        result = KnownResult("fake", "an expert", "a paper", "two episodes", options, rates, recorded=recorded)
        monkeypatch.setattr(reproduction, "known_result", lambda name: result)

    monkeypatch.chdir(tmp_path)
    return make


@pytest.mark.parametrize("name", known_results())
def test_the_options_of_every_result_parse(name):
    """As those of proctor eval; that the values are right, only a run can show."""
    words = expand(["eval", *known_results()[name].options])

    _, bound, *_ = app.parse_args(words, print_error=False, exit_on_error=False)

    config = bound.arguments["config"]
    assert config.env["type"]
    assert config.eval.n_episodes >= 10


def test_a_result_is_measured_and_compared(fake, capsys):
    """By one command; the same command compares again without running."""
    fake(KnownRate(pc_success=99.0, n_episodes=100))
    command = ["reproduce", "fake", "--eval.use_async_envs=false", "--eval.batch_size=1"]

    assert main(command) == 0
    first = capsys.readouterr().out
    assert "published in  a paper" in first
    assert "The run agrees with that result" in first
    assert main(command) == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_a_difference_is_an_exit_status(fake, capsys):
    """And a comparison can be read by a program, and goes into a table."""
    fake(KnownRate(n_successes=1, n_episodes=4), recorded=True)
    options = ["--eval.use_async_envs=false", "--eval.batch_size=1"]

    assert main(["reproduce", "fake", *options]) == 6
    assert "another number of successes" in capsys.readouterr().out
    assert main(["reproduce", "fake", "--run=outputs/reproduce/fake", "--json", "--markdown=table.md"]) == 6
    report = json.loads(capsys.readouterr().out)
    assert report["holds"] is False
    assert [rate["verdict"] for rate in report["rates"]] == ["different"]
    assert "| fake | all | 25.0 % (1 of 4) |" in Path("table.md").read_text()


def test_a_run_by_another_protocol_is_refused(fake, capsys):
    """A rate of other episodes says nothing; another number of them is only noted."""
    options = ["--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--output_dir=run", "--eval.batch_size=1"]
    assert main(["eval", *options, "--eval.n_episodes=1", "--eval.use_async_envs=false"]) == 0
    fake(KnownRate(pc_success=99.0, n_episodes=100))
    assert main(["reproduce", "fake", "--run=run"]) == 0
    assert "run was run with --eval.n_episodes=1" in " ".join(capsys.readouterr().err.split())

    fake(KnownRate(pc_success=99.0, n_episodes=100), options=(*OPTIONS, "--seed=7"))
    assert main(["reproduce", "fake", "--run=run"]) == 2
    assert "run was run with --seed=1000, and the protocol of fake has --seed=7" in capsys.readouterr().err


def test_the_protocol_cannot_be_overridden(capsys):
    """What is left would be another measurement."""
    assert main(["reproduce", "metaworld_experts", "--env.task=reach-v3"]) == 2
    assert "--env.task=reach-v3 does not belong" in capsys.readouterr().err


def test_without_a_name_the_results_are_listed(capsys):
    """And --dry_run runs nothing."""
    assert main(["reproduce"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in known_results())
    assert main(["reproduce", "libero_pi05", "--dry_run"]) == 0
    assert "proctor eval --policy.path=lerobot/pi05_libero_finetuned" in capsys.readouterr().out


def test_what_a_run_may_have_otherwise_is_in_a_protocol():
    """A name that no protocol has would be a mistake."""
    keys = {option.partition("=")[0][2:] for result in known_results().values() for option in result.options}
    assert set(reproduce._ONLY_NOTED) <= keys
