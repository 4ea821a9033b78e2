"""Where results come from: versions, machine, source revision. Never who: no host name, no environment, no secrets."""

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

_SHA1_DIGITS = 40
_PATIENCE_S = 10
_SHA256_REPOSITORY = "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = sha256\n"
_EQUALITY = r"^core\.(filemode|symlinks|ignorecase|precomposeunicode|autocrlf|eol)$"


@dataclass(frozen=True, slots=True)
class GitState:
    """The revision of the code the command was started in; ``dirty`` with changes that are not committed, None if git
    cannot tell.
    """

    commit: str
    dirty: bool | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the numbers may depend on beyond the configuration.

    ``packages`` maps a distribution to its version, None where it is not installed. ``gl_backend`` is ``MUJOCO_GL``.
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
    """Look at this machine and at the installed ``distributions``."""
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
        return importlib.metadata.version(distribution)
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
    """Of the working directory; None without git or outside a repository."""
    places = ("--path-format=absolute", "--git-path", "objects", "--git-path", "index", "--show-toplevel")
    try:
        objects, index, top, commit = _git("rev-parse", *places, "HEAD").splitlines()
        return GitState(commit, _is_dirty(objects, index, top, commit))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _is_dirty(objects: str, index: str, top: str, commit: str) -> bool | None:
    """Whether files that git tracks differ from the commit; None if git cannot tell.

    A repository's configuration may name programs that git runs (``core.fsmonitor``, hooks, filters, drivers of diff),
    and the repository may be somebody else's. So git reads its objects and its index as those of an empty repository,
    which names none. What is changed inside a submodule is not looked at.
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
    """Those of the repository that say which files are equal; each is a word, and none names a program."""
    try:
        return [line.replace(" ", "=", 1) for line in _git("config", "--get-regexp", _EQUALITY).splitlines()]
    except subprocess.CalledProcessError:
        return []


def _git(*arguments: str, **places: str) -> str:
    # No lock is taken on the index: somebody may be committing at this moment.
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
