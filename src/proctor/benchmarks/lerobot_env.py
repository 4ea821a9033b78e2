"""Environments of LeRobot without an adapter in Proctor: LeRobot's own, and those of ``lerobot_env_*`` packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from proctor.benchmarks.base import import_simulator
from proctor.benchmarks.env_factory import EnvFactoryBenchmark
from proctor.benchmarks.gymnasium import SuccessConfig
from proctor.config import EnvConfig
from proctor.config.structure import read_value
from proctor.errors import ConfigError, did_you_mean
from proctor.plugins import BENCHMARKS, distributions_named, installed, load_object
from proctor.security.consent import GIVE_CONSENT
from proctor.types import Task

_PREFIX = "lerobot_env_"
_LEROBOTS = frozenset({"gym_manipulator", "isaaclab_arena", "robomme", "robotwin", "vlabench"})
"""Values of LeRobot's own ``--env.type`` for which Proctor has no adapter (LeRobot 0.6.1)."""
_WITHOUT_LENGTH = frozenset({"gym_manipulator"})
"""LeRobot types whose configuration has no ``episode_length``."""


@dataclass(frozen=True, kw_only=True)
class LeRobotEnvConfig(SuccessConfig):
    """``--env.type=lerobot_env``. ``task``: suites that LeRobot makes, separated by commas; the default is all."""

    type: str = "lerobot_env"

    name: str | None = None
    """Name under which the environment is registered with LeRobot (LeRobot's --env.type)."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """JSON: fields of LeRobot's configuration of the environment, such as {"task": "PickPlace"}."""


_OURS = frozenset(field.name for field in fields(LeRobotEnvConfig)) - {"task", "type", "name", "kwargs"}


_FEATURES = ("features", "features_map")
_SIZES = ("observation_width", "observation_height")


