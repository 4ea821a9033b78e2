"""A trace of a run for ui.perfetto.dev or chrome://tracing: what each worker and each inference slot did, side by side.

Trace Event Format, as an array of events, streamed to disk: a killed run leaves all but the last moments, without the
closing bracket, which both viewers read. Timestamps are microseconds since the engine began. On a track, events are in
the order of time and every "B" has its "E".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from proctor.errors import ResourceError

_BUFFER_BYTES = 1 << 16
_WORKERS, _DEVICES = 1, 2
"""Process numbers in the trace."""
_NAMES = {"construct": "build", "step": "chunk", "startup": "start-up"}
_GAPS = ("idle", "other")
"""What a gap shows better than a slice."""


class Track:
    """A row of the trace."""

    def __init__(self, trace: Trace, process: int, thread: int, name: str) -> None:
        self._trace = trace
        self._where = {"pid": process, "tid": thread}
        trace.write({"ph": "M", "name": "thread_name", **self._where, "args": {"name": name}})
        trace.write({"ph": "M", "name": "thread_sort_index", **self._where, "args": {"sort_index": thread}})

    def begin(self, name: str, at: float) -> None:
        """Begin a slice around others."""
        self._trace.write({"ph": "B", "name": name, "ts": self._trace.microseconds(at), **self._where})

    def end(self, at: float) -> None:
        self._trace.write({"ph": "E", "ts": self._trace.microseconds(at), **self._where})

    def slice(self, name: str, at: float, seconds: float, **shown: Any) -> None:
        """A slice, with what a click on it shows."""
        event = {"ph": "X", "name": name, "ts": self._trace.microseconds(at), "dur": round(1e6 * seconds, 3)}
        self._trace.write({**event, **self._where, **({"args": shown} if shown else {})})

    def sequence(self, at: float, seconds: Mapping[str, float]) -> None:
        """Parts of a time, one after another."""
        for part, length in seconds.items():
            if length > 0 and part not in _GAPS:
                self.slice(_NAMES.get(part, part), at, length)
            at += length


class DeviceTracks:
    """A device's slots. Which slot a pass has is not known, but that it was a free one."""

    def __init__(self, trace: Trace, device: int, began: float) -> None:
        self._trace, self._device, self._began = trace, device, began
        self._slots: list[tuple[float, Track]] = []

    def passed(self, began: float, seconds: float, rows: int, loaded_at: float) -> None:
        """A forward pass of so many observations, by a policy that was loaded at ``loaded_at``."""
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
    """A trace being written.

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

    def worker(self, number: int) -> Track:
        return Track(self, _WORKERS, number, f"worker {number}")

    def device(self, number: int) -> DeviceTracks:
        return DeviceTracks(self, number, self._origin)

    def microseconds(self, at: float) -> float:
        """A moment of the monotonic clock, as the trace has it."""
        return round(1e6 * (at - self._origin), 3)

    def write(self, event: Mapping[str, Any]) -> None:
        try:
            self._file.write(self._separator + self._encode(event))
        except OSError as error:
            raise self._unwritable(error) from error
        self._separator = b",\n"

    def close(self) -> None:
        """Safe to call twice."""
        if self._file.closed:
            return
        try:
            with self._file:
                self._file.write(b"\n]\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ResourceError:
        return ResourceError(f"The trace {self._path} cannot be written ({error.strerror}); leave out --eval.trace.")
