"""The plan: the list of episodes, which is made before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from proctor.benchmarks.base import Benchmark
from proctor.benchmarks.elsewhere import listed_tasks
from proctor.config import EvalConfig
from proctor.errors import ConfigError
from proctor.types import EpisodeSpec, Task

MAX_AUTO_BATCH_SIZE = 64
_MOST_EPISODES = 10_000_000
"""A longer plan would fill the memory before anything runs."""
CORES_PER_ENV = 1 / 0.7


def plan_tasks(benchmark: Benchmark) -> list[Task]:
    """The benchmark's tasks, with ``env.episode_length`` applied.

    Raises:
        ConfigError: a task is unknown, or the episode length is beyond the benchmark's own.
    """
    tasks = listed_tasks(benchmark)
    wanted = benchmark.config.episode_length
    if wanted is None:
        return tasks
    for task in tasks:
        if wanted > task.max_episode_steps:
            raise ConfigError(
                f"env.episode_length is {wanted}, but an episode of {task.name} has at most "
                f"{task.max_episode_steps} steps."
            )
    return [dataclasses.replace(task, max_episode_steps=wanted) for task in tasks]


def plan_episodes(benchmark: Benchmark, tasks: Sequence[Task], n_episodes: int, seed: int) -> list[EpisodeSpec]:
    """Every episode of every task, task by task in the order of ``tasks``. Episode *i* of a task has seed ``seed + i``.

    Raises:
        ConfigError: there would be more than ten million episodes.
    """
    if n_episodes * len(tasks) > _MOST_EPISODES:
        raise ConfigError(
            f"eval.n_episodes is {n_episodes}; the plan (tasks: {len(tasks)}) has at most {_MOST_EPISODES} episodes."
        )
    return [
        EpisodeSpec(task.suite, task.task_id, index, seed + index, benchmark.init_state_id(task, index))
        for task in tasks
        for index in range(n_episodes)
    ]


def shard_episodes(n_episodes: int, shard_id: int, num_shards: int) -> list[int]:
    """The positions in the plan of the episodes that a shard runs: every ``num_shards``-th one.

    Examples:
        >>> shard_episodes(100, 2, 5)[:3]
        [2, 7, 12]

    Raises:
        ConfigError: there is no such shard.
    """
    if not 0 <= shard_id < num_shards:
        raise ConfigError(f"shard_id is {shard_id} and num_shards {num_shards}; shards are numbered from 0.")
    return list(range(shard_id, n_episodes, num_shards))


def choose_batch_size(config: EvalConfig, n_planned: int, usable_cores: int, episodes_per_pass: int = 1) -> int:
    """The number of environments that step in parallel.

    A requested size is kept, up to the number of planned episodes. Otherwise it is 0.7 per usable core, at least one,
    and two if there are two cores, so that drawing and inference overlap (LeRobot would take one). If
    ``episodes_per_pass`` episodes had better share a forward pass of the policy, it is that many times as many, because
    most of them wait for the policy.
    """
    if config.batch_size:
        return min(config.batch_size, n_planned)
    sharing = min(episodes_per_pass, config.inference_batch_size or episodes_per_pass)
    auto = sharing * max(int(usable_cores / CORES_PER_ENV), min(2, usable_cores))
    return max(1, min(auto, n_planned, MAX_AUTO_BATCH_SIZE))


def row_of(spec: EpisodeSpec, batch_size: int) -> int:
    """The row that an episode has in every forward pass if rows matter; it depends on nothing but the episode."""
    return (spec.episode_index + spec.task_id) % batch_size
