"""Which environment a benchmark is run in."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from proctor.errors import ConfigError, note
from proctor.interpreters.environments import Environment, State, existing, ready_environment
from proctor.interpreters.recipe import recipes
from proctor.plugins import BENCHMARKS, installed, requirements_of


def is_environment_name(text: str) -> bool:
    """Return True if ``text`` names an environment, or a recipe of Proctor's, and not a Python."""
    return text in recipes() or any(environment.name == text for environment in existing())


def interpreter_named(text: str) -> str:
    """Return the interpreter of the environment that ``text`` names, or ``text`` itself if it is no such name.

    Raises:
        ConfigError: the environment is not created, stale or broken.
    """
    return str(ready_environment(text).interpreter) if is_environment_name(text) else text


def interpreter_for(benchmark: str) -> str | None:
    """Return the interpreter of the environment that a benchmark needs; None if this process's interpreter has all that
    the benchmark needs, or if there is no such environment. The user is told which environment it is.

    Raises:
        ConfigError: several environments are for it, and none has its name.
    """
    point = installed(BENCHMARKS).get(benchmark)
    if point is None or requirements_of(point).met:
        return None
    environment = _environment_for(benchmark)
    return None if environment is None else _told(environment)


def fields_by_recipe(name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of ``--env.*`` that ``--env.type=<name>`` stands for by the table ``env`` of a recipe; None if
    no recipe has one for it. ``fields`` are the user's, which count more than those of the recipe.

    Raises:
        ConfigError: this interpreter lacks the simulator, and the environment is not created.
    """
    defaults = dict(_stands_for()).get(name)
    if defaults is None:
        return None
    chosen = {**defaults, **fields, "type": defaults["type"]}
    if fields.get("python") is None and not _is_here(defaults.get("module")):
        environment = _environment_for(name)
        if environment is None:
            raise ConfigError(
                f"--env.type={name} needs an environment of its own; create it with: proctor env create {name}"
            )
        chosen["python"] = _told(environment)
    return chosen


def names_by_recipe() -> list[str]:
    """Return the values of ``--env.type`` that only recipes have."""
    return sorted(dict(_stands_for()))


def _stands_for() -> Iterator[tuple[str, dict[str, Any]]]:
    for environment in existing():
        if environment.facts.own_recipe and environment.facts.env:
            yield from ((name, environment.facts.env) for name in environment.facts.benchmarks)
    for recipe in recipes().values():
        if recipe.env:
            yield from ((name, recipe.env) for name in recipe.benchmarks)


def _is_here(module: str | None) -> bool:
    return module is not None and importlib.util.find_spec(module.partition(".")[0]) is not None


def _environment_for(benchmark: str) -> Environment | None:
    """Find the environment that can be used for a benchmark; the one of its name comes first."""
    suitable = [each for each in existing() if benchmark in each.facts.benchmarks]
    ready = [each for each in suitable if each.state is State.READY]
    chosen = [each for each in ready if each.name == benchmark] or ready
    if len(chosen) > 1:
        names = ", ".join(each.name for each in chosen)
        raise ConfigError(f"Several environments are for {benchmark}: {names}; choose one with --env.python=NAME.")
    for each in suitable if not chosen else ():
        note(
            f"The environment '{each.name}' is {each.state} and not used; make it anew: proctor env create {each.name}"
        )
    return chosen[0] if chosen else None


def _told(environment: Environment) -> str:
    note(
        f"The simulators run in the environment '{environment.name}' (Python {environment.facts.python}, "
        f"{environment.folder})."
    )
    return str(environment.interpreter)
