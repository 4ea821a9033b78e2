"""Wherever a run is to be written, and whatever lies there: it is written, or one sentence says why not."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys

import pytest

from proctor.cli import main
from proctor.testing.fakes import FAKE_BENCHMARK

EVALUATE = ["eval", "--policy.type=random", f"--env.type={FAKE_BENCHMARK}", "--env.n_tasks=1", "--eval.n_episodes=2"]
EVALUATE += ["--eval.video=none", "--eval.display=none"]
FILES = ["run.json", "journal.jsonl", "journal.lock", "journal.actions.bin", "eval_info.json", "worker.log"]


def refusal(capsys, *command):
    """Call a command, which must fail for a reason outside of Proctor; returns the sentence."""
    assert main([*command]) in {2, 4}, command
    printed = capsys.readouterr().err
    assert printed.startswith("Error: "), printed
    assert "Traceback" not in printed
    return printed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 300, "File name too long"),
        ("/".join(["y" * 200] * 25), "File name too long"),
        (os.fsdecode(b"\xff\xfe"), "is not UTF-8"),
        ("a\0b", "embedded null byte"),
    ],
    ids=["300", "5000", "bytes", "nul"],
)
def test_a_name_that_no_directory_can_have(tmp_path, capsys, name, why):
    """Before anything runs."""
    assert why in refusal(capsys, *EVALUATE, f"--output_dir={tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "é日本🤖", "a\nb", "[a]*?", "%03d", "a'b\"c$(x)", "\x1b[31mred", "-x"])
def test_a_name_that_is_merely_odd(tmp_path, name):
    """Every command takes it, and none takes it for something else."""
    directory = f"{tmp_path}/{name}"

    assert main([*EVALUATE, "--eval.batch_size=1", f"--output_dir={directory}"]) == 0
    assert main(["show", directory]) == main(["profile", directory]) == main(["resume", directory]) == 0
    assert main(["merge", directory, f"--output_dir={tmp_path}/merged"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {name, "merged"}


@pytest.mark.parametrize("file", FILES)
def test_a_directory_in_the_place_of_a_file(tmp_path, capsys, file):
    """It stays there. If it is where the result is to be, the sentence says how to go on once there is room."""
    (tmp_path / file).mkdir()

    message = refusal(capsys, *EVALUATE, "--eval.batch_size=2", f"--output_dir={tmp_path}")

    assert str(tmp_path) in message.replace("\n", "")
    assert (tmp_path / file).is_dir()
    if file == "eval_info.json":
        assert f"2 of 2 episodes are kept; go on with: proctor resume {tmp_path}" in message.replace("\n", "")
    elif file in {"worker.log", "journal.actions.bin"}:  # the run may be shown by then, without an episode
        assert main(["show", str(tmp_path)]) == 0
    else:
        refusal(capsys, "show", str(tmp_path))
    (tmp_path / file).rmdir()
    assert main([*EVALUATE, "--eval.batch_size=2", f"--output_dir={tmp_path}"]) == 0


@pytest.mark.parametrize("option", ["env.kwargs", "env", "policy"])
def test_an_option_that_is_nested_without_end(tmp_path, capsys, option):
    """On the command line and in a file; the sentence does not repeat all of it."""
    (tmp_path / "config.yaml").write_text(f"{option}: '{'[' * 100_000}'")

    for given in (f"--{option}={'[' * 100_000}", f"--config_path={tmp_path / 'config.yaml'}"):
        assert len(refusal(capsys, "eval", given, "--env.type=gymnasium", "--policy.type=random")) < 2000


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    """By the next session; nothing else is."""
    leftovers = [tmp_path / f".{name}.99999.tmp" for name in ("run.json", "eval_info.json")]
    for path in [*leftovers, tmp_path / ".mine.tmp"]:
        path.write_text("{")

    assert main([*EVALUATE, "--eval.batch_size=1", f"--output_dir={tmp_path}"]) == 0

    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == [".mine.tmp"]


@pytest.mark.parametrize("file", FILES)
def test_a_link_to_itself_in_the_place_of_a_file(tmp_path, capsys, file):
    """It is replaced if a file of that name would be, and refused if it would be written through."""
    (tmp_path / file).symlink_to(tmp_path / file)
    command = [*EVALUATE, "--eval.batch_size=2", f"--output_dir={tmp_path}"]

    if file == "eval_info.json":
        assert main(command) == 0
        assert not (tmp_path / file).is_symlink()
    else:
        assert file in refusal(capsys, *command)


ORDINARY_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root may read everything, unless it gives that up."""


@pytest.mark.skipif(bool(ORDINARY_USER) and not shutil.which("setpriv"), reason="root may read everything")
@pytest.mark.parametrize("file", ["run.json", "journal.jsonl", "."])
def test_a_file_of_somebody_else(tmp_path, file):
    """Every command that reads it says so. A directory may be somebody's, too."""
    run = tmp_path / "run"
    assert main([*EVALUATE, "--eval.batch_size=1", f"--output_dir={run}"]) == 0
    commands = [[name, str(run)] for name in ("show", "profile", "resume", "report", "export", "merge")]
    calls = f"from proctor.cli import main\nprint([main(each) for each in {commands}])"
    (run / file).chmod(0)

    ended = subprocess.run([*ORDINARY_USER, sys.executable, "-c", calls], check=False, capture_output=True, text=True)
    (run / file).chmod(0o700)

    assert set(json.loads(ended.stdout)) == {2}, ended.stderr
    assert ended.stderr.replace("\n", " ").count("cannot be read: Permission denied.") == len(commands)


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("RLIMIT_FSIZE", 4096, "File too large"),
        ("RLIMIT_NOFILE", 40, "raise that limit."),
    ],
)
def test_a_limit_of_the_shell_that_is_too_low(tmp_path, limit, value, why):
    """It is named."""

    def lower():
        resource.setrlimit(getattr(resource, limit), (value, value))

    ended = subprocess.run(
        [sys.executable, "-m", "proctor", *EVALUATE, "--eval.batch_size=2", f"--output_dir={tmp_path / 'run'}"],
        preexec_fn=lower,
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 4
    assert why in ended.stderr
    assert "batch_size to 0" not in ended.stderr
    assert "Traceback" not in ended.stderr
