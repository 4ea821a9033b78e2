"""The traces of episodes that a page holds, because it has no server that it could ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from proctor.reports.html.report_run import ReportRun
from proctor.results.journal import EpisodeRecord
from proctor.results.journal_records import EpisodeKey, key_of
from proctor.results.traces import records_of, trace_of
from proctor.types import EpisodeSpec

MOST_BYTES = 1_500_000
"""The most bytes of traces in one page; a browser loads them in a few milliseconds."""

_BYTES_OF_A_CHANNEL = 60
"""About the size of a channel's name and range in JSON."""


def embedded_traces(runs: Sequence[ReportRun], order: Iterable[EpisodeSpec], most: int = MOST_BYTES) -> dict[str, Any]:
    """Read traces for a page that cannot ask a server, until about ``most`` bytes are used.

    Args:
        runs: the evaluations of the page.
        order: the episodes, the most important first. All evaluations' traces of an episode are read together, because
            they are shown together.
        most: the most bytes.

    Returns:
        Traces by ``"run suite task_id episode"``, where the run is its position.
    """
    records = [records_of(run.status.directory) for run in runs]
    traces: dict[str, Any] = {}
    used = 0
    for key in dict.fromkeys(map(key_of, order)):
        for name, trace in _of_every_run(records, key):
            traces[name] = trace
            used += len(trace["data"]) + _BYTES_OF_A_CHANNEL * len(trace["channels"])
        if used > most:
            break
    return traces


def _of_every_run(
    records: Sequence[Mapping[EpisodeKey, EpisodeRecord]], key: EpisodeKey
) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, known in enumerate(records):
        if (trace := trace_of(known.get(key))) is not None:
            yield " ".join(map(str, (number, *key))), trace
