"""Demonstrations by Meta-World's scripted experts, through Proctor's own adapter, with the images of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np

from proctor.benchmarks.base import SimEnv
from proctor.benchmarks.metaworld.benchmark import MetaWorld, MetaWorldConfig
from proctor.rendering import choose_renderer
from proctor.types import Array, Task

CACHE = Path(__file__).parent / ".cache"
FIRST_SEED = 100_000
"""First seed of the demonstrations, far from the seeds of an evaluation, which count from 1000."""
MAX_STEPS = 200
LOOK_PROBABILITY = 1 / 8

Shrink = Callable[[Array], Array]
"""A function from images uint8 (n, 480, 480, 3) to images float32 (n, 3, height, width) in [0, 1]."""


@dataclass(frozen=True)
class Demonstrations:
    """An expert's observations at n steps, and its actions from each of these steps on.

    ``images`` float32 (n, 3, height, width), ``states`` float32 (n, 4), ``actions`` float32 (n, chunk_size, 4) and
    ``is_pad`` bool (n, chunk_size), true beyond the end of the episode.
    """

    images: Array
    states: Array
    actions: Array
    is_pad: Array

    @classmethod
    def joined(cls, parts: list[Demonstrations]) -> Demonstrations:
        return cls(*(np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True)))


@dataclass(frozen=True)
class Episode:
    """All actions of an expert, float32 (steps, 4), and its observations at some of the steps.

    ``looks`` are the indices of these steps; ``images`` is uint8 (looks, 480, 480, 3), ``states`` float32 (looks, 4).
    """

    actions: Array
    looks: list[int]
    images: Array
    states: Array


def collect(tasks: str, n_episodes: int, chunk_size: int, shrink: Shrink) -> Demonstrations:
    """Return ``n_episodes`` of each task (names with commas). Rendering takes minutes, so the results are cached."""
    benchmark = MetaWorld(MetaWorldConfig(task=tasks))
    choose_renderer(benchmark)  # for the processes that are started below
    return Demonstrations.joined([_collect(task, n_episodes, chunk_size, shrink) for task in benchmark.tasks()])


def _collect(task: Task, n_episodes: int, chunk_size: int, shrink: Shrink) -> Demonstrations:
    file = CACHE / f"{task.name}_{n_episodes}_{chunk_size}.npz"
    if not file.exists():
        started = perf_counter()
        seeds = range(FIRST_SEED, FIRST_SEED + n_episodes)
        with get_context("spawn").Pool(2, _build, (task,)) as pool:
            episodes = pool.imap(_demonstrate, seeds)
            demonstrations = Demonstrations.joined([_cut(episode, chunk_size, shrink) for episode in episodes])
        file.parent.mkdir(exist_ok=True)
        np.savez(file, **vars(demonstrations))
        print(f"{task.name}: {len(demonstrations.states)} looks in {perf_counter() - started:.0f} s", flush=True)
    with np.load(file) as arrays:
        return Demonstrations(**arrays)


def _cut(episode: Episode, chunk_size: int, shrink: Shrink) -> Demonstrations:
    """Convert an episode to one example per look."""
    steps = np.array(episode.looks)[:, None] + np.arange(chunk_size)
    is_pad = steps >= len(episode.actions)
    actions = np.where(is_pad[..., None], 0, episode.actions[np.minimum(steps, len(episode.actions) - 1)])
    return Demonstrations(shrink(episode.images), episode.states, actions.astype(np.float32), is_pad)


_env: SimEnv
"""The simulator of a worker process."""


def _build(task: Task) -> None:
    global _env  # noqa: PLW0603 - the only place where a pool's worker can keep something
    _env = MetaWorld(MetaWorldConfig(task=task.name)).make_env(task)


def _demonstrate(seed: int) -> Episode:
    """Run an episode in which noise pushes the hand off the expert's path, so that the policy learns to recover.

    The stored actions are the expert's, without the noise. The episode is observed at its start and at some later
    steps, because images are expensive and those of one episode are similar.
    """
    rng = np.random.default_rng(seed)
    noise, strength = np.zeros(4), rng.uniform(0, 0.6)
    seen, actions = [(0, _env.reset(seed, None, look=True))], []
    for step in range(1, MAX_STEPS + 1):
        actions.append(_env.expert_action())
        noise = 0.9 * noise + 0.44 * strength * rng.normal(size=4) * (1, 1, 1, 0)
        outcome = _env.step(np.clip(actions[-1] + noise, -1, 1), look=rng.random() < LOOK_PROBABILITY)
        if outcome.terminated or outcome.truncated:
            break
        if outcome.observation is not None:
            seen.append((step, outcome.observation))
    return Episode(
        actions=np.array(actions),
        looks=[step for step, _ in seen],
        images=np.stack([observation["observation.image"] for _, observation in seen]),
        states=np.stack([observation["observation.state"] for _, observation in seen]).astype(np.float32),
    )
