"""Where results come from: versions, machine, source revision. Never who: no host name, no environment, no secrets."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REDACTED = "<redacted>"

# "tokenizer" is in the configuration of many a policy, "success_key" in that of environments; both are no secrets.
_SECRET_NAME = re.compile(r"token(?!i[sz])|(?<!success[_-])key|secret|password", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GitState:
    """The revision of the code the command was started in; ``dirty`` with changes that are not committed."""

    commit: str
    dirty: bool


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


def redact(value: Any, *, secret: bool = False) -> Any:
    """``value`` with every text under a name like ``*token*``, ``*key*``, ``*secret*`` or ``*password*`` replaced.

    Numbers, booleans and None stay: ``n_tokens`` is no secret.
    """
    if isinstance(value, dict):
        return {
            name: redact(child, secret=secret or bool(_SECRET_NAME.search(str(name)))) for name, child in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(child, secret=secret) for child in value]
    return REDACTED if secret and isinstance(value, str) and value else value


def redact_command(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line with the values of such flags replaced, as ``--name=value`` and as ``--name value``."""
    shown: list[str] = []
    for position, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        before = arguments[position - 1] if position else ""
        if equals and _SECRET_NAME.search(name):
            shown.append(f"{name}={REDACTED}")
        elif before.startswith("--") and "=" not in before and _SECRET_NAME.search(before):
            shown.append(REDACTED)
        else:
            shown.append(argument)
    return tuple(shown)


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
    try:
        commit = _git("rev-parse", "HEAD")
        return GitState(commit, dirty=bool(_git("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    # No lock is taken on the index: somebody may be committing at this moment.
    command = ["git", "--no-optional-locks", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - fixed words
    return answer.stdout.strip()
