"""An evaluation from end to end, on the fake benchmark, as a user of the Python API sees it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import proctor
from proctor.config import EvalConfig
from proctor.errors import ConfigError, ContractError, FingerprintError, ResourceError
from proctor.results import journal_writer
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig, FakePolicy
from proctor.types import TIME_PARTS

ENV = {"type": FAKE_BENCHMARK, "max_steps": 12}


def evaluate(directory: Path, policy=None, **fields):
    """Two tasks of three episodes, in this process."""
    fields = {"env": ENV, "n_episodes": 3, "batch_size": 1, **fields}
    return proctor.evaluate(policy or FakePolicy(), output_dir=directory, **fields)


def test_everything_an_evaluation_leaves_is_in_its_directory(tmp_path):
    """And nothing else: the plan, the journal, the actions, the results."""
    result = evaluate(tmp_path / "run")

    assert result.directory == tmp_path / "run"
    assert {path.name for path in result.directory.iterdir()} == {
        "run.json",
        "journal.jsonl",
        "journal.actions.bin",
        "eval_info.json",
    }
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text()) == json.loads(json.dumps(result.info))


def test_the_numbers_add_up(tmp_path):
    """Per episode, per task, per group, overall; each success rate is over completed episodes."""
    result = evaluate(tmp_path / "run", FakePolicy(7), n_episodes=5)

    episodes, overall = result.info["per_episode"], result.info["overall"]
    successes = [episode["success"] for episode in episodes]
    assert len(episodes) == overall["n_episodes"] == 10
    assert 0 < sum(successes) < 10
    assert result.pc_success == overall["pc_success"] == 10 * sum(successes)
    assert overall["avg_sum_reward"] == pytest.approx(np.mean([episode["sum_reward"] for episode in episodes]))
    assert result.info["per_group"]["fake"]["pc_success"] == overall["pc_success"]
    for task in result.info["per_task"]:
        ours = [episode for episode in episodes if episode["task_id"] == task["task_id"]]
        assert task["metrics"]["successes"] == [episode["success"] for episode in ours]
        assert task["metrics"]["sum_rewards"] == [episode["sum_reward"] for episode in ours]
    assert result.n_errors == 0
    assert overall["eval_s"] > 0


def test_the_journal_holds_the_actions_that_were_executed(tmp_path):
    """As many as the episode has steps; replaying them gives the same rewards and the same final state."""
    evaluate(tmp_path / "run", FakePolicy(3, noise=0.2))
    benchmark = FakeBenchmark(FakeConfig(**ENV))
    (journal,) = RunDirectory(tmp_path / "run").read_journals()
    assert len(journal.episodes) == 6

    for record in journal.episodes:
        spec, actions = record.result.spec, read_actions(record)
        env = benchmark.make_env(benchmark.tasks()[spec.task_id])
        env.reset(spec.seed, None, look=False)
        rewards = [env.step(action, look=False).reward for action in actions]
        assert len(actions) == record.result.length
        assert max(rewards) == record.result.max_reward
        assert env.state_hash() == record.result.final_state_hash


def test_the_plan_is_written_down_before_anything_runs(tmp_path):
    """Every episode with its seed."""
    evaluate(tmp_path / "run", seed=5)

    run = RunDirectory(tmp_path / "run").read_run()

    assert [(spec.task_id, spec.episode_index, spec.seed) for spec in run.specs] == [
        (task_id, index, 5 + index) for task_id in (0, 1) for index in range(3)
    ]
    assert run.config["eval"]["n_episodes"] == 3


def test_times_are_booked_where_they_were_spent(tmp_path):
    """None is negative; steps that take time are seen as steps."""
    result = evaluate(tmp_path / "run", env=ENV | {"step_seconds": 0.005, "n_tasks": 1}, n_episodes=2)

    for episode in result.info["per_episode"]:
        assert all(episode["timings"][part] >= 0 for part in TIME_PARTS)
        assert episode["timings"]["step"] >= 0.005 * episode["length"]
        assert episode["timings"]["inference"] > 0


@pytest.mark.parametrize("policy", [{"type": "expert"}, {"type": "random"}, {"type": "zero"}])
def test_a_policy_may_live_in_the_workers(tmp_path, policy):
    """Its episodes are the same in this process and in others, and nobody looks."""
    here = evaluate(tmp_path / "here", policy, batch_size=1)
    there = evaluate(tmp_path / "there", policy, batch_size=2)

    def plain(result):
        return [{**episode, "timings": None} for episode in result.info["per_episode"]]

    assert plain(here) == plain(there)
    assert {episode["n_looks"] for episode in here.info["per_episode"]} == {0}
    assert (here.pc_success == 100) == (policy["type"] == "expert")


def test_any_function_is_a_policy(tmp_path):
    """It is given arrays and the instruction."""

    def steer(observation):
        return np.clip((int(observation["instruction"][-1]) - observation["observation.state"]) / 0.3, -1, 1)

    assert evaluate(tmp_path / "run", steer).pc_success == 100


def test_an_error_is_run_again_when_the_same_is_asked_for(tmp_path):
    """What had finished is kept; the result is that of a clean run."""
    (tmp_path / "faults").mkdir()
    env = ENV | {"faults": {"0/1001/1": "raise"}, "scratch": str(tmp_path / "faults"), "times": 2}
    first = evaluate(tmp_path / "run", env=env)
    assert first.n_errors == 1
    assert first.info["overall"]["n_episodes"] == 5

    second = evaluate(tmp_path / "run", env=env)

    assert second.n_errors == 0
    clean = evaluate(tmp_path / "clean")
    assert second.info["per_task"] == clean.info["per_task"]


def test_a_directory_of_another_evaluation_is_refused_unless_it_is_allowed(tmp_path):
    """The differences are listed; batch size and display are none."""
    evaluate(tmp_path / "run")
    with pytest.raises(FingerprintError, match=r"policy.n_action_steps: was 3, now 5"):
        evaluate(tmp_path / "run", FakePolicy(5))
    with pytest.raises(FingerprintError, match=r"seed: was 1000, now 7"):
        evaluate(tmp_path / "run", seed=7)

    assert evaluate(tmp_path / "run", max_attempts=5, display="plain").pc_success is not None
    assert evaluate(tmp_path / "run", FakePolicy(5), allow_mismatch=True, n_episodes=4).summary.overall.n_completed == 8


def test_a_run_that_measured_nothing_does_not_bind_its_directory(tmp_path):
    """After a mistake that ended it at once, the corrected command may use it."""

    class Fussy(FakePolicy):
        def check_contract(self, features):
            raise ContractError("not this environment")

    with pytest.raises(ContractError, match="not this environment"):
        evaluate(tmp_path / "run", Fussy(5))

    assert evaluate(tmp_path / "run").n_errors == 0


def test_the_contract_is_checked_before_the_first_episode(tmp_path):
    """The policy is not asked for anything; it is told what the environment gives and takes."""
    seen = []

    class Curious(FakePolicy):
        def check_contract(self, features):
            seen.append(features)
            raise ContractError("no")

        def predict(self, observations, memories):
            pytest.fail("asked before the contract was checked")

    with pytest.raises(ContractError):
        evaluate(tmp_path / "run", Curious())

    assert str(seen[0].action) == "float32[2]"
    assert set(seen[0].observation) == {"observation.image", "observation.state"}


def test_a_full_disk_ends_the_run_and_keeps_what_there_is(tmp_path, monkeypatch):
    """With the way to go on."""
    sync, n_synced = journal_writer._sync, count(1)

    def sync_the_first(descriptor):
        if next(n_synced) > 3:  # the header, and the arrays and the line of the first episode
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(journal_writer, "_sync", sync_the_first)
        with pytest.raises(ResourceError, match="No space left") as caught:
            evaluate(tmp_path / "run")

    assert "1 of 6 episodes" in caught.value.hint
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text())["complete"] is False
    assert evaluate(tmp_path / "run").info["complete"] is True


def test_a_policy_that_cannot_be_loaded_ends_the_run(tmp_path):
    """With what loading it raised; no simulator stays."""

    class Broken(FakePolicy):
        def open(self, n_threads):
            raise ConfigError("weights.safetensors is cut off")

    with pytest.raises(ConfigError, match="cut off"):
        evaluate(tmp_path / "run", Broken(), batch_size=2)


def test_it_runs_in_any_thread(tmp_path):
    """Signals belong to the main thread and are left alone elsewhere."""
    results = []
    thread = threading.Thread(target=lambda: results.append(evaluate(tmp_path / "run")))
    thread.start()
    thread.join(30)

    assert results[0].n_errors == 0


@pytest.mark.parametrize(
    ("policy", "fields", "message"),
    [
        (FakePolicy(), {"env": "nope"}, "Unknown benchmark 'nope'"),
        (FakePolicy(), {"n_episode": 3}, "Unknown field eval.n_episode"),
        (FakePolicy(), {"n_episodes": 0}, "eval.n_episodes is 0"),
        ({"type": "nope"}, {}, "Unknown policy type 'nope'"),
        ({}, {}, "Which policy?"),
        (3, {}, "3 is not callable"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_reported_before_anything_is_written(tmp_path, policy, fields, message):
    """As a ConfigError, in a sentence."""
    with pytest.raises(ConfigError, match=message):
        proctor.evaluate(policy, **{"env": ENV, "output_dir": tmp_path / "run", **fields})

    assert not (tmp_path / "run").exists()


def test_a_run_without_a_directory_gets_one_named_after_what_it_is(tmp_path, monkeypatch):
    """outputs/eval/<date>/<time>_<benchmark>_<policy>."""
    monkeypatch.chdir(tmp_path)

    result = proctor.evaluate({"type": "zero"}, ENV, n_episodes=1, batch_size=1)

    assert result.directory.parts[:2] == ("outputs", "eval")
    assert result.directory.name.endswith("_fake_zero")
    assert EvalConfig().num_shards == 1


def always(value):
    """Functions that have everything in common but what they close over."""
    return lambda observation: np.full(2, value)


def rewards(result):
    return [episode["sum_reward"] for episode in result.info["per_episode"]]


def test_evaluations_of_one_second_have_a_directory_and_results_each(tmp_path, monkeypatch):
    """Their policies are made by one function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "proctor.evaluation.prepared_run._choose_directory", lambda *_: Path("outputs/eval/10-00-00_fake_function")
    )
    results = [proctor.evaluate(always(value), ENV, n_episodes=1, batch_size=1) for value in (0.1, 0.9, 0.1, 0.9)]

    assert len({result.directory for result in results}) == 4
    assert rewards(results[0]) == rewards(results[2]) != rewards(results[1]) == rewards(results[3])


