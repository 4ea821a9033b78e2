"""A process that is killed while it writes: the next one finishes the run, and nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from proctor.cli import main
from proctor.results.eval_info import canonical_info
from proctor.results.journal import read_array, read_journal
from proctor.testing.fakes import FAKE_BENCHMARK

KILL = """
import os, signal, sys
sync, name = os.fsync, sys.argv.pop(1)

def killed(descriptor):
    sync(descriptor)
    if f".{name}." in os.readlink(f"/proc/self/fd/{descriptor}"):
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync = killed
from proctor.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("name", ["run.json", "eval_info.json"])
def test_a_kill_in_the_midst_of_a_file_costs_nothing(tmp_path, capsys, name):
    """The file has its bytes but not its name yet; afterwards the numbers are those of a run that was left alone."""
    words = ["eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--env.max_steps=6"]
    words += ["--eval.n_episodes=2", "--eval.batch_size=2", "--eval.video=none"]
    assert main([*words, f"--output_dir={tmp_path}/whole"]) == 0
    directory = tmp_path / "killed"

    command = [sys.executable, "-P", "-c", KILL, name, *words, f"--output_dir={directory}"]
    killed = subprocess.run(command, check=False, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in directory.glob(".*.tmp")]
    assert main([*words, f"--output_dir={directory}"]) == 0

    assert not list(directory.glob(".*.tmp"))
    whole, resumed = (json.loads((each / "eval_info.json").read_text()) for each in (tmp_path / "whole", directory))
    assert canonical_info(resumed) == canonical_info(whole)
    capsys.readouterr()


KILL_AMID_A_GROUP = """
import os, signal, sys
from proctor.evaluation import run_state
from proctor.results import journal_writer

run_state.GROUP_S, run_state.GROUP_MOST = 3600.0, 4
file, share, synced_sizes = sys.argv.pop(1), float(sys.argv.pop(1)), open(sys.argv.pop(1), "w")
write, sync, n_written = os.write, journal_writer._sync, 0

def told(descriptor):
    sync(descriptor)
    if os.readlink(f"/proc/self/fd/{descriptor}").endswith("journal.jsonl"):
        print(os.fstat(descriptor).st_size, file=synced_sizes, flush=True)

def killed(descriptor, content):
    global n_written
    if os.readlink(f"/proc/self/fd/{descriptor}").endswith(file):
        n_written += 1
        if n_written == 4:
            write(descriptor, bytes(content)[: int(share * len(content))])
            os.kill(os.getpid(), signal.SIGKILL)
    return write(descriptor, content)

os.write, journal_writer._sync = killed, told
from proctor.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("file", "share"), [("journal.jsonl", 0.6), ("journal.jsonl", 0.0), ("actions.bin", 0.5)])
def test_a_kill_in_the_midst_of_a_group_loses_no_more_than_the_group(tmp_path, capsys, file, share):
    """Of the arrays or of the lines, some have their bytes and some do not; the run goes on to the same results."""
    words = ["eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--env.max_steps=6"]
    words += ["--eval.n_episodes=20", "--eval.batch_size=2", "--eval.video=none"]
    assert main([*words, f"--output_dir={tmp_path}/whole"]) == 0
    directory = tmp_path / "killed"

    program = [sys.executable, "-P", "-c", KILL_AMID_A_GROUP, file, str(share), str(tmp_path / "sizes")]
    command = [*program, *words, f"--output_dir={directory}"]
    killed = subprocess.run(command, check=False, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    kept = read_journal(directory / "journal.jsonl")
    assert kept.intact_bytes >= int((tmp_path / "sizes").read_text().splitlines()[-1])
    assert 2 <= len(kept.episodes) < 40
    assert all(read_array(episode, name) is not None for episode in kept.episodes for name in ("actions", "rewards"))
    assert main([*words, f"--output_dir={directory}"]) == 0

    whole, resumed = (json.loads((each / "eval_info.json").read_text()) for each in (tmp_path / "whole", directory))
    assert canonical_info(resumed) == canonical_info(whole)
    capsys.readouterr()
