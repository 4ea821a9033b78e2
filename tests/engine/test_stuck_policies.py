"""Policies that do not return, or leave threads behind: the command ends in time, and says how to go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from proctor.testing.fakes import FAKE_BENCHMARK

POLICIES = """
import threading
import time

from proctor.testing.fakes import FakePolicy


class Hangs(FakePolicy):
    def predict(self, observations, memories):
        if any(memory.stream.spec.episode_index >= 2 for memory in memories):
            open("stuck", "w").close()
            time.sleep(600)
        return super().predict(observations, memories)


class LoadsForEver(FakePolicy):
    def open(self, n_threads):
        open("stuck", "w").close()
        time.sleep(600)


def hangs(fields, rename_map=None):
    return Hangs()


def loads_for_ever(fields, rename_map=None):
    return LoadsForEver()


def leaves_threads(fields, rename_map=None):
    threading.Thread(target=time.sleep, args=(600,), name="telemetry").start()
    return FakePolicy()
"""


def start(place: Path, policy: str, *more: str) -> subprocess.Popen[str]:
    (place / "stuck_policies.py").write_text(POLICIES)
    words = ["eval", f"--policy.type=stuck_policies:{policy}", f"--env.type={FAKE_BENCHMARK}", "--env.max_steps=4"]
    words += ["--eval.n_episodes=4", "--eval.batch_size=2", "--output_dir=run", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "proctor", *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], seconds: float) -> str:
    """Wait for the end, and give what was printed on standard error."""
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return errors


@pytest.mark.parametrize(
    ("policy", "number"),
    [("hangs", signal.SIGINT), ("hangs", signal.SIGHUP), ("loads_for_ever", signal.SIGTERM)],
    ids=["hangs, SIGINT", "hangs, SIGHUP", "loads, SIGTERM"],
)
def test_one_signal_ends_a_run_whose_policy_does_not_return(tmp_path, policy, number):
    """With a partial result and the hint, as if the policy had returned; the policy's thread is left alone."""
    process = start(tmp_path, policy)
    until = monotonic() + 120
    while not (tmp_path / "stuck").exists():
        assert monotonic() < until
        assert process.poll() is None
        sleep(0.02)

    process.send_signal(number)
    errors = ended(process, 120)

    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert "proctor resume run" in errors
    info = json.loads((tmp_path / "run" / "eval_info.json").read_text())
    assert info["complete"] is False
    assert len(info["per_episode"]) < 8


def test_a_run_whose_policy_does_not_return_ends_by_itself(tmp_path):
    """After the third pass; finished episodes are kept, and the sentence names the option."""
    process = start(tmp_path, "hangs", "--eval.inference_timeout_s=0.5")

    errors = ended(process, 120)

    assert process.returncode == 4
    assert "has not returned from a forward pass within 0.5 s; a longer --eval.inference_timeout_s" in errors
    assert "proctor resume run" in errors
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text())["complete"] is False


def test_threads_that_a_policy_leaves_do_not_keep_the_process(tmp_path):
    """The result is printed, the status is 0, and a note names the thread."""
    process = start(tmp_path, "leaves_threads", "--eval.video=none")

    errors = ended(process, 120)

    assert process.returncode == 0
    assert "Note: The process ends although threads of other code go on: telemetry" in errors
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text())["complete"] is True