def test_one_directory_is_for_one_policy(tmp_path):
    """A training loop that gives one output_dir in every step is told so, and not given step 0's results."""
    weights = np.zeros(2)

    def policy(observation):
        return weights

    first = evaluate(tmp_path / "run", policy)
    assert rewards(evaluate(tmp_path / "run", policy)) == rewards(first)

    weights += 0.5
    with pytest.raises(FingerprintError, match="something that it depends on, is not what it was"):
        evaluate(tmp_path / "run", policy)
    with pytest.raises(FingerprintError):
        evaluate(tmp_path / "run", always(0.5))
    assert rewards(evaluate(tmp_path / "next", policy)) != rewards(first)


def test_a_policy_that_cannot_be_recognised_runs_and_is_not_gone_on_with(tmp_path):
    """The sentence says what it holds, and the way on."""
    numbers = iter(range(10**6))

    def policy(observation):
        return np.full(2, next(numbers) % 3 - 1.0)

    assert evaluate(tmp_path / "run", policy).info["complete"]
    with pytest.raises(FingerprintError, match=r"a builtins.list_iterator|a builtins.range_iterator in policy.numbers"):
        evaluate(tmp_path / "run", policy)


def test_a_start_that_fails_leaves_no_directory(tmp_path, monkeypatch):
    """Also where the user gave none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("proctor.evaluation.capacity.available_memory", lambda: 0)
    monkeypatch.setattr(FakeBenchmark, "worker_memory_mb", 100)
    with pytest.raises(ResourceError, match="MB are available"):
        proctor.evaluate({"type": "zero"}, ENV, n_episodes=1, batch_size=1)

    assert not list(tmp_path.rglob("*_fake_zero*"))


ENV_MODULE = """
import gymnasium, numpy
from env_parts import REWARD

