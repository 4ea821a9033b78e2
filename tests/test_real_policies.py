"""Every kind of policy in whole evaluations on real simulators: LeRobot's own actions, the same ones however run."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import proctor
from checkpoint_makers.checkpoints import METAWORLD, PUSHT
from proctor.compat import make_policy
from proctor.engine.inference import Inference, InferenceRequest
from proctor.engine.plan import plan_tasks
from proctor.evaluation.components import make_benchmark
from proctor.policies.base import EpisodeMemory, Policy
from proctor.rendering import choose_renderer
from proctor.results.eval_info import canonical_info
from proctor.results.journal import read_actions
from proctor.results.run_dir import RunDirectory
from proctor.streams import RandomStream
from proctor.types import EpisodeSpec

sys.path.append(str(Path(__file__).parent / "policies"))
from lerobot_samples import ALONE, KINDS, RTC, Checkpoints, LeRobotLoop, frames, observation_at, real_time_actions

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")

ON_METAWORLD = {"act", "smolvla"}
"""Those that are evaluated on two tasks at once; the others push a T."""
VARIANTS = {"vqbet-sequential", "dit-flow", "pi0", "pi0-relative", "pi0_fast", "evo1", "groot", "vla_jepa", "wall_x"}
VARIANTS |= {"molmoact2"}
"""Those that differ little from another, in how an evaluation treats them."""


class Runs:
    """Evaluations of policies of every kind; those in one process are kept to compare others with."""

    def __init__(self, folder):
        self.folder, self._kept, self._n = folder, {}, 0
        robots = {"pusht": PUSHT, "metaworld": METAWORLD}
        self._checkpoints = {name: Checkpoints(folder / name, robot) for name, robot in robots.items()}

    def close(self):
        for made in self._checkpoints.values():
            made.__exit__()

    def checkpoint(self, name):
        return self._checkpoints[self.env(name)["type"]][name]

    def env(self, name):
        if name in ON_METAWORLD:
            return {"type": "metaworld", "task": "reach-v3,push-v3", "episode_length": 8}
        return {"type": "pusht", "episode_length": 20}

    def policy(self, name, **fields):
        return make_policy({"path": str(self.checkpoint(name)), "device": "cpu", **fields})

    def run(self, name, policy=None, n_episodes=2, **how):
        self._n += 1
        directory = self.folder / f"run{self._n}"
        policy = policy or self.policy(name)
        run = proctor.evaluate(policy, self.env(name), n_episodes=n_episodes, output_dir=directory, **how)
        assert run.n_errors == 0
        return run

    def reference(self, name, **how):
        key = name, *how.values()
        if key not in self._kept:
            self._kept[key] = self.run(name, batch_size=1, **how)
        return self._kept[key]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = Runs(tmp_path_factory.mktemp("policies"))
    yield made
    made.close()


def episodes(run):
    """Rewards, lengths, looks and final states."""
    return canonical_info(run.info)["per_episode"]


@pytest.mark.parametrize("name", sorted(KINDS.keys() - VARIANTS))
def test_an_episode_has_the_actions_of_lerobots_own_loop(name, runs):
    """Closed loop, on what the simulator shows, from the same random states."""
    run = runs.reference(name, inference_batch_size=1)
    ours = RunDirectory(run.directory).read_journals()[0].episodes[0]
    spec = ours.result.spec
    benchmark, _ = make_benchmark(runs.env(name))
    choose_renderer(benchmark)
    task = next(task for task in plan_tasks(benchmark) if task.key == spec.task)
    loop, actions = LeRobotLoop(runs.checkpoint(name), RandomStream(spec)), []

    env = benchmark.make_env(task)
    seen = env.reset(spec.seed, spec.init_state_id, look=True)
    for _ in range(task.max_episode_steps):
        actions.append(loop.act(seen, task.instruction))
        seen = env.step(actions[-1], look=True).observation
    env.close()

    assert np.ptp(actions, axis=0).min() > 0
    np.testing.assert_array_equal(read_actions(ours), actions)


class Killing(Policy):
    """A policy in whose third pass one of the simulators is killed."""

    def __init__(self, policy):
        self.__dict__.update(vars(policy))
        self.policy, self.passes = policy, count(1)

    def predict(self, observations, memories):
        if next(self.passes) == 3:
            os.kill(some_worker(), signal.SIGKILL)
        return self.policy.predict(observations, memories)

    def check_contract(self, features):
        self.policy.check_contract(features)

    def fingerprint(self):
        return self.policy.fingerprint()


def some_worker():
    """A child of this process that simulates."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            parent = next(line for line in status.read_text().splitlines() if line.startswith("PPid"))
            if int(parent.split()[1]) == os.getpid() and b"proctor" in (status.parent / "cmdline").read_bytes():
                return int(status.parent.name)
    raise AssertionError("no worker is running")


