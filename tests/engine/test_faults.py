"""Faults, and what must be left after them: the results of the clean run, and nothing else."""

from __future__ import annotations

import json
import os
import signal
from asyncio import CancelledError
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from fake_runs import NOTHING, canonical, errors_of, held, left_since, processes_of, run_fake

from proctor.cli import main
from proctor.errors import ConfigError, EnvironmentBuildError, ResourceError
from proctor.evaluation import capacity
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeEnv, FakePolicy


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path):
    """Around every test: no process, no descriptor, no temporary file, nothing in /dev/shm."""
    before = held()
    yield
    assert left_since(before) == NOTHING
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith((".tmp", ".lock"))]


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory):
    return run_fake(tmp_path_factory.mktemp("clean") / "run", batch_size=1)


FAULTS = {
    "kill": ("crashed", "the simulator's process was ended by SIGKILL"),
    "segfault": ("crashed", "the simulator's process was ended by SIGSEGV"),
    "abort": ("crashed", "the simulator's process was ended by SIGABRT"),
    "exit": ("crashed", "the simulator's process exited with status 0"),
    "babble": ("crashed", "the simulator's process sent bytes that are not a reply"),
    "raise": ("raised", "RuntimeError: a scripted fault"),
    "quit": ("raised", "SystemExit: 0"),
    "panic": ("raised", "_Panic"),
    "interrupt": ("raised", "KeyboardInterrupt"),
    "ask": ("raised", "EOFError: EOF when reading a line"),
    "hang": ("hung", "the simulator gave no sign of life for {} s"),
    "seize": ("hung", "the simulator gave no sign of life for {} s"),
    "stop": ("hung", "the simulator gave no sign of life for {} s"),
}


@pytest.mark.parametrize(
    ("fault", "n_workers"),
    [*((fault, 2) for fault in FAULTS), *((fault, 1) for fault in ("raise", "quit", "panic", "ask", "interrupt"))],
)
def test_the_results_after_a_fault_are_those_without_it(tmp_path, clean_run, fault, n_workers):
    """At the constructor, at a reset and amid an episode: each of those runs again and nothing else differs. In this
    process (one worker that was asked for) too, unless the fault ends the process.
    """
    places = {"0/construct": fault, "1/1001/0": fault, "0/1002/4": fault}
    hangs = FAULTS[fault][0] == "hung"
    deadlines = {"step_timeout_s": 1, "reset_timeout_s": 4} if hangs else {}

    result = run_fake(tmp_path / "run", faults=places, batch_size=n_workers, **deadlines)

    assert canonical(result.info) == canonical(clean_run.info)
    kind, message = FAULTS[fault]
    assert errors_of(result) == {
        "0/1000": [(kind, message.format(4))],
        "1/1001": [(kind, message.format(4))],
        "0/1002": [(kind, message.format(1))],
    }
    assert result.n_errors == 0


@pytest.mark.parametrize("why", ["one episode", "one core"])
def test_one_worker_that_nobody_asked_for_is_a_process(tmp_path, clean_run, monkeypatch, why):
    """What ends it does not end the run."""
    if why == "one core":
        monkeypatch.setattr(capacity, "usable_cores", lambda: 1)
    n_episodes = 1 if why == "one episode" else 3
    faults = {"0/1000/0": "exit"}

    result = run_fake(tmp_path / "run", faults=faults, env={"n_tasks": 1}, batch_size=0, n_episodes=n_episodes)

    assert errors_of(result) == {"0/1000": [FAULTS["exit"]]}
    assert result.n_errors == 0


def test_the_users_second_ctrl_c_reaches_a_simulator_in_this_process(tmp_path, monkeypatch):
    """It is no error of the episode; the first one lets the run end in good order."""

    def reset(self, *args, **look):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FakeEnv, "reset", reset)

    with pytest.raises(KeyboardInterrupt):
        run_fake(tmp_path / "run", batch_size=1)


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, CancelledError, EOFError, KeyboardInterrupt])
def test_a_frame_that_ends_the_process_costs_the_video(tmp_path, monkeypatch, kind):
    """The results are there, and the reason is said."""

    def render(self, *args):
        raise kind

    monkeypatch.setattr(FakeEnv, "render", render)

    result = run_fake(tmp_path / "run", batch_size=1, env={"n_tasks": 1}, n_episodes=1, video="all")

    assert list(result.video_problems.values()) == [f"cannot be drawn ({kind.__name__})"]