class Env(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (2,))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(2, "f4"), {}
    def step(self, action):
        return numpy.zeros(2, "f4"), REWARD, False, False, {"is_success": False}

gymnasium.register("Edited-v0", Env, max_episode_steps=3)
"""


def test_an_environment_whose_code_was_edited_is_another(tmp_path, run_proctor):
    """Also in a module that the named one imports."""
    (tmp_path / "env_module.py").write_text(ENV_MODULE)
    (tmp_path / "env_parts.py").write_text("REWARD = 1.0")
    command = ["eval", "--policy.type=zero", "--env.type=gymnasium", "--env.module=env_module", "--env.task=Edited-v0"]
    command += ["--eval.batch_size=1", "--eval.video=none", "--output_dir=run"]
    assert run_proctor(tmp_path, *command, "--eval.n_episodes=1")[0] == 0
    (tmp_path / "env_parts.py").write_text("REWARD = 2.0")

    status, errors = run_proctor(tmp_path, *command, "--eval.n_episodes=2")

    assert status == 2
    assert "code.env.env_parts: the code has changed since" in errors


def test_a_function_is_gone_on_with_from_another_folder_once_its_code_is_found(tmp_path, run_proctor):
    """The way is told; a run directory from elsewhere must not choose the code that runs."""
    (tmp_path / "my_policy.py").write_text("import parts\ndef act(observation):\n    return parts.ACTION\n")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "parts.py").write_text("ACTION = [0.1, 0.1]")
    (tmp_path / "elsewhere").mkdir()
    library, elsewhere = str(tmp_path / "library"), tmp_path / "elsewhere"
    command = ["eval", "--policy.type=function", "--policy.function=my_policy:act", f"--env.type={FAKE_BENCHMARK}"]
    command += ["--eval.n_episodes=1", "--eval.batch_size=1", "--eval.video=none", "--output_dir=run"]
    assert run_proctor(tmp_path, *command, path=(library,))[0] == 0

    status, errors = run_proctor(elsewhere, "resume", "../run", "--num_shards=2", "--trust_remote_code=true", path=())

    assert status == 2
    assert f"The run's modules my_policy, parts are not found from here; they were in {tmp_path}, {library}." in errors
    command = f"PYTHONPATH={tmp_path}:{library}:$PYTHONPATH proctor resume {elsewhere / '../run'}"
    assert f"{command} --num_shards=2 --trust_remote_code=true\n" in errors
    assert run_proctor(elsewhere, "resume", "../run", path=(str(tmp_path), library))[0] == 0


@pytest.fixture
def run_proctor(tmp_path):
    """A function that runs a command in a folder, ``path`` first on its import path; gives status and errors."""

    def run(folder, *command, path=(str(tmp_path),)):
        paths = [*path, *filter(None, sys.path)]
        done = subprocess.run(
            [sys.executable, "-c", "from proctor.cli import main; raise SystemExit(main())", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "300"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    return run