@pytest.mark.parametrize(
    ("name", "inference_batch_size"),
    [(name, 1) for name in sorted(KINDS.keys() - VARIANTS)]
    + [(name, 4) for name in ("ddpm", "diffusion", "ensemble", "pi05", "smolvla", "vqbet")],
)
def test_results_do_not_depend_on_workers_or_on_one_being_killed(name, inference_batch_size, runs):
    """To the bit: one simulator in this process, or three of which one is killed; one observation a pass, or four."""
    reference = episodes(runs.reference(name, inference_batch_size=inference_batch_size))
    killing = Killing(runs.policy(name))
    run = runs.run(name, killing, batch_size=3, inference_batch_size=inference_batch_size)

    assert next(killing.passes) > 4
    assert len({episode["final_state_hash"] for episode in reference}) == len(reference)
    assert episodes(run) == reference


@pytest.mark.parametrize("delay", [{}, {"inference_delay_steps": 2}, {"inference_delay_ms": 500}])
@pytest.mark.parametrize("name", ["pi05", "evo1"])
def test_real_time_chunking_has_the_actions_of_lerobots_own_queue(name, delay, runs):
    """Closed loop, on what the simulator shows; 500 ms are 5 steps of PushT. Two simulators, both episodes."""
    run = runs.run(name, runs.policy(name, rtc_config=RTC), batch_size=2, inference_batch_size=1, **delay)
    benchmark, _ = make_benchmark(runs.env(name))
    (task,) = plan_tasks(benchmark)
    steps = delay.get("inference_delay_steps", 5 if delay else 0)

    env = benchmark.make_env(task)
    for episode in RunDirectory(run.directory).read_journals()[0].episodes:
        spec, actions = episode.result.spec, read_actions(episode)
        seen = [env.reset(spec.seed, spec.init_state_id, look=True)]
        seen += [env.step(action, look=True).observation for action in actions[:-1]]
        stream = RandomStream(spec)
        expected = real_time_actions(runs.checkpoint(name), seen, steps, stream=stream, instruction=task.instruction)
        np.testing.assert_array_equal(actions, expected)
    env.close()


@pytest.mark.parametrize("inference_batch_size", [1, 4])
def test_real_time_chunking_does_not_depend_on_workers_or_on_one_being_killed(inference_batch_size, runs):
    """To the bit: episodes in different phases share a pass, and one begins again."""
    how = {"inference_batch_size": inference_batch_size, "inference_delay_steps": 2}
    policy = runs.policy("smolvla", rtc_config=RTC)
    reference = episodes(runs.run("smolvla", policy, batch_size=1, **how))
    killing = Killing(policy)

    assert episodes(runs.run("smolvla", killing, batch_size=3, **how)) == reference
    assert next(killing.passes) > 4
    assert episodes(runs.run("smolvla", batch_size=1, **how)) != reference


@pytest.mark.parametrize("name", ["diffusion", "vqbet"])
def test_an_episode_gets_the_same_chunk_beside_any_others(name, runs):
    """To the bit: asked alone, together with others, in another order."""
    inference = Inference(runs.policy(name), n_threads=1, batch_size=4)
    until = time.monotonic() + 60
    while not inference.has_free_slot():
        assert time.monotonic() < until
    policy = inference.policy

    def chunks(*indices):
        specs = [EpisodeSpec("pusht", 0, index, index) for index in indices]
        requests = [
            InferenceRequest(
                spec.episode_index, observation_at(policy, frames(spec.seed), 0), EpisodeMemory(RandomStream(spec))
            )
            for spec in specs
        ]
        inference.submit(requests)
        results = []
        while len(results) < len(requests):
            select.select([inference.wake_descriptor], [], [], 60)
            results += [result for results_of_a_pass in inference.results() for result in results_of_a_pass]
        return {result.request.worker_id: result.chunk.tobytes() for result in results}

    together = chunks(0, 1, 2, 3)
    alone = chunks(0) | chunks(1) | chunks(2) | chunks(3)
    shuffled = chunks(3, 6, 0) | chunks(2, 5, 7) | chunks(8, 1)
    inference.close()

    assert len(set(together.values())) == 4
    assert alone == together
    assert together.items() <= shuffled.items()


@pytest.mark.prove
@pytest.mark.parametrize("inference_batch_size", [1, 4])
@pytest.mark.parametrize("name", KINDS)
def test_results_do_not_depend_on_the_number_of_workers(name, inference_batch_size, runs):
    """To the bit, for up to sixteen, more than there are episodes of a task; more episodes, tasks mixed or not."""
    if name in ALONE and inference_batch_size > 1:
        pytest.skip("one observation at a time, whatever is asked for")
    how = {"n_episodes": 6, "inference_batch_size": inference_batch_size}
    policy = runs.policy(name)
    reference = episodes(runs.run(name, policy, batch_size=1, **how))

    for batch_size in (2, 3, 8, 16):
        assert episodes(runs.run(name, policy, batch_size=batch_size, **how)) == reference, batch_size
