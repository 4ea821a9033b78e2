"""What an episode recorded step by step (its actions, and rewards and successes if the journal has them), in a form that
a page draws.

A trace is plain JSON: the number of steps, the name and range of each channel, and one number of 16 bits for each step of
each channel, in base64. A drawing of 60 pixels needs no more, and a page can hold a few hundred episodes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np

from proctor.errors import ConfigError
from proctor.reports.html.report_run import ReportRun
from proctor.results.journal import EpisodeRecord, read_actions, read_array
from proctor.results.journal_records import EpisodeKey, key_of
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RunDirectory
from proctor.types import Array, EpisodeSpec

MOST_BYTES = 1_500_000
"""The most bytes of traces in one page; a browser loads them in a few milliseconds."""

_MOST_ACTIONS = 32
"""The most elements of an action that are shown."""

_OTHERS = {"success": "successes", "reward": "rewards"}
"""The channels besides the actions, and the names of the arrays of the journal that they are."""

_HIGHEST, _GAP = 65_534, 65_535
"""The number that a channel's largest value becomes, and the one that a value becomes that is not finite."""

_BYTES_OF_A_CHANNEL = 60
"""About the size of a channel's name and range in JSON."""


def read_trace(directory: Path, spec: EpisodeSpec) -> dict[str, Any] | None:
    """Read the trace of one episode of a run directory; None if nothing was recorded of it, or if that is damaged.

    Raises:
        MergeError: the run's journals contradict each other.
    """
    return _trace_of(_records(directory).get(key_of(spec)))


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
    records = [_records(run.status.directory) for run in runs]
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
        if (trace := _trace_of(known.get(key))) is not None:
            yield " ".join(map(str, (number, *key))), trace


def _records(directory: Path) -> Mapping[EpisodeKey, EpisodeRecord]:
    """Find the record of every episode of a run directory. A result file alone has none."""
    return merge_journals(RunDirectory(directory).read_journals())


def _trace_of(record: EpisodeRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    try:
        channels = _channels(record)
    except ConfigError:
        return None
    return encode_trace(channels) if channels else None


def _channels(record: EpisodeRecord) -> list[tuple[str, Array]]:
    """Name the channels of an episode, and give their values, floats ``(length,)`` each; first what is known of success
    and reward, then the elements of the action.
    """
    actions = read_actions(record)
    if actions is None or not actions.size:
        return []
    columns = np.asarray(actions, float).reshape(len(actions), -1).T[:_MOST_ACTIONS]
    known = {name: read_array(record, recorded) for name, recorded in _OTHERS.items()}
    others = [(name, np.asarray(values, float)) for name, values in known.items() if _is_drawn(values, len(actions))]
    return [*others, *((f"action {number}", column) for number, column in enumerate(columns))]


def _is_drawn(values: Array | None, length: int) -> bool:
    """Decide whether an array is a channel: it has a value for each step, and not only that it is unknown."""
    return values is not None and values.shape == (length,) and not (values.dtype == np.int8 and (values < 0).all())


def encode_trace(channels: Sequence[tuple[str, Array]]) -> dict[str, Any]:
    """Encode named channels of equal length.

    Returns:
        ``length``, the number of steps; ``channels``, the name, the lowest and the highest value of each; ``data``,
        base64 of unsigned 16-bit numbers in little-endian order ``(channels, length)``: 0 to 65534 for the values from
        the lowest to the highest, and 65535 for a value that is not finite.
    """
    ranges = [_range(values) for _, values in channels]
    encoded = list(starmap(_encode, zip([values for _, values in channels], ranges, strict=True)))
    return {
        "length": len(channels[0][1]),
        "channels": [[name, *limits] for (name, _), limits in zip(channels, ranges, strict=True)],
        "data": base64.b64encode(b"".join(encoded)).decode(),
    }


def _range(values: Array) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def _encode(values: Array, limits: tuple[float, float]) -> bytes:
    low, high = limits
    is_known = np.isfinite(values)
    # Halves, because the difference of the largest floats is infinite.
    part = (np.where(is_known, values, low) / 2 - low / 2) / ((high / 2 - low / 2) or 1.0)
    return np.where(is_known, np.rint(part * _HIGHEST), _GAP).astype("<u2").tobytes()
