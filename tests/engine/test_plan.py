"""The plan: which episodes there are, and how they are dealt to shards and workers."""

from __future__ import annotations

from itertools import chain

import pytest

from proctor.config import EvalConfig
from proctor.engine.plan import choose_batch_size, plan_episodes, plan_tasks, shard_episodes
from proctor.errors import ConfigError
from proctor.testing.fakes import FakeBenchmark, FakeConfig
from proctor.types import EpisodeSpec


def benchmark(**fields) -> FakeBenchmark:
    return FakeBenchmark(FakeConfig(type="fake", **fields))


def test_a_plan_that_no_memory_holds_is_refused():
    """At once, by its number."""
    planned = benchmark()
    with pytest.raises(
        ConfigError, match=r"^eval\.n_episodes is 1000000000; the plan .* has at most 10000000 episodes"
    ):
        plan_episodes(planned, plan_tasks(planned), 10**9, 1000)


def test_episodes_are_dealt_round_robin():
    """The specification's own example."""
    assert shard_episodes(100, 2, 5) == list(range(2, 100, 5))
    assert shard_episodes(100, 2, 5)[:3] == [2, 7, 12]
    assert shard_episodes(100, 2, 5)[-1] == 97


@pytest.mark.parametrize(("n_episodes", "num_shards"), [(103, 5), (100, 1), (3, 8), (0, 4), (7, 7)])
def test_shards_have_neither_gap_nor_overlap(n_episodes: int, num_shards: int):
    """Together they are the plan; their sizes differ by one at most."""
    shards = [shard_episodes(n_episodes, shard_id, num_shards) for shard_id in range(num_shards)]

    assert sorted(chain(*shards)) == list(range(n_episodes))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("requested", "n_planned", "cores", "expected"),
    [
        (0, 100, 16, 11),
        (0, 100, 10, 7),
        (0, 100, 20, 14),
        (0, 100, 3, 2),
        (0, 100, 2, 2),
        (0, 100, 1, 1),
        (0, 1000, 256, 64),
        (0, 5, 16, 5),
        (20, 100, 2, 20),
        (20, 8, 64, 8),
        (200, 1000, 1, 200),
    ],
)
def test_the_batch_size_follows_the_cores_and_the_plan(requested: int, n_planned: int, cores: int, expected: int):
    """0 chooses, at least one, two where there are two cores; what is asked for is kept."""
    assert choose_batch_size(EvalConfig(batch_size=requested), n_planned, cores) == expected


def test_every_number_of_cores_gives_the_floor_of_seven_tenths():
    """No float comes out a hair below a whole number."""
    for cores in range(3, 92):
        assert choose_batch_size(EvalConfig(), 10_000, cores) == min(cores * 7 // 10, 64)


def test_of_a_policy_that_many_episodes_share_there_are_as_many_more():
    """Unless the user wants other passes, or says how many."""
    assert choose_batch_size(EvalConfig(), 100, 2, episodes_per_pass=4) == 8
    assert choose_batch_size(EvalConfig(), 5, 2, episodes_per_pass=4) == 5
    assert choose_batch_size(EvalConfig(), 100, 64, episodes_per_pass=4) == 64
    assert choose_batch_size(EvalConfig(inference_batch_size=1), 100, 2, episodes_per_pass=4) == 2
    assert choose_batch_size(EvalConfig(inference_batch_size=16), 100, 2, episodes_per_pass=4) == 8
    assert choose_batch_size(EvalConfig(batch_size=3), 100, 2, episodes_per_pass=4) == 3


def test_every_task_has_its_episodes_and_episode_i_has_seed_plus_i():
    """In the order of suite, task, episode; the same seeds for every task."""
    fake = benchmark(n_tasks=2)

    assert plan_episodes(fake, fake.tasks(), 3, 1000) == [
        EpisodeSpec("fake", task_id, index, 1000 + index) for task_id in (0, 1) for index in (0, 1, 2)
    ]


def test_initial_states_are_the_benchmarks():
    """They depend on task and episode alone."""
    fake = benchmark(n_tasks=1)
    fake.init_state_id = lambda task, index: 7 - index

    assert [spec.init_state_id for spec in plan_episodes(fake, fake.tasks(), 3, 0)] == [7, 6, 5]


def test_an_episode_may_be_made_shorter_but_not_longer():
    """``env.episode_length`` beyond the benchmark's own limit is refused."""
    assert [task.max_episode_steps for task in plan_tasks(benchmark(max_steps=20, episode_length=7))] == [7, 7]
    assert [task.max_episode_steps for task in plan_tasks(benchmark(max_steps=20))] == [20, 20]

    with pytest.raises(ConfigError, match=r"21.*task-0.*20"):
        plan_tasks(benchmark(max_steps=20, episode_length=21))
