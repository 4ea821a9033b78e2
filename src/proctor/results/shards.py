"""Puts the shards of a run together, wherever they were run.

The merged directory holds the shards' journals as they are, with actions and videos, so that everything that reads a
run directory (a report, a replay, a resume) reads this one. Which record of an episode counts is decided in
:mod:`proctor.results.merge`, in no particular order; so merging again, or in another order, changes nothing.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from proctor.errors import ConfigError, MergeError, ResourceError
from proctor.results.eval_info import stream_eval_info, write_eval_info
from proctor.results.files import sync_directory
from proctor.results.journal import Journal, read_journals
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RUN_FILE, RunInfo, contradictions, differing, read_runs, write_run
from proctor.results.summary import Summary, load_summary
from proctor.results.videos import existing_videos


def merge_shards(directories: Sequence[Path], output: Path) -> Summary:
    """Put the runs in ``directories`` together in ``output``, which may be one of them, and write its
    ``eval_info.json``: a partial one where episodes are missing.

    Raises:
        ConfigError: one of them is no run directory.
        MergeError: they are not shards of one evaluation, or their journals contradict each other. Nothing is written.
        ResourceError: the output cannot be written.
    """
    every = list(dict.fromkeys(path.resolve() for path in [*directories, *([output] if _holds_run(output) else [])]))
    run = _common_run({directory: _runs_of(directory) for directory in every})
    journals = {directory: read_journals(directory) for directory in every}
    _require_own_results(run, journals)
    merge_journals(journal for found in journals.values() for journal in found)
    try:
        for directory in every:
            if directory != output.resolve():
                _copy(directory, output, run)
    except OSError as error:
        raise ResourceError(f"{output} cannot be written to: {error.strerror}.") from error
    write_run(output, _of_whole(run, output))
    whole, summary = load_summary(output)
    write_eval_info(output, stream_eval_info(summary, whole))
    return summary


def _holds_run(directory: Path) -> bool:
    return (directory / RUN_FILE).exists()


def _runs_of(directory: Path) -> Mapping[str, RunInfo]:
    runs = read_runs(directory)
    if RUN_FILE not in runs:
        raise ConfigError(f"{directory} is not a run directory: it has no {RUN_FILE}.")
    return runs


def _common_run(runs: Mapping[Path, Mapping[str, RunInfo]]) -> RunInfo:
    """What all of them are an evaluation of; the machine and command that stand in it are one shard's."""
    wholes = {directory: found[RUN_FILE] for directory, found in runs.items()}
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


def _require_own_results(run: RunInfo, journals: Mapping[Path, Sequence[Journal]]) -> None:
    """Refuse journals whose own headers say that they hold another evaluation's results, or several of which nobody can
    tell that they do not, unless that was allowed.
    """
    if run.config.get("eval", {}).get("allow_mismatch"):
        return
    reason = run.fingerprint.get("unidentified")
    if reason and sum(bool(journal.episodes) for found in journals.values() for journal in found) > 1:
        raise MergeError(f"Whether these are shards of one evaluation is not known, because {reason}.")
    for directory, found in journals.items():
        for header in (header for journal in found for header in journal.measured_by):
            if differences := contradictions(header.fingerprint, run.fingerprint):
                raise MergeError(_not_the_same(directory, directory / RUN_FILE, differences))


def _of_whole(run: RunInfo, output: Path) -> RunInfo:
    evaluation = {**run.config.get("eval", {}), "shard_id": 0, "num_shards": 1}
    return replace(run, config={**run.config, "eval": evaluation, "output_dir": str(output)})


def _not_the_same(one: Path, other: Path, found: Mapping[str, tuple[str, str]]) -> str:
    lines = [f"  {name}: {before} in {one}, {after} in {other}" for name, (before, after) in found.items()]
    return "\n".join(["These are not shards of one evaluation:", *lines])


def _copy(source: Path, target: Path, run: RunInfo) -> None:
    """Journals with their actions, what is known of each shard, and videos; what is there already stays."""
    target.mkdir(parents=True, exist_ok=True)
    for journal in sorted(source.glob("journal*.jsonl")):
        _copy_journal(journal, target)
    for path in sorted(source.glob("run_*.json")):
        _copy_file(path, target / path.name)
    for video in existing_videos(source, run.specs).values():
        _copy_file(source / video, target / video)
    sync_directory(target)


def _copy_journal(journal: Path, target: Path) -> None:
    """Under its name, or one that its content gives it where another has that."""
    content = journal.read_bytes()
    stem = journal.stem
    if (there := target / journal.name).exists() and there.read_bytes() != content:
        stem = f"{journal.stem}_{zlib.crc32(content):08x}"
    actions = ".actions.bin"
    if (source := journal.with_suffix(actions)).exists():
        _copy_file(source, target / f"{stem}{actions}")  # before the lines that refer to it
    if not (whole := target / f"{stem}.jsonl").exists():
        with _unfinished(whole) as path:
            path.write_bytes(content)


def _copy_file(source: Path, target: Path) -> None:
    if not target.exists():
        with _unfinished(target) as path:
            shutil.copyfile(source, path)


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """A file beside ``target`` that takes its name once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.tmp")
    yield path
    path.replace(target)
