"""Programs that make and use an environment: uv, pip, and the environment's own interpreter.

They are given nothing of this process's surroundings that decides where Python finds or puts packages. Each runs in a
process group of its own, which ends when this process is interrupted.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from proctor.child.processes import signal_group
from proctor.security.redaction import redact_text

_ELSEWHERE = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX"),
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV"),
    *("UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_TARGET", "UV_PREFIX"),
)
"""Variables that would send packages to another place, or take them from there."""
_END_S = 5.0
"""Seconds that a program has to end by itself when it is interrupted."""

OnLine = Callable[[str], None]


def surroundings(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment variables without those that lead elsewhere, and with ``more``."""
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return {**kept, "PYTHONNOUSERSITE": "1", **(more or {})}


def run(command: Sequence[str | Path], directory: Path, on_line: OnLine, *, descriptors: Sequence[int] = ()) -> int:
    """Run a program to its end, and give its exit status.

    Args:
        command: the program and its arguments.
        directory: its working directory, which must be one in which nothing is imported by accident.
        on_line: is given each line of its output, without secrets.
        descriptors: open file descriptors that it inherits.

    Raises:
        OSError: the program cannot be started.
    """
    process = subprocess.Popen(  # noqa: S603 - uv, pip, or the interpreter that a recipe's environment has
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=directory,
        env=surroundings(),
        pass_fds=descriptors,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    with process:
        try:
            for line in process.stdout or ():
                on_line(redact_text(line.rstrip()))
            return process.wait()
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a program that still runs, and everything that it has started in its group."""
    if process.poll() is None:
        signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
    signal_group(process.pid, signal.SIGKILL)


def answer_of(command: Sequence[str | Path], limit_s: float, directory: Path | None = None) -> str | None:
    """Return what a program prints on standard output; None if it fails, or takes longer than ``limit_s`` seconds."""
    try:
        done = subprocess.run(  # noqa: S603 - an interpreter that is asked for its version, or uv
            command,
            check=True,
            cwd=directory or "/",
            env=surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=limit_s,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
