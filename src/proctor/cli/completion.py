"""``proctor completion``."""

from __future__ import annotations

from typing import Literal

from cyclopts.completion.detect import ShellDetectionError
from rich.console import Console

from proctor.errors import ConfigError


def completion_command(shell: Literal["bash", "zsh", "fish"] | None = None, /) -> int:
    """Install completion of commands and options for your shell.

    Parameters
    ----------
    shell
        The shell; the one from which the command is started if not given.
    """
    from proctor.cli.main import app  # main loads this module

    try:
        path = app.install_completion(shell=shell)
    except ShellDetectionError:
        raise ConfigError("The shell cannot be detected; name it: proctor completion bash, zsh or fish.") from None
    Console().print(f"Completion is in {path}; it works in the next shell you open.", soft_wrap=True)
    return 0
