"""The records of a journal: a header for each session of writing, and one record for each episode that finished."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from proctor.types import EpisodeResult, EpisodeSpec

FORMAT_VERSION = 2
"""Version 2 added the rewards and the success of each step; the lines of version 1 are read as lines without them."""


class EpisodeKey(NamedTuple):
    """The identity of an episode within one evaluation; keys sort in the order of the plan."""

    suite: str
    task_id: int
    episode_index: int


def key_of(spec: EpisodeSpec) -> EpisodeKey:
    """Give the identity of an episode."""
    return EpisodeKey(spec.suite, spec.task_id, spec.episode_index)


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    """The beginning of a session: what the following episodes are results of, and how many workers run them at most.

    ``n_workers`` is 0 if the number of workers was not recorded.
    """

    format_version: int
    fingerprint: dict[str, Any]
    n_workers: int = 0


class ArrayRef(msgspec.Struct, frozen=True):
    """The place of one of an episode's arrays in the actions file."""

    offset: int
    shape: tuple[int, ...]
    dtype: str
    crc32: int

    @property
    def n_bytes(self) -> int:
        """The size of the array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class EpisodeLine(msgspec.Struct, frozen=True, tag_field="kind", tag="episode"):
    """An episode that finished ``elapsed_s`` seconds after the session began.

    ``n_workers`` is the largest number of workers that were there at a time until then; 0 if it was not recorded.
    ``actions`` is the place of the executed actions, None if the episode has none; ``arrays`` are the places of its
    other :data:`~proctor.types.EpisodeArrays`, by name.
    """

    elapsed_s: float
    result: EpisodeResult
    actions: ArrayRef | None
    arrays: dict[str, ArrayRef] = {}
    n_workers: int = 0


encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Header | EpisodeLine).decode


def decode(record: bytes) -> Header | EpisodeLine | None:
    """Decode the JSON bytes of a record; None if they are not a record."""
    try:
        decoded: Header | EpisodeLine = _decode(record)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return decoded


def actions_file_of(journal: Path) -> Path:
    """Name the file beside a journal that holds the arrays to which its lines refer."""
    return journal.with_suffix(".actions.bin")
