"""Signals and kills while ``proctor eval`` runs, and going on afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from proctor.cli import main
from proctor.results.eval_info import canonical_info, without_timing
from proctor.testing.fakes import FAKE_BENCHMARK

POLICY = """
import os, time
import numpy as np

def act(observation):
    if observation["observation.image"][0, 0, 0] >= 1002 % 256 and os.path.exists("slowly"):
        time.sleep(0.1)
    goal = int(observation["instruction"].rsplit()[-1])
    return np.clip(goal - observation["observation.state"], -1, 1) + 0.3 * np.random.normal(size=2)
"""
"""As long as the file is there, all episodes but the first two of each task take a second or more."""
ENV = {"max_steps": 12}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a policy in it."""
    place = tmp_path_factory.mktemp("interrupted")
    (place / "interrupted_policy.py").write_text(POLICY)
    return place


def command(directory: Path, *more: str, **env: object) -> list[str]:
    """Two tasks of five episodes in two workers."""
    return [
        *("eval", "--policy.type=function", "--policy.function=interrupted_policy:act"),
        *(f"--env.type={FAKE_BENCHMARK}", *(f"--env.{name}={value}" for name, value in (ENV | env).items())),
        *("--eval.n_episodes=5", "--eval.batch_size=2", f"--output_dir={directory}", *more),
    ]


def start(arguments: list[str], place: Path, *, slowly: bool = False) -> subprocess.Popen[str]:
    if slowly:
        (place / "slowly").touch()
    else:
        (place / "slowly").unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "proctor", *arguments],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def n_lines(directory: Path) -> int:
    path = directory / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_until(condition, seconds: float = 120) -> None:
    until = monotonic() + seconds
    while not condition():
        assert monotonic() < until, "it did not come to that"
        sleep(0.01)


def workers_of(pid: int) -> list[int]:
    """The fork server of this process, which has its id as an argument, and its workers, with the same command line."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = cmdline.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"proctor.engine.worker.fork_server" in arguments and str(pid).encode() in arguments:
            found.append(int(cmdline.parent.name))
    return found


def info_in(directory: Path) -> dict:
    return json.loads((directory / "eval_info.json").read_text())


@pytest.fixture(scope="module")
def uninterrupted(place) -> dict:
    """What the command gives when it is left alone."""
    process = start(command(place / "whole"), place)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return info_in(place / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_the_run_in_good_order_and_resuming_completes_it(
    place, uninterrupted, number, monkeypatch, capsys
):
    """128 + its number, a partial result, a hint; afterwards the numbers of a run that was left alone."""
    directory = place / number.name
    process = start(command(directory), place, slowly=True)
    wait_until(lambda: n_lines(directory) >= 3)
    workers = workers_of(process.pid)
    assert workers

    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    (place / "slowly").unlink()

    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    hint = f"go on with: proctor resume {directory} --trust_remote_code=true"  # for the policy lies beside it
    assert hint in errors
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    partial = info_in(directory)
    assert partial["complete"] is False
    kept = len(partial["per_episode"])
    assert 2 <= kept < 10
    assert partial["overall"]["n_missing"] == 10 - kept

    monkeypatch.chdir(place)
    assert main(hint.split()[4:]) == 0
    assert canonical_info(info_in(directory)) == canonical_info(uninterrupted)
    assert n_lines(directory) == 10 + 2  # a header for each session
    capsys.readouterr()


def test_a_killed_coordinator_leaves_no_worker_and_the_same_command_completes_the_run(
    place, uninterrupted, monkeypatch, capsys
):
    """While it lives nobody else may write; when it is gone everything but the times is as if it had not happened."""
    directory = place / "killed"
    process = start(command(directory), place, slowly=True)
    wait_until(lambda: n_lines(directory) >= 3)
    monkeypatch.chdir(place)
    assert main(command(directory)) == 2
    assert f"process {process.pid} on" in capsys.readouterr().err
    workers = workers_of(process.pid)
    assert workers

    process.kill()
    process.communicate()

    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert 3 <= n_lines(directory) < 11
    process = start(command(directory), place)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    ours, theirs = without_timing(info_in(directory)), without_timing(uninterrupted)
    assert ours["config"].pop("output_dir") != theirs["config"].pop("output_dir")
    assert ours == theirs
    assert not list(directory.glob("*.lock"))


def test_a_worker_that_hangs_does_not_outlive_a_killed_coordinator(place):
    """It cannot notice that its connection is gone: the kernel ends it."""
    directory, scratch = place / "hanging", place / "hanging-faults"
    scratch.mkdir()
    faults = json.dumps({"0/1000/0": "hang", "1/1000/0": "hang"})
    process = start(command(directory, f"--env.faults={faults}", f"--env.scratch={scratch}"), place)
    wait_until(lambda: len(list(scratch.iterdir())) == 2)
    workers = workers_of(process.pid)
    assert len(workers) == 3

    process.kill()
    process.communicate()

    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_the_second_signal_ends_the_run_at_once(place):
    """Also where the simulator hangs in this very process."""
    directory, scratch = place / "twice", place / "faults"
    scratch.mkdir()
    faults = ['--env.faults={"0/1000/2": "hang"}', f"--env.scratch={scratch}"]
    process = start(command(directory, *faults, "--eval.use_async_envs=false"), place)
    wait_until(lambda: list(scratch.iterdir()))

    process.send_signal(signal.SIGINT)
    sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "Traceback" not in errors


def test_a_finished_run_is_not_run_again(place, uninterrupted, monkeypatch, capsys):
    """The same command once more only says what there is."""
    monkeypatch.chdir(place)
    before = (place / "whole" / "journal.jsonl").read_bytes()

    assert main(command(place / "whole")) == 0

    assert (place / "whole" / "journal.jsonl").read_bytes().startswith(before)
    assert canonical_info(info_in(place / "whole")) == canonical_info(uninterrupted)
    assert "Success rate" in capsys.readouterr().out


def test_another_evaluation_is_refused_in_a_directory_that_holds_results(place, uninterrupted, monkeypatch, capsys):
    """With the difference, and nothing is written."""
    monkeypatch.chdir(place)
    before = (place / "whole" / "journal.jsonl").read_bytes()

    assert main(command(place / "whole", max_steps=11)) == 2

    assert "env.max_steps: was 12, now 11" in capsys.readouterr().err
    assert (place / "whole" / "journal.jsonl").read_bytes() == before
    assert (place / "whole" / "eval_info.json").exists()
