"""Short episodes of the real simulators and what is remembered of them, for comparing one run with another.

Run as a script it prints what an episode was: ``python benchmark_episodes.py SAMPLE SEED N_STEPS``.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from proctor.benchmarks.aloha import Aloha, AlohaConfig
from proctor.benchmarks.gymnasium import Gymnasium, GymnasiumConfig
from proctor.benchmarks.libero import Libero, LiberoConfig
from proctor.benchmarks.metaworld import MetaWorld, MetaWorldConfig
from proctor.benchmarks.pusht import PushT, PushTConfig
from proctor.engine.plan import plan_tasks

SAMPLES = {
    "pusht": PushT(PushTConfig()),
    "pusht-corners": PushT(PushTConfig(obs_type="environment_state_agent_pos")),
    "push-v3": MetaWorld(MetaWorldConfig(task="push-v3")),
    "drawer-open-v3": MetaWorld(MetaWorldConfig(task="drawer-open-v3")),
    "AlohaInsertion-v0": Aloha(AlohaConfig(task="AlohaInsertion-v0")),
    "libero_goal": Libero(LiberoConfig(task="libero_goal")),
    "CartPole-v1": Gymnasium(GymnasiumConfig(task="CartPole-v1")),
    "Pendulum-v1": Gymnasium(GymnasiumConfig(task="Pendulum-v1")),
}
"""A benchmark of one task each."""


class Moment(NamedTuple):
    """What a reset or a step left behind. Digests stand for the state and for each array seen."""

    state: str
    reward: float
    success: bool
    over: bool
    seen: dict[str, str] | None

    @property
    def physics(self):
        return self[:4]


@contextmanager
def standing(benchmark):
    """The simulator of a benchmark's first task. Closed before another may be drawn in this process."""
    env = benchmark.make_env(plan_tasks(benchmark)[0])
    try:
        yield env
    finally:
        env.close()


def random_actions(env, seed, n_steps):
    low, high = env.action_space.low, env.action_space.high
    return np.random.default_rng(seed).uniform(low, high, (n_steps, *low.shape)).astype(env.action_space.dtype)


def episode(env, seed, n_steps, *, look=lambda _: False):
    """Reset and random actions, up to the episode's end; ``look(i)`` says whether to look after *i* steps."""
    seen = env.reset(seed, None, look=look(0))
    moments = [Moment(env.state_hash(), 0.0, False, False, digests(seen))]
    for i, action in enumerate(random_actions(env, seed, n_steps), start=1):
        step = env.step(action, look=look(i))
        over = step.terminated or step.truncated
        moments.append(Moment(env.state_hash(), step.reward, step.success, over, digests(step.observation)))
        if over:
            break
    return moments


def always(_):
    return True


def digests(seen):
    return None if seen is None else {key: digest(array) for key, array in sorted(seen.items())}


def digest(array):
    array = np.ascontiguousarray(array)
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def from_script(script, *arguments):
    """What a script beside this one prints as its last line: JSON. In a fresh process."""
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    with standing(SAMPLES[sys.argv[1]]) as simulator:
        sys.stdout.write(json.dumps(episode(simulator, int(sys.argv[2]), int(sys.argv[3]), look=always)))
