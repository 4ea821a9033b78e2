"""Gymnasium's registry in this process and in workers.

An id that a script or a notebook has registered is sent to workers as JSON, if they can import its constructor.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from proctor.benchmarks.gym_package import load_env_creator, registered, registration
from proctor.errors import ConfigError, did_you_mean
from proctor.security.foreign_code import import_foreign


def spec_of(env_id: str) -> registration.EnvSpec:
    """Return the registry's entry for an id.

    Raises:
        ConfigError: the id is not registered.
    """
    try:
        return registered()[env_id]
    except KeyError:
        raise ConfigError(
            f"No Gymnasium environment '{env_id}' is registered.{did_you_mean(env_id, registered())} "
            "If a package registers it, name the package: --env.module=PACKAGE. An id that a script registers exists "
            "only in that script; call proctor.evaluate there."
        ) from None


def creator_of(spec: registration.EnvSpec) -> Any:
    """Return the constructor of an environment. Its module may be the user's.

    Raises:
        ConfigError: importing that module fails, or starts an evaluation.
        ImportError: the module needs a package that is not installed.
    """
    if callable(spec.entry_point):
        return spec.entry_point
    import_foreign(str(spec.entry_point).partition(":")[0])
    return load_env_creator(spec.entry_point)


def to_workers(spec: registration.EnvSpec) -> str | None:
    """Return an entry as JSON, or None if a worker could not construct the environment from it.

    A worker cannot if the class is in ``__main__``, in a function or in a module made at run time, or if JSON cannot
    hold the arguments.
    """
    address = _address(spec.entry_point)
    if address is None:
        return None
    try:
        text = dataclasses.replace(spec, entry_point=address, vector_entry_point=None).to_json()
    except (TypeError, ValueError):
        return None
    return text if registration.EnvSpec.from_json(text).kwargs == spec.kwargs else None


def is_made_in_main(spec: registration.EnvSpec) -> bool:
    """Return True if the environment's constructor is defined in the script or notebook itself."""
    where = getattr(spec.entry_point, "__module__", None) or str(spec.entry_point).partition(":")[0]
    return where == "__main__"


def register_specs(specs: Mapping[str, str]) -> None:
    """Register, in a worker, the entries that :func:`to_workers` returned, unless they are registered already."""
    for env_id, as_text in specs.items():
        if env_id not in registered() or to_workers(registered()[env_id]) != as_text:
            registered()[env_id] = registration.EnvSpec.from_json(as_text)


def _address(entry_point: Any) -> str | None:
    """Return the address, ``module:attribute``, at which a worker finds an environment's constructor."""
    if callable(entry_point):
        module, name = getattr(entry_point, "__module__", None), getattr(entry_point, "__qualname__", "")
        if getattr(sys.modules.get(str(module)), name, None) is not entry_point:
            return None
        entry_point = f"{module}:{name}"
    module = str(entry_point).partition(":")[0]
    return str(entry_point) if _is_found_elsewhere(module) else None


def _is_found_elsewhere(module: str) -> bool:
    """Return True if another interpreter with the same path would find a module. Nothing is imported."""
    if module not in sys.modules:
        return True  # the other interpreter finds it as this one did
    path = getattr(sys.modules.get(module.rpartition(".")[0]), "__path__", None)
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    return module != "__main__" and any(find is not None and find(module, path) is not None for find in finders)
