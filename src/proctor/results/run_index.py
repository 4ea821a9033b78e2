"""Finds the run that a user means by no name, or by a part of one.

The runs of a working directory are those in its folders ``outputs/eval`` and ``outputs/sweep`` and directly in
``outputs``, and those elsewhere that were begun from it or lie below it. Where the others lie is written down when they
begin: a small file for each run in the user's state folder (``~/.local/state/proctor/runs``). Such a file is written at
once or not at all, so that no process waits for another; a file whose run is gone is passed over. If the state folder
cannot be written to, only the folders are searched.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import get_ident

import msgspec

from proctor.errors import ConfigError, ResourceError, did_you_mean
from proctor.machine.home import lasting_state
from proctor.results.files import replacing
from proctor.results.run_dir import RESULT_FILE, RUN_FILE, RunDirectory

EVALUATIONS = Path("outputs/eval")
"""The folder of runs for which the user names no directory."""
LATEST = "latest"
"""The name of the link in :data:`EVALUATIONS` that leads to the run there that began last."""

_SEARCHED = (EVALUATIONS, Path("outputs/sweep"))
_LAST_RUN = (LATEST, "last")
_DEEPEST = 6
_MOST_RECORDS = 1000
_MOST_CANDIDATES = 8


class _Place(msgspec.Struct):
    """The directory of a run, and the working directory of the process that began it."""

    directory: str
    started_in: str


# ----------------------------------------------------------------------------------------------------- when runs begin


def register_run(directory: Path) -> None:
    """Write down that a run in ``directory`` begins now. A failure is ignored: no run depends on being found."""
    with suppress(OSError, ResourceError, ValueError):
        if (folder := _records()) is not None:
            place = _Place(str(directory.absolute()), str(Path.cwd()))
            with replacing(folder / f"{_digest(place.directory)}.json") as file:
                file.write(msgspec.json.encode(place))
            _remove_oldest(folder)
    if directory.absolute().is_relative_to(EVALUATIONS.absolute()):
        _link_latest(directory)


def unregister_run(directory: Path) -> None:
    """Take back that a run began in ``directory``, which has been removed. A failure is ignored."""
    with suppress(OSError):
        if (folder := _records()) is not None:
            (folder / f"{_digest(str(directory.absolute()))}.json").unlink(missing_ok=True)
        link = EVALUATIONS / LATEST
        if link.is_symlink() and not link.exists():
            if runs := runs_here(EVALUATIONS):
                _link_latest(runs[0])
            else:
                link.unlink()
            _remove_empty(EVALUATIONS)


def replace_link(link: Path, target: Path) -> None:
    """Make ``link`` a symbolic link to ``target``; a link that is there is replaced at once.

    Raises:
        OSError: the link cannot be made.
    """
    temporary = link.with_name(f".{link.name}.{os.getpid()}.{get_ident()}.tmp")
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def _link_latest(directory: Path) -> None:
    """Make the link ``latest`` lead to a run below its folder; a file or folder of that name is left alone."""
    link = EVALUATIONS.absolute() / LATEST
    with suppress(OSError):
        if link.is_symlink() or not link.exists():
            replace_link(link, directory.absolute().relative_to(link.parent))


def _remove_oldest(folder: Path) -> None:
    """Keep the number of files in the state folder small."""
    if len(files := sorted(folder.glob("*.json"), key=_modified)) > _MOST_RECORDS:
        for file in files[: len(files) - _MOST_RECORDS // 2]:
            file.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those above it, up to the working directory, as far as they are empty."""
    with suppress(OSError):
        os.removedirs(folder)


# -------------------------------------------------------------------------------------------------------- finding runs


def runs_here(folder: Path | None = None) -> list[Path]:
    """Find the runs of the working directory, or those below ``folder``; the one that began last comes first."""
    found = [run for place in ([folder] if folder else _SEARCHED) for run in _runs_below(place)]
    if folder is None:
        found += [file.parent for file in EVALUATIONS.parent.glob(f"*/{RUN_FILE}")]
        known = {path.absolute() for path in found}
        found += [_relative(path) for path in _registered(Path.cwd()) if path not in known]
    times = {path: _began(path) for path in found}
    return sorted(times, key=lambda path: (times[path], str(path)), reverse=True)


