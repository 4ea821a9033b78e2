"""What a display is told while a run goes on, and what else may write to the terminal meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from time import monotonic, sleep

import pytest

from proctor import evaluate
from proctor.evaluation import terminal
from proctor.reports.display import SilentDisplay
from proctor.reports.progress import Progress, Stage
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

ENV = {"type": FAKE_BENCHMARK, "max_steps": 8}


class Recorder(SilentDisplay):
    """Keeps what it is told."""

    def __init__(self):
        self.shown = []

    def update(self, progress):
        self.shown.append(progress)


@pytest.fixture
def shown(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(terminal, "make_display", lambda *_: recorder)
    return recorder.shown


def test_progress_leads_from_the_start_to_the_last_episode(tmp_path, shown):
    """All along it adds up; at the end it is what the results say."""
    env = {**ENV, "step_seconds": 0.01}
    result = evaluate(FakePolicy(), env, output_dir=tmp_path / "run", n_episodes=8, batch_size=2)

    measuring = [one for one in shown if isinstance(one, Progress)]
    assert len(measuring) > 2
    assert measuring[0].running_s is None
    assert measuring[0].load.starting
    for progress in measuring:
        assert progress.load.workers <= 2
        assert sum(progress.load.running.values()) <= 2
        assert progress.overall.so_far.n_planned <= progress.overall.done
        assert sum(task.running for task in progress.tasks) == sum(progress.load.running.values())
    last = measuring[-1]
    assert last.overall.counts == last.overall.so_far == result.summary.overall
    assert last.timings.total == pytest.approx(result.summary.timings.total)
    assert last.load.mean_batch is not None
    assert 0 < last.load.inference_share <= 1
    assert any(one.load.running for one in measuring)


class SlowToLoad(FakePolicy):
    """Takes seconds longer to load than the first simulator takes to come up."""

    def __init__(self, shown):
        super().__init__()
        self._shown = shown

    def open(self, n_threads):
        until = monotonic() + 60
        while monotonic() < until and not (
            self._shown and self._shown[-1].load.simulating + self._shown[-1].load.waiting
        ):
            sleep(0.05)
        sleep(3.0)
        return self


def test_waiting_for_the_policy_to_load_is_no_part_of_an_episode(tmp_path, shown):
    """It says nothing of where an episode's time goes; meanwhile the display says what is waited for."""
    result = evaluate(SlowToLoad(shown), ENV, output_dir=tmp_path / "run", n_episodes=1, batch_size=2)

    assert any(one.load.loading_policy and one.load.running and one.running_s is None for one in shown)
    assert max(episode.timings.wait for episode in result.summary.episodes) < 3.0


def test_an_episode_that_cannot_be_run_is_reported_with_its_reason(tmp_path, shown):
    """While the others go on."""
    (tmp_path / "faults").mkdir()
    env = {**ENV, "faults": {"1/1001/2": "raise"}, "times": 2, "scratch": str(tmp_path / "faults")}

    evaluate({"type": "expert"}, env, output_dir=tmp_path / "run", n_episodes=3, batch_size=2)

    spec, error = shown[-1].last_error
    assert (spec.task_id, spec.seed) == (1, 1001)
    assert "a scripted fault" in error.message
    assert (shown[-1].overall.counts.n_errors, shown[-1].overall.done) == (1, 6)
    assert shown[0].last_error is None


def test_episodes_of_an_earlier_session_are_there_from_the_beginning(tmp_path, shown):
    """And do not count as this one's speed."""
    for n_episodes in (2, 4):
        shown.clear()
        evaluate({"type": "expert"}, ENV, output_dir=tmp_path / "run", n_episodes=n_episodes, batch_size=2)

    first = shown[0]
    assert (first.overall.done, first.overall.total, first.n_resumed) == (4, 8, 4)
    assert first.episodes_per_s is None


def test_videos_are_a_stage_of_their_own(tmp_path, shown):
    """After the measurements."""
    evaluate({"type": "expert"}, ENV, output_dir=tmp_path / "run", n_episodes=2, batch_size=2, video="all")

    stages = [one for one in shown if isinstance(one, Stage)]
    assert shown[-len(stages) :] == stages
    assert (stages[-1].done, stages[-1].total) == (4, 4)


