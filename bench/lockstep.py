"""Evaluation in lockstep, as it is usually written: ``gymnasium.vector.AsyncVectorEnv``, one policy call for all.

Simulators and policy are Proctor's own adapters, so only the loop differs: every step waits for the slowest
environment, every step renders every camera, and no environment simulates while the policy computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from proctor.benchmarks.base import Benchmark
from proctor.compat.vector_env import SimGymEnv
from proctor.engine.plan import plan_tasks
from proctor.evaluation.components import make_benchmark
from proctor.policies.base import EpisodeMemory, Policy
from proctor.streams import RandomStream
from proctor.types import Array, EpisodeSpec, Observation, Task


@dataclass(frozen=True)
class Span:
    """A timed activity, on the monotonic clock: ``build``, ``reset``, ``step``, ``look`` or ``inference``."""

    what: str
    began: float
    ended: float


class TimedEnv(SimGymEnv):
    """An environment that records when it worked."""

    def __init__(self, benchmark: Benchmark, task: Task) -> None:
        began = monotonic()
        super().__init__(benchmark, task)
        self._env.prepare_to_look()
        self.spans = [Span("build", began, monotonic())]

    def reset(self, **options: Any) -> Any:
        began, looked = monotonic(), self._env.look_seconds
        seen = super().reset(**options)
        self._write_down("reset", began, looked)
        return seen

    def step(self, action: Array) -> Any:
        began, looked = monotonic(), self._env.look_seconds
        seen = super().step(action)
        self._write_down("step", began, looked)
        return seen

    def _write_down(self, what: str, began: float, looked: float) -> None:
        ended = monotonic()
        until = ended - (self._env.look_seconds - looked)
        self.spans += [Span(what, began, until), Span("look", until, ended)]


@dataclass
class Lockstep:
    """A finished run: its begin and end, and the activities of the environments and the policy."""

    began: float
    ended: float = 0.0
    sum_rewards: list[float] = field(default_factory=list)
    environments: list[list[Span]] = field(default_factory=list)
    policy: list[Span] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def evaluate_in_lockstep(policy: Policy, env: Mapping[str, Any], n_episodes: int, n_envs: int) -> Lockstep:
    """Run ``n_episodes`` of the benchmark's one task, ``n_envs`` at a time, to the step limit or the end of each.

    The time is from the first reset, after the simulators are built. A batch of episodes ends with its longest episode.
    """
    benchmark, _ = make_benchmark(env)
    (task,) = plan_tasks(benchmark)
    makers = [partial(TimedEnv, benchmark, task) for _ in range(n_envs)]
    with closing(AsyncVectorEnv(makers, context="spawn", autoreset_mode=AutoresetMode.DISABLED)) as envs:
        run = Lockstep(began=monotonic())
        for first in range(0, n_episodes, n_envs):
            wanted = min(n_envs, n_episodes - first)
            seeds = [1000 + first + index for index in range(n_envs)]
            run.sum_rewards += _run_batch(policy, envs, task, seeds, run.policy)[:wanted]
        run.ended = monotonic()
        run.environments = [list(spans) for spans in envs.get_attr("spans")]
    return run


def _run_batch(policy: Policy, envs: AsyncVectorEnv, task: Task, seeds: list[int], passes: list[Span]) -> list[float]:
    memories = [EpisodeMemory(RandomStream(EpisodeSpec(task.suite, task.task_id, seed - 1000, seed))) for seed in seeds]
    seen, _ = envs.reset(seed=seeds)
    rewards, over = np.zeros(len(seeds)), np.zeros(len(seeds), bool)
    chunk: list[Array] = []
    for _ in range(task.max_episode_steps):
        if not chunk:
            began = monotonic()
            observations = [
                Observation({key: array[row, np.newaxis] for key, array in seen.items()}, task.instruction)
                for row in range(len(seeds))
            ]
            chunk = list(np.stack(policy.predict(observations, memories), axis=1)[: policy.n_action_steps])
            passes.append(Span("inference", began, monotonic()))
        seen, reward, terminated, truncated, _ = envs.step(chunk.pop(0))
        rewards += np.where(over, 0.0, reward)
        over |= terminated | truncated
        if over.all():
            break
    return [float(reward) for reward in rewards]
