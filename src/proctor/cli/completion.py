"""``proctor completion``."""

from __future__ import annotations

from typing import Literal

from cyclopts.completion.detect import ShellDetectionError, detect_shell
from rich.console import Console

from proctor.cli.complete import SCRIPTS
from proctor.errors import ConfigError


def completion_command(shell: Literal["bash", "zsh", "fish"] | None = None, /) -> int:
    """Install completion for your shell: of commands, options, types, tasks and runs.

    Parameters
    ----------
    shell
        The shell; the one from which the command is started if not given.
    """
    from proctor.cli.main import app  # main loads this module

    try:
        chosen = shell or detect_shell()
    except ShellDetectionError:
        chosen = "powershell"
    if chosen == "powershell":  # for which there is no script
        raise ConfigError("The shell cannot be detected; name it: proctor completion bash, zsh or fish.")
    path = app.install_completion(shell=chosen)
    path.write_text(SCRIPTS[chosen], encoding="utf-8")
    Console().print(f"Completion is in {path}; it works in the next shell you open.", soft_wrap=True)
    return 0