NOISY = """
import os, sys, warnings
from proctor import evaluate
class Noisy:
    def __call__(self, observation):
        print("python noise"); os.write(2, b"native noise\\n"); warnings.warn("a noisy warning")
        return [0.0, 0.0]
env = {"type": "proctor.testing.fakes:FakeBenchmark", "max_steps": 4}
evaluate(Noisy(), env, output_dir=sys.argv[1], n_episodes=1, batch_size=2, display=sys.argv[2], **eval(sys.argv[3]))
"""
NOISES = ["python noise", "native noise", "a noisy warning"]


@pytest.mark.parametrize(
    ("display", "fields", "diverted"),
    [
        ("plain", {}, True),
        ("auto", {"batch_size": 1}, True),
        ("none", {}, False),
        ("plain", {"use_async_envs": False}, False),
    ],
    ids=["plain", "one worker", "no display", "debugging"],
)
def test_libraries_do_not_write_into_a_display(tmp_path, display, fields, diverted):
    """What they print goes into the log, unless nothing is displayed or somebody debugs."""
    program = NOISY.replace("batch_size=2, ", "") if "batch_size" in fields else NOISY

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run"), display, repr(fields)],
        capture_output=True,
        text=True,
        check=True,
    )

    shown = done.stdout + done.stderr
    log = tmp_path / "run" / "worker.log"
    written = log.read_text() if log.exists() else ""
    for noise in NOISES:
        assert (noise in shown) != diverted
        assert (noise in written) == diverted
    assert ("2/2 episodes" in done.stderr) == (display != "none")


def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    """The live display is gone, the cursor is back, and there is one sentence; no traceback."""
    directory = tmp_path / "run"
    command = [sys.executable, "-m", "proctor", "eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}"]
    command += ["--env.step_seconds=0.2", "--eval.n_episodes=50", "--eval.batch_size=2", f"--output_dir={directory}"]
    ours, theirs = os.openpty()
    with subprocess.Popen(
        command, stdout=theirs, stderr=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    ) as process:
        os.close(theirs)
        seen = b""
        while b"95% interval" not in seen:
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(ours, 4096):
                seen += chunk
        except OSError:  # its end is closed
            pass
        assert process.wait() == 130
    os.close(ours)

    text = seen.decode()
    assert "Interrupted." in text
    assert f"proctor resume {directory}" in text
    assert "Traceback" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


RUN = ["eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--env.step_seconds=0.05"]
RUN += ["--eval.n_episodes=20", "--eval.batch_size=2", "--eval.video=none"]


def on_a_terminal(directory, *, before=""):
    """A run whose terminal is this pseudo-terminal, with the descriptor of its other end, once episodes are shown."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "proctor", *RUN, f"--output_dir={directory}"]
    process = subprocess.Popen(
        ["sh", "-c", f'{before} exec "$@"', "sh", *command],
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),  # noqa: PLW1509 - one thread
    )
    os.close(theirs)
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    seen = b""
    while b"95% interval" not in seen:
        seen += os.read(ours, 4096)
    return process, ours


def n_completed(directory):
    return len(json.loads((directory / "eval_info.json").read_text())["per_episode"])


def test_a_run_goes_on_when_its_terminal_is_gone(tmp_path):
    """With nohup, as over a connection that breaks: each write then fails with EIO. All episodes are measured."""
    process, ours = on_a_terminal(tmp_path / "run", before="trap '' HUP;")
    os.close(ours)

    assert process.wait(120) == 0
    assert n_completed(tmp_path / "run") == 40


def test_a_run_ends_in_good_order_when_its_terminal_is_closed(tmp_path):
    """Without nohup. What has finished is summarised, and can be resumed."""
    process, ours = on_a_terminal(tmp_path / "run")
    os.close(ours)

    assert process.wait(120) == 128 + signal.SIGHUP
    assert 0 < n_completed(tmp_path / "run") < 40


def test_the_display_follows_the_size_of_the_terminal(tmp_path):
    """After it has become narrower, no line is wider, and the folded lines are erased."""
    process, ours = on_a_terminal(tmp_path / "run")
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    seen = b""
    while seen.count(b"\x1b[?25l") < 4:
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGTERM)
    with suppress(OSError):
        while os.read(ours, 4096):
            pass
    os.close(ours)

    assert process.wait(120) == 128 + signal.SIGTERM
    frames = seen.decode(errors="replace").split("\x1b[?25l")[2:-1]
    lines = [line for frame in frames for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", frame).splitlines()]
    assert max(map(len, lines)) <= 50
