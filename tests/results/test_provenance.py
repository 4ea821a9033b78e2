"""Where results come from, and what is kept out of it."""

import json
import socket
import subprocess

import msgspec
import pytest

from proctor.results.provenance import REDACTED, collect_provenance, redact, redact_command


def test_versions_and_machine_are_recorded(monkeypatch):
    """A distribution that is not installed is recorded as that."""
    monkeypatch.setenv("MUJOCO_GL", "egl")

    provenance = collect_provenance(["numpy", "no-such-distribution"], usable_cores=3)

    assert provenance.packages["numpy"][0].isdigit()
    assert provenance.packages["no-such-distribution"] is None
    assert provenance.gl_backend == "egl"
    assert provenance.usable_cores == 3
    assert provenance.cpu
    assert socket.gethostname() not in msgspec.json.encode(provenance).decode()


def test_the_revision_of_the_working_directory_is_recorded(tmp_path, monkeypatch):
    """With its uncommitted changes; None where there is no repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert collect_provenance([], 1).git is None
    (tmp_path / "file").write_text("1")
    for command in ("init -q", "add file", "-c user.name=a -c user.email=a@b commit -q -m one"):
        subprocess.run(["git", *command.split()], check=True)

    clean = collect_provenance([], 1).git
    (tmp_path / "file").write_text("2")
    dirty = collect_provenance([], 1).git

    assert (clean.dirty, dirty.dirty) == (False, True)
    assert len(clean.commit) == 40


def test_without_git_there_is_no_revision(monkeypatch):
    """A machine without git evaluates all the same."""
    monkeypatch.setenv("PATH", "")

    assert collect_provenance([], 1).git is None


@pytest.mark.parametrize("name", ["hf_token", "API_KEY", "apikey", "client-secret", "password", "Password2", "tokens"])
def test_secrets_are_redacted_at_any_depth(name):
    """Also inside lists and below the name."""
    config = {"a": [{name: "hunter2"}], "b": {name: {"inner": ["hunter2"]}}}

    assert "hunter2" not in json.dumps(redact(config))
    assert redact({name: "x"}) == {name: REDACTED}


def test_what_is_no_secret_stays():
    """Numbers, the tokenizer of many a policy and the success key of environments are needed to run it again."""
    config = {"n_tokens": 64, "tokenizer_name": "gpt2", "use_key": True, "token": None, "token_": "", "task": "monk"}
    config |= {"success_key": "solved", "success-key": "solved"}

    assert redact(config) == config


def test_commands_are_redacted_in_both_spellings():
    """``--name=value``, ``--name value`` and bare ``name=value``."""
    command = ["proctor", "eval", "--hf_token=a", "--api-key", "b", "policy.secret=c", "--seed=1", "--env.task", "d"]

    shown = redact_command(command)

    assert shown == (
        "proctor", "eval", f"--hf_token={REDACTED}", "--api-key", REDACTED, f"policy.secret={REDACTED}",
        "--seed=1", "--env.task", "d",
    )  # fmt: skip
