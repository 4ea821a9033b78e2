"""Checks of one Meta-World task, made of a few in every test run and of all fifty by the proofs."""

from __future__ import annotations

import re
from contextlib import nullcontext
from functools import cache
from unittest.mock import patch

import numpy as np
from benchmark_episodes import always, digest, episode, from_script, standing

from proctor.benchmarks.metaworld import benchmark
from proctor.benchmarks.metaworld.benchmark import MetaWorld, MetaWorldConfig

# MuJoCo's scratch memory of the constraint solver: not cleared, not read before it is written.
SCRATCH = re.compile(r"efc_|.*island")


def benchmark_of(name):
    return MetaWorld(MetaWorldConfig(task=name))


def run_expert(env, seed):
    """Whether the scripted expert succeeds, and everything it went through."""
    env.reset(seed, None, look=False)
    went_through = []
    while True:
        step = env.step(env.expert_action(), look=False)
        went_through.append((env.state_hash(), step.reward, step.success, env._raw.tobytes()))
        if step.terminated or step.truncated:
            return step.success, went_through


def arrays_after_reset(env, seed):
    """Every array of MuJoCo's model and simulation: all that a step or an image can depend on."""
    env.reset(seed, None, look=False)
    return {
        f"{part}.{name}": np.array(value)
        for part in ("model", "data")
        for name in dir(getattr(env._env, part))
        if not name.startswith("_")
        and not SCRATCH.match(name)
        and isinstance(value := getattr(getattr(env._env, part), name), np.ndarray)
    }


def leftovers(name, seed=1004):
    """The arrays in which a used simulator, newly reset, differs from a new one; and whether the experts do."""
    with standing(benchmark_of(name)) as new:
        expected, expert = arrays_after_reset(new, seed), run_expert(new, seed)
    with standing(benchmark_of(name)) as used:
        run_expert(used, 1)
        episode(used, 2, 150)
        episode(used, 3, 77)
        found = arrays_after_reset(used, seed)
        assert run_expert(used, seed) == expert
    return [key for key, value in expected.items() if not np.array_equal(value, found[key], equal_nan=True)]


def episodes_in_a_row(name, seeds):
    """Everything that one simulator goes through in episodes of the expert and of random actions."""
    with standing(benchmark_of(name)) as env:
        return [
            ({key: digest(value) for key, value in arrays_after_reset(env, seed).items()}, run(env, seed))
            for seed in seeds
            for run in (run_expert, lambda env, seed: episode(env, seed, 60))
        ]


def metaworlds_own_episodes_in_a_row(name, seeds):
    """The same episodes, built and moved by Meta-World's own code, with contacts iterated as MuJoCo has it."""
    with (
        patch.object(benchmark, "take_shortcuts", _lose_the_iterator),
        patch.object(benchmark, "one_goal", nullcontext),
    ):
        return episodes_in_a_row(name, seeds)


def _lose_the_iterator(env):
    contacts = type(env.data.contact)
    if "__iter__" in vars(contacts):
        del contacts.__iter__


def our_episode(name, seed, n_steps):
    """The adapter's episode of random actions, as far as it shows anything, in the words of `lerobot_metaworld.py`."""
    with standing(benchmark_of(name)) as env:
        moments = episode(env, seed, n_steps, look=always)
    return [[m.reward, m.over, m.seen["observation.image"], m.seen["observation.state"]] for m in moments if not m.over]


@cache
def lerobots_episodes(names, seed, n_steps):
    """The same of LeRobot's wrapper for several tasks, in one other process: loading LeRobot takes long."""
    return from_script("lerobot_metaworld.py", seed, n_steps, *names)
