"""Policies that live in the workers, beside the simulator: the scripted expert, random actions, zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from proctor.benchmarks.base import SimEnv
from proctor.errors import ConfigError, did_you_mean
from proctor.policies.base import ActionSource, LocalPolicy
from proctor.streams import RandomStream
from proctor.types import Array


class Expert(ActionSource):
    """The benchmark's scripted expert. It reads the simulator's state, not its images."""

    def reset(self, env: SimEnv, stream: RandomStream) -> None:
        self._env = env

    def act(self) -> Array:
        try:
            return self._env.expert_action()
        except NotImplementedError:
            raise ConfigError(
                f"--policy.type=expert: {type(self._env).__name__} has no scripted expert; metaworld has."
            ) from None


class Random(ActionSource):
    """Uniform actions within the bounds of the action space, normal ones if it has none, from the episode's stream. In
    a space of whole numbers, each valid number is as likely as the others.
    """

    def reset(self, env: SimEnv, stream: RandomStream) -> None:
        self._space, self._generator = env.action_space, stream.generator

    def act(self) -> Array:
        low, high = self._space.low, self._space.high
        if self._space.dtype.kind in "iu":
            return np.asarray(self._generator.integers(low, high, dtype=self._space.dtype, endpoint=True))
        bounded = np.isfinite(low) & np.isfinite(high)
        uniform = self._generator.uniform(np.where(bounded, low, 0), np.where(bounded, high, 1))
        normal = self._generator.standard_normal(self._space.shape)
        return np.where(bounded, uniform, normal).astype(self._space.dtype)


class Zero(ActionSource):
    """Actions of zeros."""

    def reset(self, env: SimEnv, stream: RandomStream) -> None:
        self._action = np.zeros(env.action_space.shape, env.action_space.dtype)

    def act(self) -> Array:
        return self._action


def expert(fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None) -> LocalPolicy:
    """The benchmark's scripted expert, which sees the simulator's state: ``--policy.type=expert``."""
    return _local(Expert, fields)


def random(fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None) -> LocalPolicy:
    """Uniformly random actions: ``--policy.type=random``."""
    return _local(Random, fields)


def zero(fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None) -> LocalPolicy:
    """Zeros: ``--policy.type=zero``."""
    return _local(Zero, fields)


def _local(source: type[ActionSource], fields: Mapping[str, Any]) -> LocalPolicy:
    for name in set(fields) - {"type"}:
        raise ConfigError(f"Unknown field policy.{name} for this policy type.{did_you_mean(name, ['type'])}")
    return LocalPolicy(f"{source.__module__}:{source.__name__}")
