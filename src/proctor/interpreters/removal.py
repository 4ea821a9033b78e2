"""Finds the environments that ``proctor env remove`` is to remove, and removes them."""

from __future__ import annotations

from collections.abc import Callable

from proctor.errors import ConfigError, did_you_mean
from proctor.interpreters.environments import Environment, State, delete, existing, lock_of


def environments_to_remove(name: str | None, *, stale: bool, everything: bool) -> list[Environment]:
    """Find the environments that a user wants to remove: those of a name, those that cannot be used, or all.

    Raises:
        ConfigError: none of these is chosen, or several are; no environment has that name.
    """
    if [name is not None, stale, everything].count(True) != 1:
        raise ConfigError("Which environments? Give proctor env remove a name, --stale or --all.")
    there = existing()
    if name is None:
        return [each for each in there if everything or each.state is not State.READY]
    chosen = [each for each in there if each.name == name]
    if not chosen:
        raise ConfigError(f"There is no environment '{name}'.{did_you_mean(name, {each.name for each in there})}")
    return chosen


def remove(environment: Environment, on_progress: Callable[[str], None]) -> None:
    """Remove an environment from the disk; a creation of the same name is waited for, which ``on_progress`` is told.

    Raises:
        ConfigError: a file cannot be removed.
    """
    try:
        with lock_of(environment.name, on_progress):
            delete(environment)
    except OSError as error:
        raise ConfigError(f"{environment.folder} cannot be removed: {error.strerror}: {error.filename}.") from None
