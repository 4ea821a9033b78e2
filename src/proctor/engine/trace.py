"""A trace of a run for ui.perfetto.dev or chrome://tracing: what each worker and each inference slot did, side by side.

The file is in the Trace Event Format, as an array of events that is streamed to disk. A killed run leaves all but the
last moments without the closing bracket, which both viewers can read. Timestamps are microseconds since the engine
began. On a track, events are in the order of time and every "B" has its "E".
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

import msgspec

from proctor.errors import ResourceError

_BUFFER_BYTES = 1 << 16
_WORKERS, _DEVICES = 1, 2
"""Process numbers in the trace."""
_NAMES = {"construct": "build", "step": "chunk", "startup": "start-up"}
_GAPS = ("idle", "other")
"""The parts of a timesheet that are shown as a gap."""


class Track:
    """One row of the trace, on which slices of time are drawn."""

    def __init__(self, trace: Trace, process: int, thread: int, name: str) -> None:
        self._trace = trace
        self._where = {"pid": process, "tid": thread}
        trace.write({"ph": "M", "name": "thread_name", **self._where, "args": {"name": name}})
        trace.write({"ph": "M", "name": "thread_sort_index", **self._where, "args": {"sort_index": thread}})

    def begin(self, name: str, at: float) -> None:
        """Begin a slice that contains others."""
        self._trace.write({"ph": "B", "name": name, "ts": self._trace.microseconds(at), **self._where})

    def end(self, at: float) -> None:
        """End the slice that was begun last."""
        self._trace.write({"ph": "E", "ts": self._trace.microseconds(at), **self._where})

    def slice(self, name: str, at: float, seconds: float, **shown: Any) -> None:
        """Draw a slice; a click on it shows ``shown``."""
        event = {"ph": "X", "name": name, "ts": self._trace.microseconds(at), "dur": round(1e6 * seconds, 3)}
        self._trace.write({**event, **self._where, **({"args": shown} if shown else {})})

    def sequence(self, at: float, seconds: Mapping[str, float]) -> None:
        """Draw parts of a time as slices, one after another."""
        for part, length in seconds.items():
            if length > 0 and part not in _GAPS:
                self.slice(_NAMES.get(part, part), at, length)
            at += length


class DeviceTracks:
    """The tracks of a device's inference slots. A pass is drawn on any slot that was free."""

    def __init__(self, trace: Trace, device: int, began: float) -> None:
        self._trace, self._device, self._began = trace, device, began
        self._slots: list[tuple[float, Track]] = []

    def passed(self, began: float, seconds: float, rows: int, loaded_at: float) -> None:
        """Draw a forward pass of ``rows`` observations, by a policy that was loaded at ``loaded_at``."""
        if not self._slots:
            self._free_track(self._began, loaded_at).slice("load policy", self._began, loaded_at - self._began)
        self._free_track(began, began + seconds).slice(f"pass of {rows}", began, seconds, rows=rows)

    def _free_track(self, began: float, ended: float) -> Track:
        for number, (free_at, track) in enumerate(self._slots):
            if free_at <= began:
                self._slots[number] = (ended, track)
                return track
        number = len(self._slots)
        track = Track(self._trace, _DEVICES, 1000 * self._device + number, f"device {self._device} slot {number}")
        self._slots.append((ended, track))
        return track


class Trace:
    """The file of a trace, which is being written. ``origin`` is the moment 0 of the trace.

    Raises:
        ResourceError: the file cannot be written.
    """

    def __init__(self, path: Path, origin: float) -> None:
        self._path, self._origin = path, origin
        self._encode = msgspec.json.Encoder().encode
        try:
            self._file = path.open("wb", buffering=_BUFFER_BYTES)
        except OSError as error:
            raise self._unwritable(error) from error
        self._separator = b"[\n"
        for process, name in ((_WORKERS, "workers"), (_DEVICES, "inference")):
            self.write({"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}})

    def worker(self, worker_id: int) -> Track:
        """A new track for a worker."""
        return Track(self, _WORKERS, worker_id, f"worker {worker_id}")

    def device(self, number: int) -> DeviceTracks:
        """The tracks for a device."""
        return DeviceTracks(self, number, self._origin)

    def microseconds(self, at: float) -> float:
        """The trace's timestamp of a moment of the monotonic clock."""
        return round(1e6 * (at - self._origin), 3)

    def write(self, event: Mapping[str, Any]) -> None:
        """Append an event.

        Raises:
            ResourceError: the file cannot be written.
        """
        try:
            self._file.write(self._separator + self._encode(event))
        except OSError as error:
            raise self._unwritable(error) from error
        self._separator = b",\n"

    def close(self) -> None:
        """Complete the file. Safe to call twice.

        Raises:
            ResourceError: the file cannot be written.
        """
        if self._file.closed:
            return
        try:
            with self._file:
                self._file.write(b"\n]\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ResourceError:
        return ResourceError(f"The trace {self._path} cannot be written ({error.strerror}); leave out --eval.trace.")


def new_trace_path(directory: Path, stem: str) -> Path:
    """A path for a session's trace that is free: ``trace.json``, then ``trace-2.json``; ``stem`` replaces ``trace``."""
    names = chain([stem], (f"{stem}-{session}" for session in count(2)))
    return next(path for name in names if not (path := directory / f"{name}.json").exists())
