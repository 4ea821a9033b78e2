"""Policies that live in the workers."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box

from proctor.benchmarks.base import SimEnv
from proctor.errors import ConfigError
from proctor.plugins import load_object
from proctor.policies.local import Expert, Random, Zero, expert, random, zero
from proctor.streams import RandomStream
from proctor.testing.fakes import FakeBenchmark, FakeConfig
from proctor.types import EpisodeSpec


def env_with(space: Box) -> SimEnv:
    benchmark = FakeBenchmark(FakeConfig(type="fake"))
    env = benchmark.make_env(benchmark.tasks()[0])
    env.reset(0, None, look=False)
    env.action_space = space
    return env


def actions_of(source, space: Box, index: int = 0, n: int = 200) -> np.ndarray:
    source.reset(env_with(space), RandomStream(EpisodeSpec("suite", 0, index, 1000 + index)))
    return np.stack([source.act() for _ in range(n)])


UNIT = Box(-1, 1, (2,), np.float32)


def test_zero_is_zeros_of_the_spaces_kind():
    """Shape and dtype."""
    actions = actions_of(Zero(), Box(1, 2, (3,), np.float64), n=2)

    assert actions.dtype == np.float64
    assert actions.tolist() == [[0, 0, 0]] * 2


def test_random_actions_fill_the_bounds():
    """Each dimension its own."""
    low, high = np.float32([-1, 10]), np.float32([1, 30])
    actions = actions_of(Random(), Box(low, high, dtype=np.float32), n=500)

    assert actions.dtype == np.float32
    assert (actions >= low).all()
    assert (actions <= high).all()
    assert (np.ptp(actions, axis=0) > 0.9 * (high - low)).all()


def test_where_there_are_no_bounds_random_actions_are_normal():
    """Also in one dimension of two, or with one bound of two."""
    low, high = np.float32([-np.inf, -1, 0]), np.float32([np.inf, 1, np.inf])
    actions = actions_of(Random(), Box(low, high, dtype=np.float32), n=500)

    assert np.isfinite(actions).all()
    assert np.abs(actions[:, 0]).max() > 1.5
    assert np.abs(actions[:, 1]).max() <= 1
    assert 0.8 < actions[:, 0].std() < 1.2


def test_random_whole_numbers_are_equally_likely():
    """The first and the last as much as those between, which rounding would favour."""
    actions = actions_of(Random(), Box(1, 4, (1,), np.int64), n=2000)

    assert actions.dtype == np.int64
    assert np.allclose(np.bincount(actions.ravel(), minlength=5) / 2000, [0, 0.25, 0.25, 0.25, 0.25], atol=0.05)


def test_random_actions_are_the_episodes():
    """The same whenever it runs, others for another episode."""
    assert np.array_equal(actions_of(Random(), UNIT), actions_of(Random(), UNIT))
    assert not np.array_equal(actions_of(Random(), UNIT, 0), actions_of(Random(), UNIT, 1))


def test_the_expert_is_the_benchmarks():
    """It sees the simulator's state."""
    env, source = env_with(UNIT), Expert()
    source.reset(env, RandomStream(EpisodeSpec("suite", 0, 0, 1000)))

    np.testing.assert_array_equal(source.act(), env.expert_action())


def test_a_benchmark_without_an_expert_is_the_users_mistake(monkeypatch):
    """Said once, as one: it would fail the same way everywhere."""
    env, source = env_with(UNIT), Expert()
    monkeypatch.setattr(type(env), "expert_action", SimEnv.expert_action)
    source.reset(env, RandomStream(EpisodeSpec("suite", 0, 0, 1000)))

    with pytest.raises(ConfigError, match="FakeEnv has no scripted expert"):
        source.act()


@pytest.mark.parametrize(("make", "source"), [(expert, Expert), (random, Random), (zero, Zero)])
def test_each_names_where_its_source_is_found(make, source):
    """Workers import it from there; it takes no options."""
    policy = make({"type": make.__name__}, None)
    assert load_object(policy.source) is source
    assert policy.fingerprint() == {"type": policy.source}

    with pytest.raises(ConfigError, match=r"Unknown field policy\.noise"):
        make({"type": make.__name__, "noise": 1}, None)