def _changed(configuration: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields that have another value than LeRobot's default, or than what follows from the other fields."""
    others = {field: value for field, value in given.items() if field not in _FEATURES}
    usual, same = type(configuration)(), type(configuration)(**others)
    return {
        field: value for field, value in given.items() if value != getattr(same if field in _FEATURES else usual, field)
    }


def plug_ins() -> tuple[str, ...]:
    """Return the import names of the installed packages that add environments to LeRobot."""
    return distributions_named(_PREFIX)


class LeRobotEnv(EnvFactoryBenchmark):
    """Environments that LeRobot's own ``make_env`` makes from a configuration registered with LeRobot.

    ============  ======================================================================================
    suite, task   LeRobot's; instructions are the environments' ``task_description``
    observation   as for :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    action        as for :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    episode       ends when the environment ends it, or after the environment's own number of steps, or
                  after ``episode_length``; the seed is passed to ``reset``
    success       as for :class:`~proctor.benchmarks.gymnasium.Gymnasium`
    reward        the environment's
    ============  ======================================================================================

    Options of LeRobot's types without an adapter here (vlabench, robotwin, robomme, isaaclab_arena,
    gym_manipulator) and of a plug-in ``lerobot_env_<name>`` can be written as for LeRobot: ``--env.type=vlabench
    --env.task=select_fruit --env.robot=franka`` means ``--env.type=lerobot_env --env.name=vlabench
    --env.kwargs={"task": "select_fruit", "robot": "franka"}``.

    Differences from LeRobot: a plug-in's own processors of observations are not applied. These environments observe
    in every step, and none of them documents a way to leave images out, so a step that no policy looks at takes as long
    as one that a policy does.
    """

    name: ClassVar[str] = "lerobot_env"
    extra: ClassVar[str] = ""
    protocol: ClassVar[str] = "lerobot_env-2"
    config_class: ClassVar[type[EnvConfig]] = LeRobotEnvConfig
    config: LeRobotEnvConfig

    def __init__(self, config: LeRobotEnvConfig) -> None:
        super().__init__(config)
        self.distributions = ("gymnasium", "lerobot", "mujoco", "numpy", *plug_ins())

    @classmethod
    def fields_for(cls, name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Read options as LeRobot's command line does: unknown fields are fields of LeRobot's configuration."""
        if name not in _LEROBOTS | {plug_in.removeprefix(_PREFIX) for plug_in in plug_ins()}:
            return None
        given = {field.replace("-", "_"): value for field, value in fields.items()}
        ours = {field: value for field, value in given.items() if field in _OURS}
        theirs = {field: _typed(value) for field, value in given.items() if field not in _OURS | {"type", "kwargs"}}
        if "episode_length" in ours and name not in _WITHOUT_LENGTH:
            theirs["episode_length"] = _typed(ours["episode_length"])
        kwargs = {**theirs, **(read_value(given.get("kwargs")) or {})}
        return {**ours, "type": cls.name, "name": name, "kwargs": kwargs}

    @classmethod
    def fields_of(cls, configuration: Any) -> dict[str, Any] | None:
        """Read an ``EnvConfig`` object of LeRobot's. Its defaults are passed on as far as they reach its simulator."""
        module = sys.modules.get("lerobot.envs.configs")
        if module is None or not isinstance(configuration, module.EnvConfig):
            return None
        if hub_path := getattr(configuration, "hub_path", None):
            return {"type": "hub", "repo": hub_path}
        given = {field.name: getattr(configuration, field.name) for field in fields(configuration)}
        changed = _changed(configuration, given)
        name = str(configuration.type)
        if (point := installed(BENCHMARKS).get(name)) is not None:
            known = {field.name for field in fields(load_object(point.value).config_class)}
            reached = configuration.gym_kwargs
            # LeRobot's PushT, for one, has sizes of images that its simulator is never told.
            changed = {field: value for field, value in changed.items() if field in reached or field not in _SIZES}
            changed |= {field: value for field, value in reached.items() if field in known}
        described = {"type": name, "task": given["task"], **changed}
        return {field: value for field, value in described.items() if value is not None}

    def tasks(self) -> list[Task]:
        if not self.config.name:
            raise ConfigError("lerobot_env needs --env.name: LeRobot's name of the environment, such as vlabench.")
        return super().tasks()

    @property
    def sources(self) -> tuple[str, ...]:
        return plug_ins()

    @property
    def maker(self) -> str:
        return f"LeRobot's environment {self.config.name}"

    def make(self) -> Any:
        factory = import_simulator("lerobot.envs.factory", "lerobot")
        configurations = import_simulator("lerobot.envs.configs", "lerobot").EnvConfig
        for plug_in in plug_ins():
            _import(plug_in)
        known = configurations.get_known_choices()
        name = self.config.name
        if name not in known:
            raise ConfigError(f"LeRobot has no environment '{name}'.{did_you_mean(str(name), known)}")
        try:
            configuration = import_simulator("draccus", "lerobot").decode(known[name], self.config.kwargs)
        except Exception as error:  # draccus raises several kinds, from different libraries
            raise ConfigError(f"env.kwargs do not fit {self.maker}: {' '.join(str(error).split())}.") from error
        if hub_path := getattr(configuration, "hub_path", None):
            raise ConfigError(
                f"{self.maker} is code of the Hub's repository {hub_path}, which only --env.type=hub runs; give "
                f"--env.type=hub --env.repo={hub_path} {GIVE_CONSENT}, and its make_env's arguments in --env.kwargs."
            )
        return factory.make_env(configuration, n_envs=1, use_async_envs=False)


def _typed(value: Any) -> Any:
    """Convert a text of the command line to the YAML value that LeRobot would read in it."""
    if not isinstance(value, str):
        return value
    from proctor.config.strict_yaml import load_yaml

    try:
        return load_yaml(value)
    except ValueError:
        return value


def _import(plug_in: str) -> None:
    try:
        importlib.import_module(plug_in)
    except Exception as error:
        raise ConfigError(
            f"The LeRobot plug-in {plug_in} cannot be imported: {type(error).__name__}: {error}"
        ) from error
