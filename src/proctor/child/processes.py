"""Starting a Python interpreter as a process group of its own, and how such a process ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from proctor.child import python_command
from proctor.child.other_python import environment_for


def start_interpreter(  # noqa: PLR0913 - what can be chosen of a process
    module: str,
    *arguments: str,
    output: IO[bytes],
    stdin: IO[bytes] | None = None,
    descriptors: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    interpreter: str | None = None,
) -> subprocess.Popen[bytes]:
    """Run ``module`` in a clean interpreter, in a session and a process group of its own.

    Args:
        module: the module, as for ``python -m``.
        arguments: what its ``sys.argv`` holds after its name.
        output: where standard output and standard error go.
        stdin: what it reads as standard input; nothing if None.
        descriptors: open file descriptors that it inherits, under the same numbers.
        environment: variables in addition to those of this process.
        interpreter: the path of another Python than this process's, to which Proctor is brought along.

    Raises:
        OSError: the process cannot be started.
    """
    variables = {**os.environ, **(environment or {})}
    return subprocess.Popen(  # noqa: S603 - an interpreter that Proctor or the user chose, and a module of ours
        python_command(module, *arguments, interpreter=interpreter),
        stdin=stdin or subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        start_new_session=True,
        env=variables if interpreter is None else environment_for(variables),
    )


def signal_group(pid: int, number: int) -> None:
    """Send a signal to the process group that ``pid`` leads, if there still is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def how_it_ended(status: int) -> str:
    """Say how a process ended, by the status that :class:`subprocess.Popen` gives: a signal's is negative."""
    return f"exited with status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"