def test_a_list_of_tasks_that_ends_the_process_is_the_users_mistake(tmp_path, monkeypatch):
    """No exit status 0 without a result."""

    def tasks(self):
        raise SystemExit(0)

    monkeypatch.setattr(FakeBenchmark, "tasks", tasks)

    with pytest.raises(ConfigError, match="fake cannot say which tasks there are: SystemExit: 0"):
        run_fake(tmp_path / "run")


def test_a_fault_that_stays_makes_that_episode_an_error_and_no_other(tmp_path, clean_run, capsys):
    """It is no failure, the signal is named, the exit status is 3, and a resume runs that episode alone."""
    directory, scratch = tmp_path / "run", tmp_path / "faults"
    scratch.mkdir()
    command = ["eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", f"--env.scratch={scratch}"]
    command += ['--env.faults={"1/1001/0": "kill"}', "--env.times=2", "--eval.display=none"]
    command += ["--eval.n_episodes=3", "--eval.batch_size=2", f"--output_dir={directory}"]

    assert main(command) == 3

    printed = capsys.readouterr().out
    assert "SIGKILL" in printed
    assert f"proctor resume {directory}" in printed.replace("\n", "")
    info = json.loads((directory / "eval_info.json").read_text())
    by_outcome = {(e["task_id"], e["seed"]): e["outcome"] for e in info["per_episode"]}
    assert by_outcome.pop((1, 1001)) == "error"
    assert set(by_outcome.values()) == {"success"}
    assert info["overall"]["pc_success"] == 100
    assert info["overall"]["n_episodes"] == 5

    assert main(["resume", str(directory)]) == 0
    assert json.loads((directory / "eval_info.json").read_text())["overall"]["n_episodes"] == 6
    (journal,) = RunDirectory(directory).read_journals()
    assert len(journal.episodes) == 7


def test_a_simulator_that_cannot_be_built_ends_the_run_with_one_sentence(tmp_path, capsys):
    """After three failures alike; no traceback, exit status 2."""
    faults = {"0/construct": "raise", "1/construct": "raise"}
    scratch = tmp_path / "faults"
    scratch.mkdir()

    status = main(
        [
            *("eval", "--policy.type=zero", f"--env.type={FAKE_BENCHMARK}", f"--env.scratch={scratch}"),
            *("--env.times=99", f"--env.faults={json.dumps(faults)}", "--eval.n_episodes=9", "--eval.batch_size=2"),
            *("--eval.display=none", f"--output_dir={tmp_path / 'run'}"),
        ]
    )

    error = capsys.readouterr().err
    assert status == 2
    assert "failed to construct 3 times alike: RuntimeError: a scripted fault" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("fault", ["abort", "exit"])
def test_a_simulator_whose_constructor_ends_the_process_ends_the_run(tmp_path, fault):
    """After three times alike, as if the constructor had raised; not after four workers for each."""
    faults = {f"{task}/construct": fault for task in (0, 1)}

    with pytest.raises(EnvironmentBuildError, match=f"failed to construct 3 times alike: {FAULTS[fault][1]}"):
        run_fake(tmp_path / "run", faults=faults, env={"times": 99}, n_episodes=9)


def test_one_task_that_cannot_be_built_does_not_stop_the_others(tmp_path, clean_run):
    """Once a simulator has stood, the fault is that task's: its episodes are errors."""
    result = run_fake(tmp_path / "run", faults={"1/construct": "raise"}, env={"times": 99}, batch_size=1)

    outcomes = [(episode["task_id"], episode["outcome"]) for episode in result.info["per_episode"]]
    assert outcomes[3:] == [(1, "error")] * 3
    assert result.info["per_task"][0] == clean_run.info["per_task"][0]


def test_three_failures_at_the_start_need_not_be_of_one_episode(tmp_path):
    """Nor do failures that differ add up."""
    with pytest.raises(EnvironmentBuildError, match="3 times alike"):
        run_fake(tmp_path / "run", faults={"0/construct": "raise"}, env={"times": 99, "n_tasks": 1}, batch_size=1)


