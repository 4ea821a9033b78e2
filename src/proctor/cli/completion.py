"""``proctor completion``."""

from __future__ import annotations

from typing import Literal


def completion_command(shell: Literal["bash", "zsh", "fish"] | None = None, /) -> int:
    """Install completion of commands and options for your shell.

    Parameters
    ----------
    shell
        The shell; the one this is started from if not given.
    """
    from cyclopts.completion.detect import ShellDetectionError
    from rich.console import Console

    from proctor.cli.main import app
    from proctor.errors import ConfigError

    try:
        path = app.install_completion(shell=shell)
    except ShellDetectionError:
        raise ConfigError(
            "Which shell this is cannot be told; name it: proctor completion bash, zsh or fish."
        ) from None
    Console().print(f"Completion is in {path}; it works in the next shell you open.", soft_wrap=True)
    return 0
