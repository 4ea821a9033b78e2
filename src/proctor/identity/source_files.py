"""Code that belongs to no installed distribution, and the digest that identifies it in a result.

A distribution's version identifies its code. A script, a module on ``PYTHONPATH`` and a package installed in editable
mode have no such version: their files may change between two sessions of one run. Proctor itself never counts as
unversioned, however it is installed: every fingerprint contains the protocol's version, and tests check that a change
of Proctor's code does not change results under the same protocol version.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

from proctor.errors import ConfigError

_SITES = ("site-packages", "dist-packages")
_KNOWN = {*sys.stdlib_module_names, *sys.builtin_module_names, "proctor", "checkpoint_makers"}
"""Top-level modules whose version is always known: Python's own, and those of Proctor's repository."""


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files in a folder and below that are not hidden, in a fixed order."""
    for file in sorted(folder.rglob("*.py")):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def digest_of_files(folder: Path, files: Iterable[Path]) -> str:
    """Return SHA-256 over the names (relative to the folder) and contents of files, in the given order.

    Raises:
        ConfigError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{file} cannot be read ({error.strerror}), so a later session could not check that the code is the "
                "same; make it readable, or move it out of its package."
            ) from None
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def top_level(module: str) -> str:
    """Return the first part of a module's dotted name."""
    return module.partition(".")[0]


def is_known(module: str) -> bool:
    """Return True if a version identifies a module's code: it is Python's, Proctor's, or installed by a distribution.

    ``__main__``, and a module that is not found, are not known.
    """
    name = top_level(module)
    places = () if name in _KNOWN else _places(name)
    return name in _KNOWN or (bool(places) and all(owner(name, place) for place in places))


def owner_of(module: str) -> str | None:
    """Return the distribution that installed a module; None if there is none, or if it is installed editable."""
    name = top_level(module)
    return next((found for place in _places(name) if (found := owner(name, place))), None)


def unowned_code(modules: Iterable[str], distribution_names: Iterable[str] = ()) -> dict[str, str]:
    """Return SHA-256 digests of code without a version, by the name of its top-level module or package.

    This covers those of ``modules`` that no distribution owns, the unversioned code that they import in turn, and the
    packages of those ``distribution_names`` that are installed editable. None of the code is run.
    """
    found: dict[str, str] = {}
    todo = [top_level(module) for module in modules]
    while todo:
        name = todo.pop()
        if name not in found and (files := _unowned_files(name)):
            found[name] = _digest(files)
            todo += _imported(file for _, file in files)
    for name in (module for each in distribution_names for module in _editable_modules(each)):
        if name not in found and (files := _unowned_files(name)):
            found[name] = _digest(files)
    return dict(sorted(found.items()))


def is_found(module: str) -> bool:
    """Return True if a top-level module can be imported, also from the working directory."""
    return bool(_places(module)) or Path(f"{module}.py").is_file() or Path(module).is_dir()


def unowned_places(modules: Iterable[str]) -> dict[str, str]:
    """Return the absolute directories in which top-level modules without a version were found."""
    names = {top_level(module) for module in modules}
    return {name: str(files[0][0].resolve()) for name in sorted(names) if (files := _unowned_files(name))}


def owner(name: str, place: Path) -> str | None:
    """Return the distribution that installed the top-level module at ``place``."""
    return _owner(name, str(place.parent))


@cache
def _owner(name: str, location: str) -> str | None:
    for found in distributions(name=name, path=[location]):  # most distributions have the name of their module
        if _installs(found, location):
            return str(found.metadata["Name"])
    return _owners_in(location).get(name)


@cache
def _owners_in(location: str) -> dict[str, str]:
    """Map top-level modules in a folder of the import path to their distributions; reads all distributions there."""
    return {
        module: str(found.metadata["Name"])
        for found in distributions(path=[location])
        if _installs(found, location)
        for module in _listed_modules(found)
    }


def _listed_modules(found: Distribution) -> set[str]:
    """Return a distribution's top-level modules from its own list; ``Distribution.files`` would check each file."""
    if listed := (found.read_text("top_level.txt") or "").split():
        return set(listed)
    lines = (found.read_text("RECORD") or "").splitlines()
    return {re.split(r"[/.,]", line, maxsplit=1)[0] for line in lines}


def _installs(found: Distribution, location: str) -> bool:
    """Return True if a distribution's code is in ``location``: a source tree may contain only its metadata."""
    return _editable_folder(found) is None and (
        found.read_text("METADATA") is not None or Path(location).name in _SITES
    )


def _editable_folder(found: Distribution) -> Path | None:
    """Return the source tree of an editable install; None if the distribution is installed normally."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        editable = origin.get("dir_info", {}).get("editable")
        return Path(unquote(urlsplit(origin["url"]).path)) if editable else None
    except (ValueError, AttributeError, KeyError):
        return None


def _editable_modules(name: str) -> list[str]:
    """Return the top-level modules of an editable install; empty if the distribution is installed normally."""
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        return []
    if (folder := _editable_folder(found)) is None and found.read_text("METADATA") is not None:
        return []
    names = {name.replace("-", "_"), *(found.read_text("top_level.txt") or "").split()}
    if folder is not None:  # some build tools do not list their modules
        names |= {file.parent.name for where in ("*", "src/*") for file in folder.glob(f"{where}/__init__.py")}
    return sorted(name for name in names - {"test", "tests"} if not is_known(name))


def _places(name: str) -> tuple[Path, ...]:
    """Return the file or the folders of a top-level module; empty if it does not exist."""
    if name in ("", "__main__"):
        return ()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # it is being imported, or was created by hand
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations:
        return tuple(Path(each) for each in spec.submodule_search_locations)
    return (Path(spec.origin),) if spec.has_location and spec.origin else ()


def _unowned_files(name: str) -> list[tuple[Path, Path]]:
    """Return the files of a top-level module without a version, each after the import path folder that contains it."""
    if name in _KNOWN:
        return []
    return [
        (place.parent, file)
        for place in _places(name)
        if owner(name, place) is None
        for file in (python_files(place) if place.is_dir() else (place,))
    ]


def _digest(files: Iterable[tuple[Path, Path]]) -> str:
    by_folder: dict[Path, list[Path]] = {}
    for folder, file in files:
        by_folder.setdefault(folder, []).append(file)
    digests = [digest_of_files(folder, found) for folder, found in by_folder.items()]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _imported(files: Iterable[Path]) -> Iterator[str]:
    """Yield the top-level modules that Python files import, anywhere in the files."""
    for file in files:
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (top_level(alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield top_level(node.module)