def last_runs(n: int) -> list[Path]:
    """Return the ``n`` runs that began last, the last one first.

    Raises:
        ConfigError: there are fewer runs.
    """
    if len(found := runs_here()) < n:
        there = "only one run" if found else "no run"
        raise ConfigError(f"There is {there} in {EVALUATIONS}, or begun from here elsewhere; name RUN_DIR{_n_runs(n)}.")
    return found[:n]


def find_run(name: Path) -> Path:
    """Find the run that a user means: by its path, by a part of its path that no other run has, or by ``latest``.

    If there is nothing of that name, a path is returned as it is, so that its reader reports what is wrong with it.

    Raises:
        ConfigError: several runs have the name, which the message lists, or no run has it.
    """
    if _holds_results(name):
        return without_latest(name)
    runs = runs_here()
    if str(name) in _LAST_RUN and runs:
        return runs[0]
    matching = _matching(str(name), runs)
    if len(matching) > 1:
        raise ConfigError(
            f"'{name}' is in the names of {len(matching)} runs; give more of one name:\n{_listed(matching)}"
        )
    if runs and not matching and not name.exists() and len(name.parts) == 1:
        hint = did_you_mean(str(name), [run.name for run in runs])
        raise ConfigError(f"No run here has '{name}' in its name.{hint}")
    return matching[0] if matching else name


def _holds_results(path: Path) -> bool:
    try:
        return path.is_file() or any((path / file).exists() for file in (RUN_FILE, RESULT_FILE))
    except OSError:  # it may not be looked into, which its reader will say
        return True


def without_latest(directory: Path) -> Path:
    """Return the directory to which the link ``latest`` leads if ``directory`` is that link, else ``directory``.

    The link leads elsewhere as soon as another run begins, so nothing is written through it.
    """
    if directory.name == LATEST and directory.is_symlink():
        return directory.parent / directory.readlink()
    return directory


def _matching(name: str, runs: Sequence[Path]) -> list[Path]:
    """Choose the runs that have this name, else those whose name contains it, else those whose path contains it."""
    wanted = name.lower().rstrip("/")
    tests = (
        lambda run: run.name.lower() == wanted,
        lambda run: wanted in run.name.lower(),
        lambda run: wanted in str(run).lower(),
    )
    return next(filter(None, ([run for run in runs if test(run)] for test in tests)), [])


def _listed(runs: Sequence[Path]) -> str:
    more = len(runs) - _MOST_CANDIDATES
    return "\n".join([*(f"  {run}" for run in runs[:_MOST_CANDIDATES]), *([f"  and {more} more"] if more > 0 else [])])


def _runs_below(folder: Path) -> Iterator[Path]:
    """Find run directories; links are not followed, and nothing is looked for inside a run."""
    for place, folders, files in os.walk(folder):
        if RUN_FILE in files:
            yield Path(place)
        hidden = {name for name in folders if name.startswith(".")}
        is_end = RUN_FILE in files or len(Path(place).relative_to(folder).parts) >= _DEEPEST
        folders[:] = [] if is_end else [name for name in folders if name not in hidden]


def _registered(here: Path) -> Iterator[Path]:
    """Find the runs that were begun from ``here``, or lie below it, by the files in the state folder."""
    folder = _records()
    for file in folder.glob("*.json") if folder else ():
        with suppress(OSError, msgspec.MsgspecError, ValueError):
            place = msgspec.json.decode(file.read_bytes(), type=_Place)
            directory = Path(place.directory)
            is_ours = place.started_in == str(here) or directory.is_relative_to(here)
            if is_ours and (directory / RUN_FILE).is_file():
                yield directory


def _began(directory: Path) -> int:
    """Return when the last session of a run began, in nanoseconds: every session writes its description anew."""
    runs = RunDirectory(directory)
    return max(map(_modified, [runs.run_file, *runs.run_files_of_shards()]))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # it has been removed meanwhile
        return 0


def _relative(path: Path) -> Path:
    """Shorten the path of a run below the working directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path


def _records() -> Path | None:
    state = lasting_state()
    return None if state is None else state / "runs"


def _digest(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:24]


def _n_runs(n: int) -> str:
    return "" if n == 1 else f", {n} of them"
