"""The environments that exist: folders ``NAME-DIGEST`` in the user's cache.

::

    ~/.cache/proctor/environments/    or PROCTOR_ENVIRONMENTS; XDG_CACHE_HOME replaces ~/.cache
        xarm-d14f71c1320a/            a virtual environment
            environment.json          what it is (Facts); written last, so a folder without it is incomplete
            creation.log              what the installer printed
        xarm.lock                     while one is made or removed

A virtual environment cannot be moved, because its scripts have absolute paths. It is therefore made in its final
folder, and ``environment.json`` marks it as complete.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from proctor.errors import ConfigError, did_you_mean
from proctor.interpreters.lock import EnvironmentLock
from proctor.interpreters.recipe import FOLDER, NAME, SUFFIX, Recipe, read_recipe, recipes
from proctor.machine.home import lasting_cache

FOLDER_VARIABLE = "PROCTOR_ENVIRONMENTS"
MARKER = "environment.json"
LOG = "creation.log"
_FOLDER_NAME = re.compile(rf"(?P<name>{NAME.pattern})-(?P<digest>[0-9a-f]{{12}})")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a complete environment.

    ``own_recipe`` is the path of the user's own recipe, empty for one of Proctor's. ``benchmarks``, ``env`` and
    ``check`` are the recipe's. ``python`` is a version, ``created`` a time in ISO 8601, ``megabytes`` the size of all
    files, ``seconds`` the time that creation took.
    """

    own_recipe: str
    benchmarks: tuple[str, ...]
    env: dict[str, Any]
    check: str
    python: str
    installer: str
    created: str
    seconds: float
    megabytes: int


class State(StrEnum):
    """The state of an environment: only a ready one is used."""

    READY = "ready"
    STALE = "stale"
    """The recipe has changed since it was made."""
    BROKEN = "broken"
    """The Python that it was made with is gone."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A complete environment."""

    name: str
    digest: str
    folder: Path
    facts: Facts

    @property
    def interpreter(self) -> Path:
        """The path of its Python."""
        return interpreter_in(self.folder)

    @property
    def recipe(self) -> str:
        """The argument of ``proctor env create`` that makes it anew: a name, or the path of the user's own recipe."""
        return self.facts.own_recipe or self.name

    @property
    def state(self) -> State:
        if not self.interpreter.exists():  # a link to the Python that it was made with
            return State.BROKEN
        return State.READY if self.digest == self._digest_of_the_recipe() else State.STALE

    def _digest_of_the_recipe(self) -> str | None:
        """Read the digest that the recipe has now; if a user's own file is gone, it cannot have changed."""
        own = self.facts.own_recipe
        path = Path(own) if own else FOLDER / f"{self.name}{SUFFIX}"
        try:
            return read_recipe(path).digest
        except ConfigError:
            return self.digest if own and not path.exists() else None


def interpreter_in(folder: Path) -> Path:
    """Return the path of the Python of a virtual environment."""
    return folder / "bin" / "python"


def environments_folder() -> Path:
    """Return the folder of all environments, which need not exist.

    Raises:
        ConfigError: the user has no cache that lasts.
    """
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).absolute()
    if (cache := lasting_cache()) is None:
        raise ConfigError(
            f"There is no home directory in which environments could be kept; name a folder by {FOLDER_VARIABLE}."
        )
    return cache / "proctor" / "environments"


def folder_of(recipe: Recipe) -> Path:
    """Return the folder of the environment that a recipe makes; it need not exist.

    Raises:
        ConfigError: see :func:`environments_folder`.
    """
    return environments_folder() / f"{recipe.name}-{recipe.digest}"


def lock_of(name: str, on_wait: Any) -> EnvironmentLock:
    """Return the lock of the environments of one name. The folder of all environments must exist.

    Raises:
        ConfigError: see :func:`environments_folder`.
    """
    return EnvironmentLock(environments_folder() / f"{name}.lock", on_wait)


def existing() -> list[Environment]:
    """Read which complete environments there are, in the order of their names."""
    try:
        folders = sorted(environments_folder().iterdir())
    except (OSError, ConfigError):
        return []
    return [found for folder in folders if (found := read_environment(folder)) is not None]


def read_environment(folder: Path) -> Environment | None:
    """Read what a folder holds; None if that is not a complete environment."""
    named = _FOLDER_NAME.fullmatch(folder.name)
    try:
        facts = msgspec.json.decode((folder / MARKER).read_bytes(), type=Facts)
    except (OSError, msgspec.DecodeError):
        return None
    return Environment(named["name"], named["digest"], folder, facts) if named else None


def incomplete(name: str) -> Iterator[Path]:
    """Find what killed creations of an environment have left. It is valid while the lock of ``name`` is held."""
    for folder in environments_folder().glob(f"{name}-*"):
        named = _FOLDER_NAME.fullmatch(folder.name)
        if named and named["name"] == name and read_environment(folder) is None:
            yield folder


def ready_environment(name: str) -> Environment:
    """Return the environment of a name that can be used.

    Raises:
        ConfigError: there is none; the message gives the command that makes it.
    """
    of_name = [environment for environment in existing() if environment.name == name]
    for environment in of_name:
        if environment.state is State.READY:
            return environment
    known = recipes()
    if of_name:
        state = of_name[-1].state
        reason = "its recipe has changed" if state is State.STALE else "the Python that it was made with is gone"
        raise ConfigError(
            f"The environment '{name}' is {state} ({reason}); make it anew: proctor env create {of_name[-1].recipe}"
        )
    if name in known:
        raise ConfigError(f"The environment '{name}' is not created; create it with: proctor env create {name}")
    raise ConfigError(f"There is no environment '{name}'.{did_you_mean(name, known)}")


def delete(environment: Environment) -> None:
    """Delete an environment, while the lock of its name is held. If this is interrupted, an incomplete one is left."""
    (environment.folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(environment.folder)


def size_of(folder: Path) -> int:
    """Return the megabytes of all files below a folder; a file with several names in it counts once."""
    inodes: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        inodes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(inodes.values()) >> 20
