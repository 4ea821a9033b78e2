"""The check of an environment: the interpreter starts, has what a worker needs, and runs what the recipe says."""

from __future__ import annotations

import subprocess
from pathlib import Path

from proctor.child.processes import how_it_ended
from proctor.interpreters.commands import surroundings
from proctor.interpreters.environments import Environment
from proctor.security.redaction import redact_text

_OF_A_WORKER = """
import msgspec, numpy
try:
    import gymnasium
except ImportError:
    import gym
"""


def check_command(interpreter: Path, check: str) -> list[str | Path]:
    """Give the command that runs the check of a recipe, after one of what a worker of Proctor imports."""
    return [interpreter, "-I", "-c", f"{_OF_A_WORKER}\n{check}"]


def why_check_fails(environment: Environment, limit_s: float) -> str:
    """Run the check of an environment; return "" if it passes, else the reason why it does not.

    If it takes longer than ``limit_s`` seconds, it is ended, which counts as a failure.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the environment's interpreter
            check_command(environment.interpreter, environment.facts.check),
            cwd=environment.folder,
            env=surroundings(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=limit_s,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"its check does not end within {limit_s:g} s"
    except OSError as error:
        return f"its interpreter does not start: {error.strerror}"
    if not done.returncode:
        return ""
    printed = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return redact_text(printed[-1]) if printed else f"its check {how_it_ended(done.returncode)}"
