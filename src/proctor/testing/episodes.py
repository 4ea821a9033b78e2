"""Short episodes of a simulator and what is remembered of them, for comparing one run with another to the bit.

``python -m proctor.testing.episodes module:Benchmark CONFIGURATION SEED N_STEPS`` prints what an episode was.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proctor.benchmarks.base import Benchmark, SimEnv, digest_of
from proctor.child import python_command
from proctor.config import structure
from proctor.engine.plan import plan_tasks
from proctor.plugins import load_object
from proctor.types import Array

Look = Callable[[int], bool]


class Moment(NamedTuple):
    """What a reset or a step left behind. Digests stand for the state and for each array seen."""

    state: str
    reward: float
    success: bool | None
    over: bool
    seen: dict[str, str] | None

    @property
    def physics(self) -> tuple[str, float, bool | None, bool]:
        return self[:4]


def always(_: int) -> bool:
    """To look after every step."""
    return True


def never(_: int) -> bool:
    """To look at nothing."""
    return False


@contextmanager
def standing(benchmark: Benchmark) -> Iterator[SimEnv]:
    """The simulator of a benchmark's first task. Closed before another may be drawn in this process."""
    env = benchmark.make_env(plan_tasks(benchmark)[0])
    try:
        yield env
    finally:
        env.close()


def random_actions(env: SimEnv, seed: int, n_steps: int) -> Array:
    """Actions ``(n_steps, size)`` within the action space's bounds, or within ±1 where it has none."""
    space = env.action_space
    low, high = np.maximum(space.low, -1e6), np.minimum(space.high, 1e6)
    low, high = np.where(np.isinf(space.low), -1, low), np.where(np.isinf(space.high), 1, high)
    return np.random.default_rng(seed).uniform(low, high, (n_steps, *space.shape)).astype(space.dtype)


def episode(
    env: SimEnv, seed: int, n_steps: int, *, look: Look = never, init_state_id: int | None = None
) -> list[Moment]:
    """Reset and random actions, up to the episode's end; ``look(i)`` says whether to look after *i* steps."""
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
    """A digest of each array of an observation."""
    return None if seen is None else {key: digest_of([array]) for key, array in sorted(seen.items())}


class Elsewhere(NamedTuple):
    """An episode in a fresh process, and the memory in MB that this process had to itself; None where nobody says."""

    moments: list[Moment]
    memory_mb: int | None


def episode_elsewhere(address: str, configuration: str, seed: int, n_steps: int) -> Elsewhere:
    """An episode of a benchmark's first task in a fresh process, always looked at: nothing of this process is there.

    ``address`` (``module:Benchmark``) and ``configuration`` (JSON) are as a worker gets them.

    Raises:
        RuntimeError: that process fails; with its last words.
    """
    command = python_command(__spec__.name, address, configuration, str(seed), str(n_steps))
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"a fresh process cannot run an episode of {address}:\n{done.stderr}")
    moments, memory_mb = json.loads(done.stdout.splitlines()[-1])
    return Elsewhere([Moment(*moment) for moment in moments], memory_mb)


def private_memory_mb(smaps: Path = Path("/proc/self/smaps_rollup")) -> int | None:
    """What this process has of memory and shares with nobody, in MB; None where the system does not say."""
    try:
        lines = smaps.read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) >> 10


def main() -> None:
    """Print an episode as JSON, on the last line."""
    address, configuration, seed, n_steps = sys.argv[1:]
    kind: type[Benchmark] = load_object(address)
    benchmark = kind(structure(kind.config_class, json.loads(configuration), "env"))
    start = benchmark.init_state_id(plan_tasks(benchmark)[0], 0)
    with standing(benchmark) as env:
        moments = episode(env, int(seed), int(n_steps), look=always, init_state_id=start)
        memory = private_memory_mb()
    sys.stdout.write(f"\n{json.dumps([moments, memory])}\n")


if __name__ == "__main__":
    main()
