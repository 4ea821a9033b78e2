"""Observations in memory that a worker and the engine share, and that cannot outlive them.

The memory is an anonymous file (it has no name, so a killed run leaves nothing in ``/dev/shm``), which the worker
inherits as a descriptor. It grows as needed and takes only the pages that were touched. The first bytes hold two
counters, both written by the worker: its heartbeat, which shows progress even in the middle of a chunk, and the number
of requests that it has begun to execute.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Mapping

import numpy as np

from proctor.engine.worker.messages import Placed
from proctor.types import Array

_COUNTERS_BYTES = 64
_FIRST_SIZE = 1 << 20
_ALIGNMENT = 64


def anonymous_file() -> int:
    """Return a descriptor of a new file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("proctor-observations", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # macOS: unlinked at once
        return os.dup(file.fileno())


class SharedArrays:
    """One process's view of the memory. The worker writes (:meth:`write`) and the engine reads (:meth:`read`)."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap
        self._counters: Array
        self._frames: dict[str, tuple[Placed, Array]] = {}
        self._end = _COUNTERS_BYTES
        """The number of bytes that the counters and the present observation take."""
        self._reserve(_FIRST_SIZE)

    def write(self, arrays: Mapping[str, Array], index: int, n_frames: int) -> None:
        """Copy in the arrays of look ``index`` of ``n_frames``. The first look overwrites the previous observation."""
        if index == 0:
            self._lay_out(arrays, n_frames)
        for key, array in arrays.items():
            self._frames[key][1][index] = array

    def write_beside(self, array: Array) -> Placed:
        """Copy in an array that belongs to no observation. It is valid until another array is written."""
        placed = Placed("", array.dtype.str, array.shape, self._end)
        self._reserve(self._end + array.nbytes)
        self.read(placed)[...] = array
        return placed

    def placed(self) -> tuple[Placed, ...]:
        """The places of the present observation's arrays."""
        return tuple(placed for placed, _ in self._frames.values())

    def read(self, placed: Placed) -> Array:
        """Return an array without copying it. It is valid until the worker is sent another request."""
        dtype = np.dtype(placed.dtype)
        end = placed.offset + math.prod(placed.shape) * dtype.itemsize
        if end > len(self._map):
            self._reserve(end)
        return np.ndarray(placed.shape, dtype, self._map, placed.offset)

    def beat(self) -> None:
        """Count a step or a reset, so that the engine sees progress."""
        self._counters[0] += 1

    @property
    def heartbeat(self) -> int:
        """The number of steps and resets so far."""
        return int(self._counters[0])

    def acknowledge(self) -> None:
        """Count a request whose execution begins."""
        self._counters[1] += 1

    @property
    def n_acknowledged(self) -> int:
        """The number of requests that the worker has begun to execute."""
        return int(self._counters[1])

    def close(self) -> None:
        """Close the descriptor; arrays that were read stay valid."""
        os.close(self.descriptor)

    def _lay_out(self, arrays: Mapping[str, Array], n_frames: int) -> None:
        places = []
        offset = _COUNTERS_BYTES
        for key, array in arrays.items():
            if array.dtype.hasobject:  # pointers of this process
                raise ValueError(f"the observation '{key}' holds Python objects; expected numbers")
            places.append(Placed(key, array.dtype.str, (n_frames, *array.shape), offset))
            offset += -(-array.nbytes * n_frames // _ALIGNMENT) * _ALIGNMENT
        self._reserve(offset)
        self._end = offset
        self._frames = {placed.key: (placed, self.read(placed)) for placed in places}

    def _reserve(self, size: int) -> None:
        present = os.fstat(self.descriptor).st_size
        if size > present:
            present = max(size, 2 * present)
            os.ftruncate(self.descriptor, present)
        if not hasattr(self, "_map") or len(self._map) < present:
            self._map = mmap.mmap(self.descriptor, present)  # views of the old mapping keep it alive
            self._counters = np.ndarray((2,), np.uint64, self._map, 0)
