"""Benchmarks whose environments are made by a foreign function: ``make_env(n_envs, use_async_envs)``, as in LeRobot.

Such a function returns an environment, a vector of them, or ``{suite: {task number: vector}}``. Its tasks are only
known after the call, so it is called in a process of its own when an evaluation is planned, and in every worker.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import gymnasium
from gymnasium.vector import SyncVectorEnv

from proctor.benchmarks.base import Benchmark, SimEnv, draw_without_display
from proctor.benchmarks.gymnasium import GymnasiumEnv, SuccessConfig
from proctor.child.calls import Call, ChildError
from proctor.config import structure
from proctor.errors import ConfigError, did_you_mean
from proctor.plugins import load_object
from proctor.security.foreign_code import described
from proctor.types import Task

_LIMIT_S = 600.0

Made = Mapping[str, Mapping[int, gymnasium.Env]]


class EnvFactoryBenchmark(Benchmark):
    """A benchmark whose environments :meth:`make` makes. ``--env.task`` names suites; the default is all."""

    config: SuccessConfig

    @abstractmethod
    def make(self) -> Any:
        """Call the function for one environment of each task, in this process, and return its result unchanged.

        Raises:
            ConfigError: the function cannot be called.
        """

    @property
    @abstractmethod
    def maker(self) -> str:
        """Name of the code that makes the environments, for a sentence."""

    def tasks(self) -> list[Task]:
        described = self._described_elsewhere()
        suites = dict.fromkeys(task.suite for task in described)
        for wanted in self.config.task_names():
            if wanted not in suites:
                raise ConfigError(f"{self.maker} has no suite '{wanted}'.{did_you_mean(wanted, suites)}")
        return [self._limited(task) for task in described if task.suite in (self.config.task_names() or suites)]

    def make_env(self, task: Task) -> SimEnv:
        made = self._made()
        limited = gymnasium.wrappers.TimeLimit(made[task.suite][task.task_id], task.max_episode_steps)
        return _OneOfAll(limited, task.name, self.config, made)

    def described(self) -> list[Task]:
        """Make all environments and return their tasks; a task that declares no step limit has 0 steps."""
        made = self._made()
        found = [_task(suite, number, env) for suite, envs in made.items() for number, env in sorted(envs.items())]
        _close(made)
        return found

    def _made(self) -> Made:
        draw_without_display()
        return normalised(self.make(), self.maker)

    def _limited(self, task: Task) -> Task:
        limit = task.max_episode_steps or self.config.episode_length
        if limit is None:
            raise ConfigError(
                f"{task.name} of {self.maker} has no maximum number of steps per episode; give --env.episode_length."
            )
        return replace(task, max_episode_steps=limit)

    def _described_elsewhere(self) -> list[Task]:
        """Call :meth:`described` in a fresh process, which keeps simulators and unknown code out of this one."""
        kind = type(self)
        address, configuration = f"{kind.__module__}:{kind.__qualname__}", asdict(self.config)
        try:
            return Call(f"{__name__}:describe", address, configuration, result=list[Task], limit_s=_LIMIT_S).result()
        except ChildError as error:
            if error.status is None:
                raise ConfigError(f"{self.maker} did not make its environments within {_LIMIT_S:g} s.") from None
            reason = error.last_line or f"it {error.how}"
            raise ConfigError(f"{self.maker} ended its process when it was called: {reason}") from None


class _OneOfAll(GymnasiumEnv):
    """An environment, and the others that were made with it. They stay open as long as it, because closing an
    environment that has rendered would spoil the images of this one.
    """

    def __init__(self, env: gymnasium.Env, name: str, config: SuccessConfig, made: Made) -> None:
        super().__init__(env, name, config)
        self._made = made

    def close(self) -> None:
        super().close()
        _close(self._made)


def normalised(made: Any, maker: str) -> Made:
    """Return the result of a ``make_env`` as ``{suite: {task number: environment}}``.

    Raises:
        ConfigError: it has none of the forms that LeRobot accepts, or its environments run in processes of their own.
    """
    if not isinstance(made, Mapping):
        spec = getattr(made, "spec", None)
        made = {spec.id if spec is not None else "hub_env": {0: made}}
    return {str(suite): {int(i): _single(env, maker) for i, env in envs.items()} for suite, envs in made.items()}


def _single(made: Any, maker: str) -> gymnasium.Env:
    if isinstance(made, gymnasium.Env):
        return made
    if isinstance(made, SyncVectorEnv):
        return made.envs[0]
    raise ConfigError(
        f"{maker} returned a {type(made).__name__}; called for one environment without processes of its own "
        "(n_envs=1, use_async_envs=False), it must return an Env, a SyncVectorEnv, or {suite: {number: one of these}}."
    )


def _task(suite: str, number: int, env: gymnasium.Env) -> Task:
    limit = env.spec.max_episode_steps if env.spec is not None else None
    return Task(
        suite=suite,
        task_id=number,
        name=str(_attribute(env, "task") or f"{suite}-{number}"),
        instruction=str(_attribute(env, "task_description") or ""),
        max_episode_steps=int(limit or _attribute(env, "_max_episode_steps") or 0),
    )


def _attribute(env: gymnasium.Env, name: str) -> Any:
    try:
        return env.get_wrapper_attr(name)
    except AttributeError:  # to ask first is possible only since Gymnasium 1.0
        return None


def _close(made: Made) -> None:
    for envs in made.values():
        for env in envs.values():
            env.close()


def describe(address: str, configuration: dict[str, Any]) -> list[Task]:
    """Give the tasks of a benchmark, :meth:`EnvFactoryBenchmark.described`; called in a process of its own.

    Raises:
        ConfigError: the function that makes the environments cannot be called, or raised something.
    """
    kind: type[EnvFactoryBenchmark] = load_object(address)
    benchmark = kind(structure(kind.config_class, configuration, "env"))
    try:
        return benchmark.described()
    except ConfigError:
        raise
    except BaseException as error:  # whatever foreign code raises becomes a sentence
        raise ConfigError(f"{benchmark.maker} raised {described(error)}") from error
