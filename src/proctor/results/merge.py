"""Which record of an episode counts: the rule by which runs are resumed and shards put together.

An episode is identified by suite, task and index. Where it has more than one record:

- A completed episode (success or failure) beats an error, and nothing replaces it. An error is run again on resume.
- Of two errors in one journal the later one counts: it is the latest word on why.
- Two completed records must say the same, apart from how long it took and what went wrong on the way
  (:func:`canonical`). If they do not, one of them is not what it claims to be, and no rule can say which: MergeError.

The result does not depend on the order in which journals are given, and merging them twice changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import msgspec

from proctor.errors import MergeError
from proctor.results.journal import EpisodeRecord, Journal
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, Timings


class EpisodeKey(NamedTuple):
    """What identifies an episode within one evaluation, in the order of the plan."""

    suite: str
    task_id: int
    episode_index: int


def key_of(spec: EpisodeSpec) -> EpisodeKey:
    return EpisodeKey(spec.suite, spec.task_id, spec.episode_index)


def canonical(result: EpisodeResult) -> EpisodeResult:
    """``result`` without what may differ from run to run: timings, and the attempts that did not succeed."""
    return replace(result, errors=(), timings=Timings())


def merge_journals(journals: Iterable[Journal]) -> dict[EpisodeKey, EpisodeRecord]:
    """The record that counts for each episode, over all journals.

    Raises:
        MergeError: two completed records of one episode contradict each other; shows both.
    """
    candidates: dict[EpisodeKey, list[EpisodeRecord]] = defaultdict(list)
    for journal in journals:
        for key, record in _of_one_journal(journal.episodes).items():
            candidates[key].append(record)
    # Sorted by content, so that the outcome is the same whichever journal came first.
    return {key: reduce(_settle, sorted(candidates[key], key=_content)) for key in sorted(candidates)}


def remaining(specs: Sequence[EpisodeSpec], kept: Mapping[EpisodeKey, EpisodeRecord]) -> list[EpisodeSpec]:
    """What of the plan is still to run: everything without a completed episode, errors included."""
    return [spec for spec in specs if (record := kept.get(key_of(spec))) is None or _is_error(record)]


def _of_one_journal(records: Iterable[EpisodeRecord]) -> dict[EpisodeKey, EpisodeRecord]:
    kept: dict[EpisodeKey, EpisodeRecord] = {}
    for record in records:
        key = key_of(record.result.spec)
        kept[key] = _settle(kept[key], record) if key in kept else record
    return kept


def _settle(before: EpisodeRecord, after: EpisodeRecord) -> EpisodeRecord:
    if _is_error(before):
        return after
    if not _is_error(after) and canonical(before.result) != canonical(after.result):
        raise MergeError(
            f"Two results of {before.result.spec} contradict each other:\n"
            f"  {before.actions_file.parent}: {_describe(before.result)}\n"
            f"  {after.actions_file.parent}: {_describe(after.result)}\n"
            "They come from different evaluations, or from an environment that is not deterministic; "
            "leave one of the journals out."
        )
    return before


def _is_error(record: EpisodeRecord) -> bool:
    return record.result.outcome is Outcome.ERROR


def _content(record: EpisodeRecord) -> bytes:
    return msgspec.json.encode([record.result, record.actions])


def _describe(result: EpisodeResult) -> str:
    return (
        f"{result.outcome} with seed {result.spec.seed}, initial state {result.spec.init_state_id}, "
        f"sum of rewards {result.sum_reward}, {result.length} steps, state {result.final_state_hash}"
    )
