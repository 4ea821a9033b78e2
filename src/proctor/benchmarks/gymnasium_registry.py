"""Gymnasium's registry, here and in workers: an id that a script or a notebook has registered reaches them as JSON,
where they can import what constructs it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from proctor.errors import ConfigError, did_you_mean
from proctor.security.foreign_code import import_foreign


def spec_of(env_id: str) -> EnvSpec:
    """The registry's entry.

    Raises:
        ConfigError: there is none.
    """
    try:
        return gymnasium.registry[env_id]
    except KeyError:
        raise ConfigError(
            f"No Gymnasium environment '{env_id}' is registered.{did_you_mean(env_id, gymnasium.registry)} "
            "If a package registers it, name the package: --env.module=PACKAGE. What only a script registers is there "
            "only in that script, for proctor.evaluate."
        ) from None


def creator_of(spec: EnvSpec) -> Any:
    """What constructs the environment. The module it is in may be the user's.

    Raises:
        ConfigError: importing that module fails, or begins an evaluation.
        ImportError: it needs a package that is not installed.
    """
    if callable(spec.entry_point):
        return spec.entry_point
    import_foreign(str(spec.entry_point).partition(":")[0])
    return load_env_creator(spec.entry_point)


def to_workers(spec: EnvSpec) -> str | None:
    """An entry as JSON; None where a worker could not construct the environment from it: its class is in ``__main__``,
    in a function or in a module made at run time, or its arguments are not what JSON holds.
    """
    address = _address(spec.entry_point)
    if address is None:
        return None
    try:
        text = dataclasses.replace(spec, entry_point=address, vector_entry_point=None).to_json()
    except (TypeError, ValueError):
        return None
    return text if EnvSpec.from_json(text).kwargs == spec.kwargs else None


def is_made_in_main(spec: EnvSpec) -> bool:
    """Whether a script or a notebook constructs the environment itself."""
    where = getattr(spec.entry_point, "__module__", None) or str(spec.entry_point).partition(":")[0]
    return where == "__main__"


def register_as_told(specs: Mapping[str, str]) -> None:
    """In a worker: register what :func:`to_workers` gave, where it is not registered so already."""
    for env_id, told in specs.items():
        if env_id not in gymnasium.registry or to_workers(gymnasium.registry[env_id]) != told:
            gymnasium.registry[env_id] = EnvSpec.from_json(told)


def _address(entry_point: Any) -> str | None:
    """Where a worker finds what constructs an environment, ``module:attribute``."""
    if callable(entry_point):
        module, name = getattr(entry_point, "__module__", None), getattr(entry_point, "__qualname__", "")
        if getattr(sys.modules.get(str(module)), name, None) is not entry_point:
            return None
        entry_point = f"{module}:{name}"
    module = str(entry_point).partition(":")[0]
    return str(entry_point) if _is_found_elsewhere(module) else None


def _is_found_elsewhere(module: str) -> bool:
    """Whether another interpreter with the same path finds a module. Imports nothing."""
    if module not in sys.modules:
        return True  # it will be found there as it would be here
    path = getattr(sys.modules.get(module.rpartition(".")[0]), "__path__", None)
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    return module != "__main__" and any(find is not None and find(module, path) is not None for find in finders)
