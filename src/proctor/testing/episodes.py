"""Short episodes of a simulator and what is recorded of them, for comparing one run with another to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proctor.benchmarks.base import Benchmark, SimEnv, digest_of
from proctor.child.calls import Call
from proctor.config import structure
from proctor.engine.plan import plan_tasks
from proctor.plugins import load_object
from proctor.types import Array

Look = Callable[[int], bool]


class Moment(NamedTuple):
    """The result of a reset or of a step. Digests stand for the state and for each array of the observation."""

    state: str
    reward: float
    success: bool | None
    over: bool
    seen: dict[str, str] | None


def always(_: int) -> bool:
    """Look after every step."""
    return True


def never(_: int) -> bool:
    """Look at nothing."""
    return False


@contextmanager
def opened(benchmark: Benchmark) -> Iterator[SimEnv]:
    """Build the simulator of a benchmark's first task, and close it before another one may draw in this process."""
    env = benchmark.make_env(plan_tasks(benchmark)[0])
    try:
        yield env
    finally:
        env.close()


def random_actions(env: SimEnv, seed: int, n_steps: int) -> Array:
    """Draw actions ``(n_steps, size)`` within the action space's bounds, or within ±1 if it has no bounds."""
    space = env.action_space
    low, high = np.maximum(space.low, -1e6), np.minimum(space.high, 1e6)
    low, high = np.where(np.isinf(space.low), -1, low), np.where(np.isinf(space.high), 1, high)
    return np.random.default_rng(seed).uniform(low, high, (n_steps, *space.shape)).astype(space.dtype)


def episode(
    env: SimEnv, seed: int, n_steps: int, *, look: Look = never, init_state_id: int | None = None
) -> list[Moment]:
    """Reset, then take random actions until the episode ends; look after *i* steps if ``look(i)`` is True."""
    seen = env.reset(seed, init_state_id, look=look(0))
    moments = [Moment(env.state_hash(), 0.0, False, False, digests(seen))]
    for i, action in enumerate(random_actions(env, seed, n_steps), start=1):
        step = env.step(action, look=look(i))
        over = step.terminated or step.truncated
        moments.append(Moment(env.state_hash(), step.reward, step.success, over, digests(step.observation)))
        if over:
            break
    return moments


def digests(seen: Mapping[str, Array] | None) -> dict[str, str] | None:
    """Give a digest of each array of an observation."""
    return None if seen is None else {key: digest_of([array]) for key, array in sorted(seen.items())}


class FreshProcessEpisode(NamedTuple):
    """An episode in a fresh process, and the memory in MB that this process had to itself; None if the system does not
    report it.
    """

    moments: list[Moment]
    memory_mb: int | None


def episode_in_fresh_process(address: str, configuration: str, seed: int, n_steps: int) -> FreshProcessEpisode:
    """Run an episode of a benchmark's first task in a process that has done nothing else, looking after every step.

    ``address`` (``module:Benchmark``) and ``configuration`` (JSON) are as a worker gets them.

    Raises:
        RuntimeError: that process fails; the message holds the end of what it printed.
    """
    return Call(f"{__name__}:run_episode", address, configuration, seed, n_steps, result=FreshProcessEpisode).result()


def run_episode(address: str, configuration: str, seed: int, n_steps: int) -> FreshProcessEpisode:
    """Run an episode in this process; :func:`episode_in_fresh_process` calls this in another one."""
    kind: type[Benchmark] = load_object(address)
    benchmark = kind(structure(kind.config_class, json.loads(configuration), "env"))
    start = benchmark.init_state_id(plan_tasks(benchmark)[0], 0)
    with opened(benchmark) as env:
        moments = episode(env, seed, n_steps, look=always, init_state_id=start)
        return FreshProcessEpisode(moments, private_memory_mb())


def private_memory_mb(smaps: Path = Path("/proc/self/smaps_rollup")) -> int | None:
    """Give the memory in MB that this process shares with no other; None if the system does not report it."""
    try:
        lines = smaps.read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) >> 10
