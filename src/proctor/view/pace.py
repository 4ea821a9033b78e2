"""The pace of a run that another process measures, as far as the ends of its journals tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from proctor.results.journal_lines import read_last_records
from proctor.results.journal_records import EpisodeLine, Header, decode
from proctor.results.run_dir import RunDirectory

_TAIL_BYTES = 1 << 17
"""About two hundred episodes: the pace is that of the last minutes, and a long journal costs no more than others."""


def episodes_per_s(files: RunDirectory) -> float | None:
    """Return the episodes that all writers of the directory finish per second; None before the first has finished."""
    paces = [pace for path in files.journals_being_written() if (pace := _pace_of(path)) is not None]
    return sum(paces) if paces else None


def _pace_of(journal: Path) -> float | None:
    records = [record for raw in read_last_records(journal, _TAIL_BYTES) if (record := decode(raw)) is not None]
    of_session = list(takewhile(lambda record: isinstance(record, EpisodeLine), reversed(records)))
    episodes = [record for record in reversed(of_session) if isinstance(record, EpisodeLine)]
    if not episodes:
        return None
    begins_here = len(of_session) < len(records) and isinstance(records[-len(of_session) - 1], Header)
    since_last = max(0.0, time.time() - journal.stat().st_mtime)
    if begins_here:
        began, n = _measuring_since(episodes), len(episodes)
    else:
        began, n = episodes[0].elapsed_s, len(episodes) - 1
    seconds = episodes[-1].elapsed_s + since_last - began
    return n / seconds if n and seconds > 0 else None


def _measuring_since(episodes: Sequence[EpisodeLine]) -> float:
    """Return the time of the session at which its first episodes ran, so that imports and loading do not count."""
    return min(max(0.0, each.elapsed_s - _running(each)) for each in episodes[:20])


def _running(episode: EpisodeLine) -> float:
    spent = episode.result.timings
    return spent.step + spent.look + spent.inference + spent.wait
