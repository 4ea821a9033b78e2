"""A process that is killed while it writes a file whole: the next one finishes the run, and nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from proctor.cli import main
from proctor.results.eval_info import canonical_info
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
    killed = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in directory.glob(".*.tmp")]
    assert main([*words, f"--output_dir={directory}"]) == 0

    assert not list(directory.glob(".*.tmp"))
    whole, resumed = (json.loads((each / "eval_info.json").read_text()) for each in (tmp_path / "whole", directory))
    assert canonical_info(resumed) == canonical_info(whole)
    capsys.readouterr()
