"""Finds benchmarks and policies by name, in Proctor and in any installed package. Nothing else reads entry points."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, entry_points, metadata, version
from pathlib import Path
from types import ModuleType
from typing import Any

from proctor.child import extend_import_path, import_path
from proctor.child.other_python import Companions, is_brought, pip_install
from proctor.errors import ConfigError, did_you_mean, distribution_name, install_command
from proctor.security.foreign_code import described, import_foreign

BENCHMARKS = "proctor.benchmarks"
POLICIES = "proctor.policies"

_KIND = {BENCHMARKS: "benchmark", POLICIES: "policy type"}


@cache
def installed(group: str) -> dict[str, EntryPoint]:
    """Give the plug-ins of a group by name. This reads metadata only and imports nothing."""
    return {point.name: point for point in entry_points(group=group)}


def distributions_named(prefix: str) -> tuple[str, ...]:
    """List the installed distributions whose names, spelt with underscores, begin with ``prefix``: LeRobot finds its
    plug-ins so.
    """
    names = ((found.metadata["Name"] or "").replace("-", "_") for found in distributions())
    return tuple(name for name in names if name.startswith(prefix))


@dataclass(frozen=True, slots=True)
class Requirements:
    """The packages that a plug-in needs: those of the extra of its name, in the distribution that provides it.

    ``present`` maps each requirement that is met to the installed version; ``missing`` has a text for each other one,
    with what is needed and what is installed. ``command`` installs them.
    """

    present: Mapping[str, str]
    missing: tuple[str, ...]
    command: str

    @property
    def met(self) -> bool:
        return not self.missing


def requirements_of(point: EntryPoint) -> Requirements:
    """Compare what a plug-in needs with what is installed. This reads metadata only and imports nothing."""
    from packaging.requirements import Requirement

    name, asked = (point.dist.name, point.dist.requires or []) if point.dist else ("", [])
    present: dict[str, str] = {}
    missing: list[str] = []
    for requirement in map(Requirement, asked):
        if requirement.marker is None or not requirement.marker.evaluate({"extra": point.name}):
            continue
        if requirement.marker.evaluate({"extra": ""}):
            continue  # needed by every plug-in of the package
        try:
            there = version(requirement.name)
        except PackageNotFoundError:
            missing.append(f"{requirement.name}{requirement.specifier}")
            continue
        if requirement.specifier.contains(there, prereleases=True):
            present[requirement.name] = there
        else:
            missing.append(f"{requirement.name}{requirement.specifier} (there is {there})")
    return Requirements(present, tuple(missing), f"pip install '{name}[{point.name}]'")


def install_command_for(module: str) -> str:
    """Give the command that installs the package of a module for this interpreter: an extra of Proctor, if one has its
    name, since that chooses the tested version.
    """
    name = module.partition(".")[0].replace("_", "-")
    if is_brought():  # its packages are its own, and Proctor is none of them
        return pip_install(name)
    if name in (metadata(distribution_name()).get_all("Provides-Extra") or ()):
        return install_command(name)
    return f"pip install {name}"


def find(group: str, name: str) -> str:
    """Give the address of a plug-in, ``module:attribute``. Such an address is accepted in place of a name.

    Raises:
        ConfigError: there is no plug-in of that name; the message suggests the nearest name.
    """
    if ":" in name:
        return name
    points = installed(group)
    if name not in points:
        raise ConfigError(f"Unknown {_KIND[group]} '{name}'.{did_you_mean(name, points)}")
    return points[name].value


def companions_of(*addresses: str) -> Companions:
    """Find what a process of another Python has to search to import modules of this one, given ``module:attribute``.

    It searches the user's folders. Of a folder of installed packages it finds only those that hold the modules.
    """
    from proctor.identity.source_files import owner_of, top_level

    folders = [folder for folder in import_path() if not _holds_packages(folder)]
    packages: dict[str, str] = {}
    versions: dict[str, str] = {}
    for name in {top_level(address.partition(":")[0]) for address in addresses} - {"proctor"}:
        spec = importlib.util.find_spec(name)
        origin = next(iter(spec.submodule_search_locations or (spec.origin,)), None) if spec else None
        if origin and (folder := str(Path(origin).parent)) not in folders:
            packages[name] = folder
        if owner := owner_of(name):
            versions[owner] = version(owner)
    return Companions(folders, packages, versions)


def _holds_packages(folder: str) -> bool:
    """Say whether a folder of the import path belongs to this interpreter: its packages, or the standard library."""
    own = {os.path.abspath(path) for path in sysconfig.get_paths().values()}  # noqa: PTH100 - nothing is resolved
    stdlib = sysconfig.get_path("stdlib")
    return (
        Path(folder).name in ("site-packages", "dist-packages")
        or folder in own
        or folder.startswith(stdlib)
        or not Path(folder).is_dir()
    )


def import_module(name: str, purpose: str = "") -> ModuleType:
    """Import a module that a user named. The working directory is searched last, also by processes started later.

    Raises:
        ImportError, ConfigError: see :func:`~proctor.security.foreign_code.import_foreign`.
    """
    package = name.partition(".")[0]
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        extend_import_path([str(Path.cwd())])
    return import_foreign(name, purpose)


def load_object(address: str) -> Any:
    """Import ``module:attribute``.

    Raises:
        ConfigError: the module cannot be imported, or has no such attribute.
    """
    module_name, _, attribute = address.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"'{address}' is not an address of the form module:attribute.")
    try:
        module = import_module(module_name, f" (for {address})")
    except ImportError as error:
        raise ConfigError(f"Cannot import {module_name} (for {address}): {described(error)}.") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [name for name in vars(module) if not name.startswith("_")]
        raise ConfigError(f"{module_name} has no '{attribute}'.{did_you_mean(attribute, public)}") from None
