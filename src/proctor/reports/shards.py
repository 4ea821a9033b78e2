"""Sentences about a run that was started as a shard, and the steps that are left until all shards are one result."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from proctor.reports.text import count
from proctor.results.run_dir import RunDirectory, Shard
from proctor.results.run_info import RunInfo
from proctor.results.summary import Summary, load_summary


def shard_of(run: RunInfo) -> Shard | None:
    """Return the shard as which a run was started; None if it was started as a whole."""
    config = run.config.get("eval", {})
    shard = Shard(config.get("shard_id", 0), config.get("num_shards", 1))
    return None if shard.is_whole else shard


def shard_sentence(shard: Shard, summary: Summary, run: RunInfo) -> str:
    """State that the results of a shard are a part of those of the evaluation."""
    return (
        f"This is shard {shard.id} of {shard.count}, with {summary.overall.n_planned} of the "
        f"{count(len(run.specs), 'episode')} of the evaluation: no result yet."
    )


def steps_to_merge(directory: Path) -> Iterator[tuple[str, str]]:
    """Give labels and texts of what is left to do in a directory in which shards were run that are not merged yet."""
    if not directory.is_dir():
        return
    files = RunDirectory(directory)
    shards = [shard for shard in files.read_runs() if not shard.is_whole]
    if not shards or files.eval_info_file.exists():
        return
    where = shlex.quote(str(directory))
    if left := _unfinished(files, shards[-1].count):
        more = f", then {', '.join(map(str, left[1:]))}" if left[1:] else ""
        yield "Next", f"the same command with --output_dir={where} --eval.shard_id={left[0]}{more}"
        yield "Then", f"proctor merge {where}, with the directories of shards that were run elsewhere"
    else:
        yield "Next", f"proctor merge {where}"


def _unfinished(files: RunDirectory, n_shards: int) -> list[int]:
    """Find the shards of which episodes are missing and which no process runs now."""
    from proctor.engine.plan import shard_episodes  # which imports the engine, and hardly any run is a shard

    run, summary = load_summary(files.path)
    specs, missing = run.specs, set(summary.missing)
    return [
        number
        for number in range(n_shards)
        if any(specs[position] in missing for position in shard_episodes(len(specs), number, n_shards))
        and replace(files, shard=Shard(number, n_shards)).own_writer() is None
    ]
