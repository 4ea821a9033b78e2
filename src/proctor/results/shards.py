"""Puts the shards of a run together, from one directory or several.

The merged directory holds the shards' journals as they are, with actions and videos, so that everything that reads a
run directory (a report, a replay, a resume) reads the merged one too. :mod:`proctor.results.merge` decides which record
of an episode counts, whatever the order of the journals; so merging again, or in another order, changes nothing.
"""

from __future__ import annotations

import os.path
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from proctor.errors import MergeError, ResourceError
from proctor.machine.files import open_to_read, read_file
from proctor.results.eval_info import stream_eval_info
from proctor.results.files import sync_directory
from proctor.results.fingerprint import contradictions, differing
from proctor.results.journal import Journal
from proctor.results.journal_records import actions_file_of
from proctor.results.merge import merge_journals
from proctor.results.run_dir import WHOLE, RunDirectory, Shard
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, load_summary


def merge_shards(directories: Sequence[Path], output: Path) -> Summary:
    """Put the runs in ``directories`` together in ``output``, which may be one of them, and write its results.

    The results are partial if episodes are missing.

    Raises:
        ConfigError: one of the directories is not a run directory.
        MergeError: they are not shards of one evaluation, or their journals contradict each other. Nothing is written.
        ResourceError: the output cannot be written.
    """
    merged = RunDirectory(output)
    sources = [*directories, *([output] if merged.holds_run else [])]
    every = [RunDirectory(path) for path in dict.fromkeys(map(_real, sources))]
    run = _common_run({directory.path: _runs_of(directory) for directory in every})
    journals = {directory: directory.read_journals() for directory in every}
    _require_own_results(run, journals)
    merge_journals(journal for found in journals.values() for journal in found)
    try:
        for directory in every:
            if directory.path != _real(output):
                _copy(directory, output, run)
    except OSError as error:
        raise ResourceError(f"{output} cannot be written to: {error.strerror or error}.") from error
    merged.write_run(run.of_all_shards(output_dir=str(output)))
    whole, summary = load_summary(output)
    merged.write_eval_info(stream_eval_info(summary, whole))
    return summary


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # pathlib raises if links go round


def _runs_of(directory: RunDirectory) -> Mapping[Shard, RunInfo]:
    directory.require_run()
    return directory.read_runs()


def _common_run(runs: Mapping[Path, Mapping[Shard, RunInfo]]) -> RunInfo:
    """Give what all directories are an evaluation of; the machine and the command in it are those of one shard."""
    wholes = {directory: found[WHOLE] for directory, found in runs.items()}
    (first, one), *others = wholes.items()
    for directory, other in others:
        if found := differing(one.fingerprint, other.fingerprint):
            raise MergeError(_not_the_same(first, directory, found))
        if one.plan != other.plan:
            raise MergeError(f"{first} and {directory} are not shards of one run: they plan different episodes.")
    opened = [
        (directory, run.opened_policy)
        for directory, found in runs.items()
        for run in found.values()
        if run.opened_policy is not None
    ]
    for directory, policy in opened[1:]:
        if found := differing(opened[0][1], policy):
            raise MergeError(_not_the_same(opened[0][0], directory, found))
    chosen = min(wholes.values(), key=msgspec.json.encode)
    return replace(chosen, opened_policy=opened[0][1] if opened else None)


def _require_own_results(run: RunInfo, journals: Mapping[RunDirectory, Sequence[Journal]]) -> None:
    """Refuse journals whose headers name another evaluation, and several journals of an evaluation that cannot be
    recognised, unless the user allowed that.
    """
    if run.may_mix:
        return
    reason = run.unidentified
    if reason and sum(bool(journal.episodes) for found in journals.values() for journal in found) > 1:
        raise MergeError(f"Whether these are shards of one evaluation is not known, because {reason}.")
    for directory, found in journals.items():
        for header in (header for journal in found for header in journal.measured_by):
            if differences := contradictions(header.fingerprint, run.fingerprint):
                raise MergeError(_not_the_same(directory.path, directory.run_file, differences))


def _not_the_same(one: Path, other: Path, found: Mapping[str, tuple[str, str]]) -> str:
    lines = [f"  {name}: {before} in {one}, {after} in {other}" for name, (before, after) in found.items()]
    return "\n".join(["These are not shards of one evaluation:", *lines])


def _copy(source: RunDirectory, target: Path, run: RunInfo) -> None:
    """Copy journals with their actions, the files of shards, and videos; a file that exists in ``target`` stays."""
    target.mkdir(parents=True, exist_ok=True)
    for journal in source.journal_files():
        _copy_journal(journal, target)
    for path in source.run_files_of_shards():
        _copy_file(path, target / path.name)
    for video in source.existing_videos(run.specs).values():
        _copy_file(source.path / video, target / video)
    sync_directory(target)


def _copy_journal(journal: Path, target: Path) -> None:
    """Copy a journal under its name; if another journal has that name, its checksum is added to the name."""
    content = read_file(journal)
    copy = target / journal.name
    if copy.exists() and copy.read_bytes() != content:
        copy = copy.with_stem(f"{journal.stem}_{zlib.crc32(content):08x}")
    if (actions := actions_file_of(journal)).exists():
        _copy_file(actions, actions_file_of(copy))  # before the lines that refer to them
    if not copy.exists():
        with _unfinished(copy) as path:
            path.write_bytes(content)


def _copy_file(source: Path, target: Path) -> None:
    if not target.exists():
        with open_to_read(source), _unfinished(target) as path:
            shutil.copyfile(source, path)


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """Give the path of a file beside ``target``; the file gets the name ``target`` once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.tmp")
    path.unlink(missing_ok=True)  # a link that somebody has put there would be written through
    yield path
    path.replace(target)
