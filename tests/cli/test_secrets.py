"""Secrets of every kind, given in every place: none is in anything that an evaluation leaves or sends."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from proctor.cli import main

MODULE = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Talking(CartPoleEnv):
    def __init__(self, render_mode=None, **arguments):
        super().__init__(render_mode)
        self.arguments = arguments

    def reset(self, *, seed=None, options=None):
        if seed == 1001:
            raise RuntimeError(f"{self.arguments} are refused: {self.arguments['api_key']}")
        return super().reset(seed=seed, options=options)

gymnasium.register("Talking-v0", entry_point=Talking, max_episode_steps=9)
"""
KWARGS = {
    "api_key": "SECRET-01",
    "url": "https://user:SECRET-02@host/x?token=SECRET-03",
    "auth": "SECRET-04",
    "headers": {"Authorization": "Bearer SECRET-05", "X-Api-Key": "SECRET-06"},
    "nested": [{"pwd": "SECRET-07", "passphrase": "SECRET-08", "credential": ["SECRET-09"]}],
    "pairs": [["cookie", "SECRET-10"]],
    "text": '{"private_key": "SECRET-11"}',
    "dsn": "host=a password=SECRET-12",
    "tokenizer": "gpt2",
}
EVALUATION = ["eval", "--policy.type=random", "--env.type=gymnasium", "--env.module=talking_env"]
EVALUATION += ["--env.task=Talking-v0", "--eval.n_episodes=3", "--eval.batch_size=2"]
EVALUATION += ["--eval.video=none", "--eval.display=none"]
SENT = ["--wandb.enable=true", "--wandb.mode=offline", "--wandb.notes=token=SECRET-13"]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The folder of a run with all of this, its report, its table, and what is sent to Weights & Biases."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "talking_env.py").write_text(MODULE)
    run = folder / "run"
    words = [*EVALUATION, "--env.kwargs", json.dumps(KWARGS), "--job_name=hf_SECRETabcdefghijklmnop", *SENT]
    words.append(f"--output_dir={run}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "argv", ["proctor", *words])
        patch.setenv("HF_TOKEN", "SECRET-14")
        assert main(words) == 3
        assert main(["report", str(run)]) == 0
        assert main(["export", str(run), f"--output={folder / 'episodes.csv'}"]) == 0
    return folder


def leaks(folder):
    return {
        str(path.relative_to(folder)): line[:200]
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".py"
        for line in path.read_bytes().split(b"\n")
        if b"SECRET" in line
    }


def test_nothing_that_is_left_holds_a_secret(left):
    """Configuration, fingerprint, command, journal, errors of episodes, report, table, and what is sent."""
    assert {"journal.jsonl", "run.json", "eval_info.json", "report.html"} < {path.name for path in left.rglob("*")}
    assert list(left.rglob("run-*.wandb"))
    assert not leaks(left)


def test_what_is_no_secret_is_there(left):
    """And that another was given would be seen."""
    written = json.loads((left / "run" / "run.json").read_text())

    assert written["config"]["env"]["kwargs"]["tokenizer"] == "gpt2"
    assert written["config"]["env"]["kwargs"]["url"] == "https://user:<redacted>@host/x?token=<redacted>"
    assert written["fingerprint"]["env"]["kwargs"]["api_key"].startswith("<redacted-")
    assert "are refused: <redacted>" in (left / "run" / "eval_info.json").read_text()


def test_no_command_is_shown_that_a_run_with_secrets_refuses(left, capsys):
    """It can neither be resumed without them nor be rendered later."""
    assert main(["show", str(left / "run")]) == 0

    output = capsys.readouterr().out
    assert f"Go on       the same command with --output_dir={left / 'run'}\n" in output
    assert "proctor replay" not in output


def test_a_run_with_secrets_goes_on_by_the_whole_command(left, tmp_path, capsys):
    """With the same ones; another is another evaluation, and the difference is said without it."""
    run = tmp_path / "run"
    shutil.copytree(left / "run", run)
    words = [*EVALUATION, f"--output_dir={run}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(left)

        assert main(["resume", str(run)]) == 2
        assert "a secret that run.json does not hold" in capsys.readouterr().err
        assert main(["replay", str(run), "--episode=0"]) == 2
        assert "a secret that run.json does not hold" in capsys.readouterr().err
        assert main([*words, f"--env.kwargs={json.dumps(KWARGS)}"]) == 3
        other = KWARGS | {"api_key": "SECRET-99"}
        assert main([*words, f"--env.kwargs={json.dumps(other)}"]) == 2
    output = capsys.readouterr().err
    assert "env.kwargs.api_key: was" in output
    assert "SECRET" not in output


def test_a_run_of_before_shows_none_either(left, tmp_path):
    """Earlier versions left them in the fingerprint and in the command."""
    run = tmp_path / "run"
    shutil.copytree(left / "run", run, ignore=shutil.ignore_patterns("report.html", "wandb", "eval_info.json"))
    written = json.loads((run / "run.json").read_text())
    written["fingerprint"]["env"]["kwargs"] = KWARGS
    written["command"] = ["proctor", "eval", f"--env.kwargs={json.dumps(KWARGS)}"]
    (run / "run.json").write_text(json.dumps(written))

    assert main(["report", str(run)]) == 0

    assert "report.html" not in leaks(run)


def test_a_refusal_does_not_quote_a_secret(capsys):
    """Whatever is wrong with it."""
    for words in (["--env.kwargs", '{"api_key": "SECRET-01",}'], ["--env.api_key", "SECRET-01"]):
        assert main(["eval", "--policy.type=random", "--env.type=gymnasium", "--env.task=CartPole-v1", *words]) == 2

    assert "SECRET" not in capsys.readouterr().err
