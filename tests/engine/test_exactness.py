"""The same episodes, whatever runs beside them: against a loop that anybody can read, and against each other."""

from __future__ import annotations

import time
from functools import reduce
from operator import add

import numpy as np
import pytest
from fake_runs import canonical, run_fake

from proctor.policies.base import EpisodeMemory, Policy
from proctor.streams import RandomStream
from proctor.testing.fakes import FakeBenchmark, FakeConfig, FakePolicy
from proctor.types import EpisodeSpec, Observation

MAX_STEPS = 12


def reference_episode(policy: Policy, task_id: int, index: int) -> dict:
    """One environment, one episode, a look at every step: what all the machinery must amount to."""
    benchmark = FakeBenchmark(FakeConfig(type="fake", max_steps=MAX_STEPS))
    task = benchmark.tasks()[task_id]
    env = benchmark.make_env(task)
    spec = EpisodeSpec("fake", task_id, index, 1000 + index)
    memory = EpisodeMemory(RandomStream(spec))
    frames, rewards, predicted_at, success = [env.reset(spec.seed, None, look=True)], [], [], False
    over = False
    while not over:
        now = len(rewards)
        predicted_at.append(now)
        seen = [frames[max(0, now + offset)] for offset in policy.look_offsets]
        history = {key: np.stack([frame[key] for frame in seen]) for key in frames[0]}
        with memory.stream.swapped_in():
            (chunk,) = policy.predict([Observation(history, task.instruction)], [memory])
        for action in chunk[: policy.n_action_steps]:
            step = env.step(action, look=True)
            rewards.append(step.reward)
            frames.append(step.observation)
            success = success or step.success
            over = step.terminated or step.truncated or len(rewards) == MAX_STEPS
            if over:
                break
    needed = {max(0, now + offset) for now in predicted_at for offset in policy.look_offsets}
    return {
        "success": success,
        "sum_reward": reduce(add, rewards),  # sum() is compensated, from Python 3.12 on
        "max_reward": max(rewards),
        "length": len(rewards),
        "final_state_hash": env.state_hash(),
        "needed_looks": len(needed),
    }


HISTORIES = {"(0)": (0,), "(-1,0)": (-1, 0), "(-4..0)": tuple(range(-4, 1)), "(-3,0)": (-3, 0), "(-5,-2)": (-5, -2)}


@pytest.mark.parametrize("offsets", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize("n_action_steps", [1, 3, 7])
@pytest.mark.parametrize("noise", [0.0, 0.3], ids=["", "noise"])
def test_an_evaluation_is_the_simple_loop_over_its_episodes(tmp_path, offsets, n_action_steps, noise):
    """Rewards, lengths and final states to the last bit, for every history and chunk; no look is made in vain."""
    policy = FakePolicy(n_action_steps, offsets, noise)

    result = run_fake(tmp_path / "run", policy, batch_size=1)

    assert len(result.info["per_episode"]) == 6
    for episode in result.info["per_episode"]:
        expected = reference_episode(policy, episode["task_id"], episode["episode_index"])
        needed = expected.pop("needed_looks")
        assert {name: episode[name] for name in expected} == expected
        contiguous = list(offsets) == list(range(offsets[0], 1))
        if contiguous and (offsets == (0,) or episode["length"] == MAX_STEPS):
            assert episode["n_looks"] == needed
        assert episode["n_looks"] >= needed


def test_the_reference_has_successes_failures_and_early_ends():
    """Else agreeing with it would say little."""
    episodes = [reference_episode(FakePolicy(7), task_id, index) for task_id in (0, 1) for index in range(3)]

    assert {episode["success"] for episode in episodes} == {True, False}
    assert len({episode["length"] for episode in episodes}) > 2


@pytest.fixture(scope="module")
def noisy_run(tmp_path_factory):
    """In this process, one at a time, with a policy that draws from the global generators and sees two frames."""
    directory = tmp_path_factory.mktemp("noisy") / "run"
    return run_fake(directory, FakePolicy(3, (-1, 0), 0.3), batch_size=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_size": 2},
        {"batch_size": 3},
        {"batch_size": 6},
        {"batch_size": 8, "use_async_envs": False},
        {"batch_size": 3, "env": {"max_parallel_tasks": 1}},
    ],
    ids=str,
)
def test_results_do_not_depend_on_how_many_simulators_run(tmp_path, noisy_run, fields):
    """Nor on which process they run in, in which order, and on who shares the policy."""
    result = run_fake(tmp_path / "run", FakePolicy(3, (-1, 0), 0.3), **fields)

    assert canonical(result.info) == canonical(noisy_run.info)


