"""Traces: what an episode recorded step by step, in a form that a page draws.

These are its actions, and rewards and successes if the journal has them. A trace is plain JSON: the number of steps,
the name and range of each channel, and one number of 16 bits for each step of each channel, in base64. A drawing of 60
pixels needs no more, and a page can hold a few hundred episodes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np

from proctor.errors import ConfigError
from proctor.results.journal import EpisodeRecord, read_actions, read_array
from proctor.results.journal_records import EpisodeKey, key_of
from proctor.results.merge import merge_journals
from proctor.results.run_dir import RunDirectory
from proctor.types import Array, EpisodeSpec

_MOST_ACTIONS = 32
"""The most elements of an action that are shown."""

_OTHERS = {"success": "successes", "reward": "rewards"}
"""The channels besides the actions, and the names of the arrays of the journal that they are."""

_NUMBERS = "biuf"
"""The kinds of numpy's types that are drawn; a journal that somebody has written may have others."""

_HIGHEST, _GAP = 65_534, 65_535
"""The number that a channel's largest value becomes, and the one that a value becomes that is not finite."""


def read_trace(directory: Path, spec: EpisodeSpec) -> dict[str, Any] | None:
    """Read the trace of one episode of a run directory; None if nothing was recorded of it, or if that is damaged.

    Raises:
        MergeError: the run's journals contradict each other.
    """
    return trace_of(records_of(directory).get(key_of(spec)))


def records_of(directory: Path) -> Mapping[EpisodeKey, EpisodeRecord]:
    """Find the record of every episode of a run directory. A result file alone has none.

    Raises:
        MergeError: the run's journals contradict each other.
    """
    return merge_journals(RunDirectory(directory).read_journals())


def trace_of(record: EpisodeRecord | None) -> dict[str, Any] | None:
    """Read the trace of a record; None if nothing was recorded, or if that is damaged."""
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
    if actions is None or not actions.size or actions.dtype.kind not in _NUMBERS:
        return []
    columns = np.asarray(actions, float).reshape(len(actions), -1).T[:_MOST_ACTIONS]
    known = {name: read_array(record, recorded) for name, recorded in _OTHERS.items()}
    others = [(name, np.asarray(values, float)) for name, values in known.items() if _is_drawn(values, len(actions))]
    return [*others, *((f"action {number}", column) for number, column in enumerate(columns))]


def _is_drawn(values: Array | None, length: int) -> bool:
    """Decide whether an array is a channel: it has a value for each step, and not only that it is unknown."""
    if values is None or values.shape != (length,) or values.dtype.kind not in _NUMBERS:
        return False
    return not (values.dtype == np.int8 and (values < 0).all())


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
