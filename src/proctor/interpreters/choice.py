"""Chooses the environment that a benchmark is run in."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from proctor.errors import ConfigError, note
from proctor.interpreters.environments import Environment, State, existing, ready_environment
from proctor.interpreters.recipe import recipes
from proctor.plugins import BENCHMARKS, installed, requirements_of
from proctor.security.consent import ENVIRONMENT


def interpreter_named(text: str) -> str:
    """Return the interpreter of the environment that ``text`` names, or ``text`` itself if it names none.

    Raises:
        ConfigError: the environment is not created, stale or broken.
    """
    name = _environment_name(text)
    return text if name is None else str(ready_environment(name).interpreter)


def python_to_record(given: str | None, interpreter: str | None) -> str | None:
    """Return the value of ``env.python`` for a run directory: an environment by its name, else the interpreter's path;
    None if the user has given none.

    A run directory cannot choose a program, but it may name an environment, because only the user creates those.
    """
    if given is None:
        return None
    name = _environment_name(given)
    return interpreter if name is None else f"{ENVIRONMENT}{name}"


def _environment_name(text: str) -> str | None:
    name = text.removeprefix(ENVIRONMENT)
    is_one = name != text or name in recipes() or any(environment.name == name for environment in existing())
    return name if is_one else None


def interpreter_for(benchmark: str, fields: Mapping[str, Any]) -> str | None:
    """Return the interpreter of the environment that a benchmark needs; None if this process's interpreter has all that
    the benchmark needs, or if there is no such environment. The user is told which environment it is.

    ``fields`` are those of ``--env.*``: a module that they name may be one that only an environment has.

    Raises:
        ConfigError: several environments are for it, and none has its name.
    """
    if (point := installed(BENCHMARKS).get(benchmark)) is None:
        return None
    if requirements_of(point).met and not lacks_module(benchmark):
        environment = _environment_with(benchmark, str(fields.get("module") or ""))
    else:
        environment = _environment_for(benchmark)
    return None if environment is None else _told(environment)


def lacks_module(benchmark: str) -> bool:
    """Return True if this interpreter lacks the module that a benchmark's recipe names, since no extra installs it."""
    modules = [recipe.module for recipe in recipes().values() if recipe.module and benchmark in recipe.benchmarks]
    return bool(modules) and not any(map(_is_here, modules))


def fields_by_recipe(name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of ``--env.*`` that ``--env.type=<name>`` stands for by the table ``env`` of a recipe; None if
    no recipe has one for it. ``fields`` are the user's, which count more than those of the recipe.

    Raises:
        ConfigError: this interpreter lacks the simulator, and the environment is not created.
    """
    defaults = dict(_stands_for()).get(name)
    if defaults is None:
        return None
    is_here = fields.get("python") is not None or _is_here(defaults.get("module", ""))
    if not is_here and _environment_for(name) is None:
        raise ConfigError(
            f"--env.type={name} needs an environment of its own; create it with: proctor env create {name}"
        )
    return {**defaults, **fields, "type": defaults["type"]}


def _stands_for() -> Iterator[tuple[str, dict[str, Any]]]:
    for environment in existing():
        if environment.facts.own_recipe and environment.facts.env:
            yield from ((name, environment.facts.env) for name in environment.facts.benchmarks)
    for recipe in recipes().values():
        if recipe.env:
            yield from ((name, recipe.env) for name in recipe.benchmarks)


def _is_here(module: str) -> bool:
    return bool(module) and importlib.util.find_spec(module.partition(".")[0]) is not None


def environments_for(benchmark: str) -> list[Environment]:
    """List the environments that can be used for a benchmark; the one of its name alone, if there is one."""
    ready = [each for each in existing() if benchmark in each.facts.benchmarks and each.state is State.READY]
    return [each for each in ready if each.name == benchmark] or ready


def _environment_for(benchmark: str) -> Environment | None:
    """Find the environment that can be used for a benchmark; of others the user is told why they cannot be used."""
    chosen = environments_for(benchmark)
    suitable = [each for each in existing() if benchmark in each.facts.benchmarks]
    if len(chosen) > 1:
        names = ", ".join(each.name for each in chosen)
        raise ConfigError(f"Several environments are for {benchmark}: {names}; choose one with --env.python=NAME.")
    for each in suitable if not chosen else ():
        note(f"The environment '{each.name}' is {each.state}; make it anew: proctor env create {each.recipe}")
    return chosen[0] if chosen else None


def _environment_with(benchmark: str, module: str) -> Environment | None:
    """Find the environment in which a benchmark has a module that this interpreter lacks."""
    if not module or _is_here(module):
        return None
    wanted = {"type": benchmark, "module": module}
    found = (each for each in existing() if wanted.items() <= each.facts.env.items())
    return next((each for each in found if each.state is State.READY), None)


def _told(environment: Environment) -> str:
    note(
        f"The simulators run in the environment '{environment.name}' (Python {environment.facts.python}, "
        f"{environment.folder})."
    )
    return str(environment.interpreter)
