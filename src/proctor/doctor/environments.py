"""The checks of environments that ``proctor env`` has created: each starts, and passes the check of its recipe."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from proctor.doctor.findings import Finding, Status
from proctor.interpreters.checks import why_check_fails
from proctor.interpreters.environments import State, read_environment

LIMIT_S = 120.0


def environment(folder: str) -> Finding:
    """Check the environment in a folder."""
    found = read_environment(Path(folder))
    if found is None:
        return Finding(Status.ABSENT, f"{folder} was removed meanwhile")
    again = f"proctor env create {found.recipe}"
    if found.state is State.STALE:
        return Finding(
            Status.WARNING, "its recipe has changed, so it is not used", f"{again}; proctor env remove --stale"
        )
    if found.state is State.BROKEN:
        return Finding(Status.WARNING, f"the Python {found.facts.python} that it was made with is gone", again)
    began = perf_counter()
    if reason := why_check_fails(found, LIMIT_S):
        return Finding(Status.BROKEN, reason, f"proctor env remove {found.name}; {again}")
    passed = f"its check passed in {perf_counter() - began:.1f} s"
    return Finding(Status.OK, f"Python {found.facts.python}, {found.facts.megabytes} MB; {passed}")