def test_shards_together_are_the_serial_run(tmp_path, noisy_run):
    """Episode for episode; a shard's own file holds its own episodes only."""
    episodes = []
    for shard_id in range(3):
        result = run_fake(
            tmp_path / f"shard{shard_id}", FakePolicy(3, (-1, 0), 0.3), batch_size=1, shard_id=shard_id, num_shards=3
        )
        assert (tmp_path / f"shard{shard_id}" / f"shard_{shard_id}_of_3.json").exists()
        episodes += result.info["per_episode"]

    def plain(found):
        return sorted(
            ({name: value for name, value in episode.items() if name != "timings"} for episode in found),
            key=lambda episode: (episode["task_id"], episode["episode_index"]),
        )

    assert plain(episodes) == plain(noisy_run.info["per_episode"])


def test_more_episodes_leave_the_first_ones_as_they_were(tmp_path, noisy_run):
    """``n_episodes`` may grow: what is there is kept, the rest is run."""
    directory, policy = tmp_path / "run", FakePolicy(3, (-1, 0), 0.3)
    run_fake(directory, policy, batch_size=1, n_episodes=1)

    result = run_fake(directory, policy, batch_size=1, n_episodes=3)

    assert canonical(result.info) == canonical(noisy_run.info)


def test_another_seed_gives_other_episodes(tmp_path, noisy_run):
    """The comparisons above can fail."""
    result = run_fake(tmp_path / "run", FakePolicy(3, (-1, 0), 0.3), batch_size=1, seed=7)

    assert canonical(result.info) != canonical(noisy_run.info)


def test_a_tail_that_nobody_sees_is_not_drawn(tmp_path):
    """The last step of an episode at its limit is not looked at: 12 steps in chunks of 7 are two looks."""
    result = run_fake(tmp_path / "run", FakePolicy(7), batch_size=1)

    at_limit = [episode for episode in result.info["per_episode"] if episode["length"] == MAX_STEPS]
    assert at_limit
    assert {episode["n_looks"] for episode in at_limit} == {2}


class OnTwoDevices(FakePolicy):
    """As if it ran on two devices: each copy counts what it is asked and remembers whose memory it has seen."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__(noise=noise)
        self.copies = [FakePolicy(noise=noise), FakePolicy(noise=noise)]
        for device, copy in enumerate(self.copies):
            copy.predict = self.marking(device, copy.predict)

    @property
    def per_device(self):
        return self.copies

    @staticmethod
    def marking(device, predict):
        def marked(observations, memories):
            for memory in memories:
                assert memory.state.setdefault("device", device) == device
            marked.n_asked += len(observations)
            return predict(observations, memories)

        marked.n_asked = 0
        return marked


def test_several_devices_give_the_results_of_one(tmp_path):
    """Both are asked, and an episode stays on the one where it began."""
    policy, resets = OnTwoDevices(noise=0.3), tmp_path / "two-faults"

    def open_later(_):
        until = time.monotonic() + 60
        while len(list(resets.iterdir())) < 2 and time.monotonic() < until:  # until both workers have an episode
            time.sleep(0.01)
        return policy.copies[0]

    policy.copies[0].open = open_later
    naps = dict.fromkeys(["0/1000/0", "0/1001/0", "1/1000/0"], "nap")

    on_two = run_fake(tmp_path / "two", policy, faults=naps, batch_size=2)
    on_one = run_fake(tmp_path / "one", FakePolicy(noise=0.3), batch_size=2)

    assert canonical(on_two.info) == canonical(on_one.info)
    assert all(copy.predict.n_asked for copy in policy.copies)
