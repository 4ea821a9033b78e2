"""A recipe: what an environment for a simulator is made from. It is a TOML file in ``recipes``, or a user's own.

::

    summary = "XarmLift from gym-xarm, on MuJoCo 2.3"   # for people
    benchmarks = ["xarm"]                 # the values of --env.type that run in it
    python = ">=3.10,<3.12"               # the Pythons that fit: this process's is preferred, else the newest is taken
    packages = ["gym-xarm==0.1.1"]        # installed together, with what they need
    constraints = ["mujoco==2.3.7"]       # versions of what they need, if it is installed
    packages_without_dependencies = []    # installed afterwards, without what they ask for
    licence = "Apache-2.0"                # for people
    disk_mb = 300                         # for people, and refused beforehand if the disk has less
    module = "gym_xarm"                   # an interpreter that finds it needs no environment; if no extra installs it
    downloads = ""                        # for people: what must be fetched by hand, and where it belongs
    unproven = ""                         # for people: what of it has never been run, and why
    check = "import gym_xarm"             # Python that must run in the environment without an error

    [system_libraries]                    # libraries that must be there, and Debian's packages that have them
    "libEGL.so.1" = "libegl1"

    [env]                                 # what --env.type=NAME stands for, if there is no such benchmark
    type = "gymnasium"
    module = "gym_xarm"

The keys ``summary``, ``benchmarks``, ``python``, ``packages``, ``licence``, ``disk_mb`` and ``check`` are required.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from proctor.errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parent / "recipes"
SUFFIX = ".toml"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

WORKER_PACKAGES = ("gymnasium", "numpy", "msgspec", "av")
"""What a worker of Proctor needs besides the simulator; PyAV lets it encode the frames of videos itself."""
_GYMS = {"gymnasium", "gym"}
_LAYOUT = "1"
"""The version of how environments are made: a change makes every existing one stale."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe, as its file has it: the module explains the fields. ``name`` and ``path`` are those of the file."""

    name: str
    path: Path
    summary: str
    benchmarks: tuple[str, ...]
    python: str
    packages: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    packages_without_dependencies: tuple[str, ...] = ()
    system_libraries: dict[str, str] = {}
    licence: str
    disk_mb: int
    module: str = ""
    downloads: str = ""
    unproven: str = ""
    check: str
    env: dict[str, Any] = {}

    @property
    def requirements(self) -> tuple[str, ...]:
        """The requirements that are installed with all that they need: ``packages``, and those of a worker besides."""
        named = {canonicalize_name(Requirement(text).name) for text in self.packages}
        missing = [name for name in WORKER_PACKAGES if name not in named]
        if named & _GYMS:
            missing = [name for name in missing if name not in _GYMS]
        return (*self.packages, *missing)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with everything that decides what the environment is.

        What is only written for people does not count.
        """
        parts = [self.python, self.requirements, sorted(self.constraints), self.packages_without_dependencies]
        encoded = msgspec.json.encode([_LAYOUT, *parts, self.check])
        return hashlib.sha256(encoded).hexdigest()[:12]

    @property
    def is_own(self) -> bool:
        """True if the recipe is a user's own file and not one of Proctor's."""
        return self.path.parent != FOLDER


_FIELDS = set(Recipe.__struct_fields__) - {"name", "path"}


def recipes() -> dict[str, Recipe]:
    """Give Proctor's recipes by name."""
    return {path.stem: read_recipe(path) for path in sorted(FOLDER.glob(f"*{SUFFIX}"))}


def find_recipe(name: str) -> Recipe:
    """Give the recipe that a user names: one of Proctor's, one for the benchmark of that name, or the path of a file.

    Raises:
        ConfigError: there is no such recipe (the message suggests the nearest name), or the file is not a recipe.
    """
    path = FOLDER / f"{name}{SUFFIX}"
    if name.endswith(SUFFIX) or "/" in name:
        own = read_recipe(Path(name).absolute())
        if (FOLDER / own.path.name).exists() and own.is_own:
            raise ConfigError(
                f"The recipe {own.path} has the name of one of Proctor's; rename the file, because an environment has "
                "the name of its recipe."
            )
        return own
    if not path.is_file():
        known = recipes()
        for recipe in known.values():
            if name in recipe.benchmarks:
                return recipe
        raise ConfigError(
            f"There is no recipe '{name}'.{did_you_mean(name, known)} A recipe of your own is named by its file: "
            f"./{name}{SUFFIX}."
        )
    return read_recipe(path)


def read_recipe(path: Path) -> Recipe:
    """Read the file of a recipe. It is read strictly: a key that is unknown, missing or of the wrong type is refused.

    Raises:
        ConfigError: the file cannot be read or is not a recipe.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The recipe {path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The recipe {path} is not a TOML file: {error}.") from None
    for key in content:
        if key not in _FIELDS:
            raise ConfigError(f"The recipe {path} has the unknown key '{key}'.{did_you_mean(key, _FIELDS)}")
    try:
        recipe = msgspec.convert({**content, "name": path.stem, "path": path}, Recipe, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise ConfigError(f"The recipe {path} cannot be used: {_sentence(error)}.") from None
    _check_values(recipe)
    return recipe


def _decoded(kind: type, value: Any) -> Any:
    return kind(value)


def _sentence(error: msgspec.ValidationError) -> str:
    what, _, where = str(error).partition(" - at `$.")
    what = what.replace("Object missing required field", "it lacks the key")
    return f"{where.rstrip('`')}: {what[0].lower()}{what[1:]}" if where else what


def _check_values(recipe: Recipe) -> None:
    """Refuse texts that pip, the shell or the file system would misunderstand.

    Raises:
        ConfigError: names the file, the key and the value.
    """
    if not NAME.fullmatch(recipe.name):
        raise ConfigError(
            f"The recipe {recipe.path} cannot be used: an environment has the name of its file, which may consist of "
            "lower-case letters, digits, '-' and '_'."
        )
    try:
        SpecifierSet(recipe.python)
    except InvalidSpecifier:
        raise _wrong(recipe, "python", recipe.python, "a range of versions such as >=3.10,<3.12") from None
    if not recipe.packages:
        raise _wrong(recipe, "packages", "[]", "a list of packages such as gym-xarm==0.1.1")
    for key in ("packages", "constraints", "packages_without_dependencies"):
        _check_requirements(recipe, key, getattr(recipe, key))


def _check_requirements(recipe: Recipe, key: str, texts: Iterable[str]) -> None:
    for text in texts:
        try:
            Requirement(text)
        except InvalidRequirement:
            raise _wrong(recipe, key, text, "a package such as gym-xarm==0.1.1") from None


def _wrong(recipe: Recipe, key: str, value: str, expected: str) -> ConfigError:
    return ConfigError(f"The recipe {recipe.path} cannot be used: {key} has '{value}'; it must be {expected}.")
