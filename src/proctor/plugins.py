"""The only reader of entry points: benchmarks and policies by name, from Proctor itself or any installed package."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from proctor.errors import ConfigError, did_you_mean

BENCHMARKS = "proctor.benchmarks"
POLICIES = "proctor.policies"

_KIND = {BENCHMARKS: "benchmark", POLICIES: "policy type"}


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """The plug-ins of a group by name. Reads metadata only, imports nothing."""
    return {point.name: point for point in entry_points(group=group)}


def find(group: str, name: str) -> str:
    """Where a plug-in lives, as ``module:attribute``. Such an address is accepted in place of a name.

    Raises:
        ConfigError: no plug-in of that name; names the nearest.
    """
    if ":" in name:
        return name
    points = installed(group)
    if name not in points:
        raise ConfigError(f"Unknown {_KIND[group]} '{name}'.{did_you_mean(name, points)}")
    return points[name].value


def load_object(address: str) -> Any:
    """Import ``module:attribute``.

    Raises:
        ConfigError: the module cannot be imported, or has no such attribute.
    """
    module_name, _, attribute = address.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"'{address}' is not an address of the form module:attribute.")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(f"Cannot import {module_name} (for {address}): {type(error).__name__}: {error}.") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ConfigError(f"{module_name} has no '{attribute}'.{did_you_mean(attribute, vars(module))}") from None
