"""The provenance of results: versions, machine, source revision; but no host name, no environment and no secrets."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proctor.errors import distribution_name

_SHA1_DIGITS = 40
_PATIENCE_S = 10
_SHA256_REPOSITORY = "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = sha256\n"
_EQUALITY = r"^core\.(filemode|symlinks|ignorecase|precomposeunicode|autocrlf|eol)$"


PROCTOR = "proctor"
"""The key of Proctor's version in every result, also in results from before the distribution had its present name."""


@dataclass(frozen=True, slots=True)
class GitState:
    """The revision of the repository in which the command was started.

    ``dirty`` is true if there are changes that are not committed, and None if git cannot determine it.
    """

    commit: str
    dirty: bool | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """The circumstances beyond the configuration on which the numbers may depend.

    ``packages`` maps a distribution to its version, which is None if it is not installed. Proctor's own version has the
    key :data:`PROCTOR`, under whatever name it is installed. ``gl_backend`` is the environment variable ``MUJOCO_GL``.
    """

    date: str
    python: str
    platform: str
    cpu: str
    usable_cores: int
    packages: dict[str, str | None]
    git: GitState | None
    gl_backend: str | None


def collect_provenance(distributions: Iterable[str], usable_cores: int) -> Provenance:
    """Record this machine, the revision of the working directory, and the versions of ``distributions``."""
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu_model(),
        usable_cores=usable_cores,
        packages={name: _version(name) for name in sorted(set(distributions))},
        git=_git_state(),
        gl_backend=os.environ.get("MUJOCO_GL"),
    )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution_name() if distribution == PROCTOR else distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _git_state() -> GitState | None:
    """Return the revision of the working directory; None without git or outside a repository."""
    places = ("--path-format=absolute", "--git-path", "objects", "--git-path", "index", "--show-toplevel")
    try:
        objects, index, top, commit = _git("rev-parse", *places, "HEAD").splitlines()
        return GitState(commit, _is_dirty(objects, index, top, commit))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _is_dirty(objects: str, index: str, top: str, commit: str) -> bool | None:
    """Return whether files that git tracks differ from the commit; None if git cannot determine it.

    A repository's configuration may name programs that git runs (``core.fsmonitor``, hooks, filters, drivers of diff),
    and the repository may be somebody else's. So git reads its objects and its index as those of an empty repository,
    which names none. Changes inside a submodule are ignored.
    """
    with tempfile.TemporaryDirectory() as empty:
        Path(empty, "refs").mkdir()
        Path(empty, "HEAD").write_text(f"{commit}\n")
        if len(commit) > _SHA1_DIGITS:
            Path(empty, "config").write_text(_SHA256_REPOSITORY)
        places = {"GIT_DIR": empty, "GIT_OBJECT_DIRECTORY": objects, "GIT_INDEX_FILE": index, "GIT_WORK_TREE": top}
        settings = ("core.fsmonitor=false", "core.hooksPath=/dev/null", *_settings())
        options = [word for setting in settings for word in ("-c", setting)]
        how = ("--quiet", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
        try:
            _git(*options, "diff", *how, commit, "--", **places)
        except subprocess.CalledProcessError as error:
            return True if error.returncode == 1 else None
        except subprocess.TimeoutExpired:
            return None
    return False


def _settings() -> list[str]:
    """Return the repository's settings that decide which files are equal; none of them names a program."""
    try:
        return [line.replace(" ", "=", 1) for line in _git("config", "--get-regexp", _EQUALITY).splitlines()]
    except subprocess.CalledProcessError:
        return []


def _git(*arguments: str, **places: str) -> str:
    # git takes no lock on the index, because a commit may be under way at this moment.
    command = ["git", "--no-optional-locks", *arguments]
    environment = {**os.environ, **places, "GIT_NO_LAZY_FETCH": "1"}
    where = places.get("GIT_WORK_TREE")
    answer = subprocess.run(  # noqa: S603 - fixed words
        command,
        cwd=where,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_PATIENCE_S,
    )
    return answer.stdout.strip()