def test_too_many_dead_workers_end_the_run_and_what_finished_is_kept(tmp_path):
    """Four for each worker; exit status 4, and the way to go on."""
    faults = {f"0/{seed}/0": "kill" for seed in range(1001, 1020)}

    with pytest.raises(ResourceError, match=r"9 workers were lost.*SIGKILL") as caught:
        run_fake(tmp_path / "run", faults=faults, env={"times": 99, "n_tasks": 1}, n_episodes=20)

    assert caught.value.exit_code == 4
    assert f"the same call with output_dir='{tmp_path / 'run'}'" in caught.value.hint
    info = json.loads((tmp_path / "run" / "eval_info.json").read_text())
    assert info["complete"] is False
    assert [episode["seed"] for episode in info["per_episode"] if episode["outcome"] != "error"] == [1000]


class Misbehaving(FakePolicy):
    """Does something else for the episodes of one seed, ``times`` times."""

    batch_size = 4

    def __init__(self, instead, times: int = 99) -> None:
        super().__init__()
        self._instead, self._left = instead, times

    def _chunk(self, observation):
        if observation.arrays["observation.image"][-1, 0, 0, 0] != 1001 % 256 or not self._left:
            return super()._chunk(observation)
        self._left -= 1
        return self._instead()


def refuse():
    raise ValueError("I do not do 1001")


BAD_ANSWERS = {
    "raises": (refuse, "ValueError: I do not do 1001"),
    "nan": (lambda: np.full((3, 2), np.nan), "nan as action[0] of step 0; expected finite"),
    "shape": (lambda: np.zeros((3, 5)), "shape (3, 5); the environment takes (steps, 2)"),
    "dtype": (lambda: np.zeros((3, 2), complex), "dtype complex128; expected real numbers"),
    "nothing": (lambda: None, "gave None"),
    "short": (lambda: np.zeros((0, 2)), "shape (0, 2)"),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_policy_that_cannot_cope_with_one_episode_costs_that_episode(tmp_path, clean_run, answer):
    """Of either task; the others are as they would have been, although they share its batches."""
    instead, message = BAD_ANSWERS[answer]

    result = run_fake(tmp_path / "run", Misbehaving(instead), batch_size=1)

    errors = errors_of(result)
    assert set(errors) == {"0/1001", "1/1001"}
    for attempts in errors.values():
        assert [kind for kind, _ in attempts] == ["policy", "policy"]
        assert all(message in text for _, text in attempts)
    assert result.n_errors == 2
    ours = {(e["task_id"], e["seed"]): e["final_state_hash"] for e in result.info["per_episode"]}
    for episode in clean_run.info["per_episode"]:
        if episode["seed"] != 1001:
            assert ours[episode["task_id"], episode["seed"]] == episode["final_state_hash"]


def test_a_policy_that_fails_once_is_asked_again_in_a_simulator_that_still_stands(tmp_path, clean_run):
    """Nothing is built anew: one simulator for each task."""
    result = run_fake(tmp_path / "run", Misbehaving(refuse, times=1), batch_size=1)

    assert canonical(result.info) == canonical(clean_run.info)
    assert sum(episode["timings"]["construct"] > 0 for episode in result.info["per_episode"]) == 2
    assert len(errors_of(result)) == 1


class Deadly(FakePolicy):
    """Ends all workers while it thinks for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.n_slots = 1  # two passes side by side would each think they are the first
        self._before = processes_of(os.getpid())
        self.killed: set[int] = set()

    def predict(self, observations, memories):
        if not self.killed:
            self.killed = processes_of(os.getpid()) - self._before
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)
            while any(Path(f"/proc/{pid}").exists() for pid in self.killed):  # until the engine has received the loss
                sleep(0.01)
        return super().predict(observations, memories)


def test_an_answer_for_a_worker_that_died_meanwhile_is_nobodys(tmp_path, clean_run):
    """Its episode runs again elsewhere, from its beginning."""
    policy = Deadly()

    result = run_fake(tmp_path / "run", policy)

    assert policy.killed
    assert result.n_errors == 0
    assert errors_of(result)
    assert canonical(result.info) == canonical(clean_run.info)


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_a_simulator_that_cannot_be_closed_does_not_cost_a_finished_run(tmp_path, clean_run, monkeypatch, kind):
    """Its results are in."""

    def close(self):
        raise kind

    monkeypatch.setattr(FakeEnv, "close", close)

    result = run_fake(tmp_path / "run", batch_size=1, env={"n_tasks": 1})

    assert result.n_errors == 0
    assert result.info["per_task"] == clean_run.info["per_task"][:1]
