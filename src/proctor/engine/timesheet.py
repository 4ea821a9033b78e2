"""Accounts of the workers' time: from the engine's start to the end of a worker's last episode every moment is booked
once, on the episode for which it is spent. A :class:`~proctor.engine.trace.Track` shows the same bookings.
"""

from __future__ import annotations

from collections.abc import Mapping

from proctor.engine.observer import Observer
from proctor.engine.trace import Trace, Track
from proctor.engine.worker.messages import Built, Finished, Observed, Spent
from proctor.types import TIME_PARTS, EpisodeSpec, Timings


class Timesheet:
    """One worker's time since ``since``. All moments are on the monotonic clock, in seconds."""

    def __init__(self, since: float, track: Track | None = None) -> None:
        self._booked_until = since
        self._track = track
        self._ever_began = self._under_way = False
        self._seconds = dict.fromkeys(TIME_PARTS, 0.0)

    def begin(self, episode: str, now: float) -> None:
        """Begin an episode. The time before it is start-up if it is the worker's first episode, and idle otherwise."""
        self._book({"idle" if self._ever_began else "startup": now - self._booked_until}, now)
        self._ever_began = self._under_way = True
        if self._track is not None:
            self._track.begin(episode, now)

    def worked(self, spent: Spent, now: float) -> None:
        """Book the time of a request that the worker has answered.

        The time that the worker did not spend on the request went into messages and turns of the engine.
        """
        parts = {"construct": spent.construct, "reset": spent.reset, "step": spent.step, "look": spent.look}
        self._book({"other": now - self._booked_until - sum(parts.values()), **parts}, now)

    def inferred(self, seconds: float, loaded_at: float, now: float) -> None:
        """Book a forward pass of ``seconds``, by a policy that was loaded at ``loaded_at``, and the wait for it."""
        waited = max(0.0, now - self._booked_until - seconds)
        loading = min(waited, max(0.0, loaded_at - self._booked_until))
        self._book({"startup": loading, "wait": waited - loading, "inference": seconds}, now)

    def settle(self, now: float) -> Timings:
        """End the worker's episode, if there is one, and return what was booked since the episode before it."""
        if not self._under_way:
            return Timings()
        if self._track is not None:
            self._track.end(now)
        self._booked_until, self._under_way = now, False
        seconds, self._seconds = self._seconds, dict.fromkeys(TIME_PARTS, 0.0)
        return Timings(**seconds)

    def _book(self, parts: Mapping[str, float], now: float) -> None:
        if self._track is not None:
            self._track.sequence(self._booked_until, parts)
        for part, seconds in parts.items():
            self._seconds[part] += seconds
        self._booked_until = now


class Timesheets(Observer):
    """The timesheets of all workers; with a trace, each worker has a track in it."""

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self._sheets: dict[int, Timesheet] = {}
        self._settled: dict[int, Timings] = {}

    def timings(self, worker_id: int) -> Timings:
        """The timings of the episode that the worker has finished last; they can be taken once."""
        return self._settled.pop(worker_id)

    def close(self, now: float) -> None:
        """End what is under way."""
        for sheet in self._sheets.values():
            sheet.settle(now)

    def worker_started(self, worker_id: int, now: float) -> None:
        self._sheets[worker_id] = Timesheet(now, self._trace.worker(worker_id) if self._trace is not None else None)

    def started(self, worker_id: int, spec: EpisodeSpec, now: float) -> None:
        self._sheets[worker_id].begin(str(spec), now)

    def built(self, worker_id: int, spec: EpisodeSpec, reply: Built, now: float) -> None:
        self._sheets[worker_id].worked(reply.spent, now)

    def observed(self, worker_id: int, spec: EpisodeSpec, reply: Observed, now: float) -> None:
        self._sheets[worker_id].worked(reply.spent, now)

    def inferred(self, worker_id: int, spec: EpisodeSpec, seconds: float, loaded_at: float, now: float) -> None:
        self._sheets[worker_id].inferred(seconds, loaded_at, now)

    def finished(self, worker_id: int, spec: EpisodeSpec, reply: Finished, now: float) -> None:
        sheet = self._sheets[worker_id]
        sheet.worked(reply.spent, now)
        self._settled[worker_id] = sheet.settle(now)

    def lost(self, worker_id: int, spec: EpisodeSpec | None, now: float) -> None:
        self._sheets[worker_id].settle(now)
