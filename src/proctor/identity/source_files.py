"""Code that no installed distribution owns, and the digest that stands for it in a result.

A distribution's version says which code it is. A script, a module on ``PYTHONPATH`` and a package that is installed
editable have no such version: their files may change between two sessions of one run. Proctor itself is never counted
among them, however it is installed: the protocol's version in every fingerprint stands for its code, and it is tested
that a change of the code moves no result under the same one.
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
_KNOWN = {*sys.stdlib_module_names, *sys.builtin_module_names, "proctor"}
"""Top-level modules whose version is known without looking: Python's, and ours."""


def python_files(folder: Path) -> Iterator[Path]:
    """The Python files in a folder and below that are not hidden, in an order of their own."""
    for file in sorted(folder.rglob("*.py")):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def digest_of_files(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the names, relative to the folder, and the contents of files, in their order.

    Raises:
        ConfigError: one of them cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{file} cannot be read ({error.strerror}), so nobody could tell whether it is the same code later; "
                "make it readable, or move it out of its package."
            ) from None
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def top_level(module: str) -> str:
    """The first part of a module's dotted name."""
    return module.partition(".")[0]


def is_known(module: str) -> bool:
    """Whether a version says which code a module is: it is Python's, ours, or installed by a distribution.

    ``__main__``, and a module that is not found, are not.
    """
    name = top_level(module)
    places = () if name in _KNOWN else _places(name)
    return name in _KNOWN or (bool(places) and all(owner(name, place) for place in places))


def owner_of(module: str) -> str | None:
    """The distribution that installed a module; None if there is none, or if it is installed editable."""
    name = top_level(module)
    return next((found for place in _places(name) if (found := owner(name, place))), None)


def unowned_code(modules: Iterable[str], distribution_names: Iterable[str] = ()) -> dict[str, str]:
    """The SHA-256 digest of code that has no version, by the name of its top-level module or package.

    That is what of ``modules`` no distribution owns, with whatever such code they import in turn, and the packages of
    those of ``distribution_names`` that are installed editable. Runs none of it.
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
    """Whether a top-level module could be imported, also from the working directory, where functions are looked for."""
    return bool(_places(module)) or Path(f"{module}.py").is_file() or Path(module).is_dir()


def unowned_places(modules: Iterable[str]) -> dict[str, str]:
    """The absolute directories in which top-level modules without a version were found."""
    names = {top_level(module) for module in modules}
    return {name: str(files[0][0].resolve()) for name in sorted(names) if (files := _unowned_files(name))}


def owner(name: str, place: Path) -> str | None:
    """The distribution that installed a top-level module which lies at ``place``."""
    return _owner(name, str(place.parent))


@cache
def _owner(name: str, location: str) -> str | None:
    for found in distributions(name=name, path=[location]):  # most are called as what they install
        if _installs(found, location):
            return str(found.metadata["Name"])
    return _owners_in(location).get(name)


@cache
def _owners_in(location: str) -> dict[str, str]:
    """The top-level modules of a folder of the import path, and what installed them; reads every distribution there."""
    return {
        module: str(found.metadata["Name"])
        for found in distributions(path=[location])
        if _installs(found, location)
        for module in _listed_modules(found)
    }


def _listed_modules(found: Distribution) -> set[str]:
    """Its top-level modules, as it lists them; ``Distribution.files`` would look each file up."""
    if listed := (found.read_text("top_level.txt") or "").split():
        return set(listed)
    lines = (found.read_text("RECORD") or "").splitlines()
    return {re.split(r"[/.,]", line, maxsplit=1)[0] for line in lines}


def _installs(found: Distribution, location: str) -> bool:
    """Whether a distribution that is found in a folder put its code there: a source tree may hold metadata too."""
    return _editable_folder(found) is None and (
        found.read_text("METADATA") is not None or Path(location).name in _SITES
    )


def _editable_folder(found: Distribution) -> Path | None:
    """Where the source tree of an editable install is; None if it is installed as usual."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        editable = origin.get("dir_info", {}).get("editable")
        return Path(unquote(urlsplit(origin["url"]).path)) if editable else None
    except (ValueError, AttributeError, KeyError):
        return None


def _editable_modules(name: str) -> list[str]:
    """The top-level modules of a distribution whose version says nothing; none if it is installed as usual."""
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        return []
    if (folder := _editable_folder(found)) is None and found.read_text("METADATA") is not None:
        return []
    names = {name.replace("-", "_"), *(found.read_text("top_level.txt") or "").split()}
    if folder is not None:  # not every build tool lists its modules
        names |= {file.parent.name for where in ("*", "src/*") for file in folder.glob(f"{where}/__init__.py")}
    return sorted(name for name in names - {"test", "tests"} if not is_known(name))


def _places(name: str) -> tuple[Path, ...]:
    """The file or the folders of a top-level module; empty if there are none."""
    if name in ("", "__main__"):
        return ()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # it is being imported, or was made by hand
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations:
        return tuple(Path(each) for each in spec.submodule_search_locations)
    return (Path(spec.origin),) if spec.has_location and spec.origin else ()


def _unowned_files(name: str) -> list[tuple[Path, Path]]:
    """The files of a top-level module without a version, each after the folder of the import path it was found in."""
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
    """The top-level modules that Python files import, wherever in them."""
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
