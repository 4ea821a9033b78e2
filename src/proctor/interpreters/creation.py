"""The creation of an environment from a recipe: made, installed, checked, and only then marked as complete."""

from __future__ import annotations

import ctypes
import errno
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from time import monotonic

import msgspec

from proctor.errors import ConfigError, ProctorError, ResourceError
from proctor.interpreters.checks import check_command
from proctor.interpreters.commands import run
from proctor.interpreters.environments import (
    LOG,
    MARKER,
    Environment,
    Facts,
    State,
    delete,
    environments_folder,
    folder_of,
    incomplete,
    interpreter_in,
    lock_of,
    read_environment,
    size_of,
)
from proctor.interpreters.installers import Command, Installer
from proctor.interpreters.pythons import Python
from proctor.interpreters.recipe import Recipe

_PROMPT = "$ "
_SHOWN_LINES = 12
_KEPT_LINES = 5000
_FULL_DISK = ("No space left on device", "Disk quota exceeded", f"os error {errno.ENOSPC}")

OnProgress = Callable[[str], None]


class CreationError(ProctorError):
    """An environment could not be created, and nothing is left of it. ``hint`` has the last lines of the program that
    failed.
    """

    exit_code = 2


def require_libraries(recipe: Recipe) -> None:
    """Look for the system's libraries that a recipe needs.

    Raises:
        ConfigError: some are missing; the message gives the command that installs them.
    """
    missing = {library: package for library, package in recipe.system_libraries.items() if not _can_be_loaded(library)}
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise ConfigError(
            f"'{recipe.name}' needs {', '.join(missing)}, which this machine lacks; install what has it (Debian, "
            f"Ubuntu: apt-get install {packages})."
        )


def _can_be_loaded(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class Creation:
    """One creation of the environment of a recipe.

    Args:
        recipe: what it is made from.
        installer: how packages are installed.
        python: the Python that it has.
        on_progress: is given a sentence for each step.
        on_line: is given each line that a program prints.
    """

    def __init__(
        self,
        recipe: Recipe,
        installer: Installer,
        python: Python,
        on_progress: OnProgress,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._recipe = recipe
        self._installer = installer
        self._python = python
        self._on_progress = on_progress
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._folder = folder_of(recipe)
        self._descriptors: tuple[int, ...] = ()

    def environment(self) -> Environment:
        """Return the environment, which is created if there is none. Another creation of the same name is waited for.

        Raises:
            ConfigError: a library of the system is missing.
            CreationError: a package cannot be installed, or the check fails.
            ResourceError: the disk is full.
        """
        try:
            environments_folder().mkdir(parents=True, exist_ok=True)
            with lock_of(self._recipe.name, self._on_progress) as lock:
                self._descriptors = (lock.descriptor,)
                return self._existing() or self._created()
        except OSError as error:
            raise self._refusal(error) from error

    def _existing(self) -> Environment | None:
        found = read_environment(self._folder)
        return found if found is not None and found.state is State.READY else None

    def _created(self) -> Environment:
        if (broken := read_environment(self._folder)) is not None:
            delete(broken)
        for leftover in incomplete(self._recipe.name):
            shutil.rmtree(leftover)
        require_libraries(self._recipe)
        self._require_disk()
        try:
            self._make()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        made = read_environment(self._folder)
        assert made is not None
        return made

    def _require_disk(self) -> None:
        free = shutil.disk_usage(environments_folder()).free >> 20
        if free < self._recipe.disk_mb:
            raise ResourceError(
                f"'{self._recipe.name}' takes {self._recipe.disk_mb} MB, and only {free} MB are free in "
                f"{environments_folder()}; make room, or put environments elsewhere by XDG_CACHE_HOME."
            )

    def _make(self) -> None:
        began = monotonic()
        self._step(f"Making an environment with {self._python}", self._installer.make(self._python, self._folder))
        self._install(self._recipe.requirements, self._recipe.constraints, "")
        if self._recipe.packages_without_dependencies:
            self._install(self._recipe.packages_without_dependencies, None, " without what they ask for")
        self._step("Checking it", check_command(interpreter_in(self._folder), self._recipe.check))
        (self._folder / LOG).write_text("\n".join(self._lines), encoding="utf-8")
        facts = Facts(
            own_recipe=str(self._recipe.path) if self._recipe.is_own else "",
            benchmarks=self._recipe.benchmarks,
            env=self._recipe.env,
            check=self._recipe.check,
            python=self._python.version,
            installer=str(self._installer),
            created=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=round(monotonic() - began, 1),
            megabytes=size_of(self._folder),
        )
        unfinished = self._folder / f"{MARKER}.part"
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=2))
        unfinished.rename(self._folder / MARKER)

    def _install(self, packages: Sequence[str], constraints: Sequence[str] | None, how: str) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="proctor-", suffix=".txt", encoding="utf-8") as file:
            file.write("\n".join(constraints or ()))
            file.flush()
            limits = None if constraints is None else Path(file.name)
            what = f"Installing {_packages(len(packages))}{how} with {self._installer}"
            command = self._installer.install(self._folder, packages, limits)
            self._step(what, command, self._installer.when_it_fails)

    def _step(self, what: str, command: Command, advice: str = "") -> None:
        self._on_progress(what)
        began = monotonic()
        self._lines.append(f"{_PROMPT}{' '.join(map(str, command))}")
        status = run(command, environments_folder(), self._take, descriptors=self._descriptors)
        if status:
            raise self._failure(what, status, advice)
        self._on_progress(f"  {monotonic() - began:.1f} s, {size_of(self._folder)} MB")

    def _take(self, line: str) -> None:
        self._lines.append(line)
        self._on_line(line)

    def _failure(self, what: str, status: int, advice: str) -> ProctorError:
        printed = [*takewhile(lambda line: not line.startswith(_PROMPT), reversed(self._lines))][::-1]
        if any(sign in line for line in printed for sign in _FULL_DISK):
            return self._full_disk()
        error = CreationError(
            f"'{self._recipe.name}' is not created: {what[0].lower()}{what[1:]} failed with status {status}. The last "
            "lines of the program that failed are:"
        )
        error.hint = "\n".join([*printed[-_SHOWN_LINES:], advice]).strip()
        return error

    def _refusal(self, error: OSError) -> ProctorError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._full_disk()
        return CreationError(f"'{self._recipe.name}' is not created: {error.strerror}: {error.filename}.")

    def _full_disk(self) -> ProctorError:
        return ResourceError(
            f"'{self._recipe.name}' is not created, because a disk is full: it takes {self._recipe.disk_mb} MB in "
            f"{environments_folder()}, and as much again while packages are downloaded."
        )


def _packages(n: int) -> str:
    return "1 package" if n == 1 else f"{n} packages"
