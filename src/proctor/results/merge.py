"""The rule that decides which record of an episode counts when a run is resumed or shards are put together.

An episode is identified by suite, task and index. If it has more than one record:

- A completed episode (success, failure, unknown) beats an error, and nothing replaces it. An error is run again on
  resume.
- Of two errors in one journal the later one counts: it holds the errors of the latest attempts.
- Two completed records must be equal, apart from durations and from attempts that failed before (:func:`canonical`).
  If they differ, one of them belongs to another evaluation, and no rule can decide which: MergeError.

The result does not depend on the order in which journals are given, and merging them twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from proctor.errors import MergeError
from proctor.results.journal import EpisodeRecord, Journal
from proctor.results.journal_records import EpisodeKey, key_of
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, Timings


def canonical(result: EpisodeResult) -> EpisodeResult:
    """Remove what may differ from run to run from ``result``: timings, and the attempts that failed."""
    return msgspec.structs.replace(result, errors=(), timings=Timings())


def merge_journals(journals: Iterable[Journal]) -> dict[EpisodeKey, EpisodeRecord]:
    """Find the record that counts for each episode, over all journals, in the order of the plan.

    Raises:
        MergeError: two completed records of one episode contradict each other; shows both.
    """
    kept: dict[EpisodeKey, EpisodeRecord] = {}
    for journal in journals:
        for key, record in _of_one_journal(journal.episodes).items():
            if (before := kept.setdefault(key, record)) is not record:
                # The two are sorted by content, so that the outcome does not depend on the order of the journals.
                kept[key] = _settle(*sorted([before, record], key=_content))
    return {key: kept[key] for key in sorted(kept)}


def remaining(specs: Sequence[EpisodeSpec], kept: Mapping[EpisodeKey, EpisodeRecord]) -> list[EpisodeSpec]:
    """List the episodes of the plan that are still to run: those without a record, and those that are errors."""
    return [spec for spec in specs if (record := kept.get(key_of(spec))) is None or _is_error(record)]


def _of_one_journal(records: Iterable[EpisodeRecord]) -> dict[EpisodeKey, EpisodeRecord]:
    kept: dict[EpisodeKey, EpisodeRecord] = {}
    for record in records:
        if (before := kept.setdefault(record.key, record)) is not record:
            kept[record.key] = _settle(before, record)
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
    return record.outcome is Outcome.ERROR


def _content(record: EpisodeRecord) -> bytes:
    return msgspec.json.encode([record.result, record.arrays])


def _describe(result: EpisodeResult) -> str:
    return (
        f"{result.outcome} with seed {result.spec.seed}, initial state {result.spec.init_state_id}, "
        f"sum of rewards {result.sum_reward}, {result.length} steps, state {result.final_state_hash}"
    )
