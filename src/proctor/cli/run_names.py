"""The run that a command is about: the one that the user names, by a path or a part of its name, or the last one."""

from __future__ import annotations

from pathlib import Path

from proctor.errors import ConfigError


def chosen_run(name: Path | None) -> Path:
    """Return the directory of the run that the user means, and print which one that is unless it was given whole.

    Raises:
        ConfigError: there is no run, or several have this name.
    """
    from proctor.results.run_index import last_runs

    return _found(name) if name is not None else _told("The last run", last_runs(1)[0])


def compared_runs(names: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the runs that are compared, the first of which is the one that the others are compared with.

    Without a name they are the last two, of which the older one is the first; a single run is compared with the last
    other one.

    Raises:
        ConfigError: there are too few runs, or several have one of the names.
    """
    from proctor.results.run_index import last_runs, runs_here

    if len(names) > 1:
        return tuple(_found(name) for name in names)
    if not names:
        second, first = last_runs(2)
        return _told("The run before the last", first), _told("The last run", second)
    first = _found(names[0])
    other = next((run for run in runs_here() if run.resolve() != first.resolve()), None)
    if other is None:
        raise ConfigError(f"There is no run here to compare with {first}; name two: RUN_DIR RUN_DIR.")
    return first, _told("The last other run", other)


def _found(name: Path) -> Path:
    from proctor.results.run_index import find_run

    return run if (run := find_run(name)) == name else _told("The run", run)


def _told(what: str, run: Path) -> Path:
    """Print on standard error, beside the results, which run was chosen."""
    from rich.console import Console

    from proctor.reports.text import safe

    Console(stderr=True).print(safe(f"{what}: {run}", "dim"), soft_wrap=True)
    return run
