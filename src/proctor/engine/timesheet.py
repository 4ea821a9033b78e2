"""Where a worker's time goes: from the engine's start to the end of its last episode every moment is booked once, on
the episode it is spent for. What a :class:`~proctor.engine.trace.Track` shows are the same bookings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from proctor.engine.trace import Track
from proctor.engine.worker.messages import Spent
from proctor.types import Timings

_PARTS = tuple(part.name for part in fields(Timings))


class Timesheet:
    """One worker's time since ``since``. All moments are on the monotonic clock, in seconds."""

    def __init__(self, since: float, track: Track | None = None) -> None:
        self._booked_until = since
        self._track = track
        self._ever_began = self._under_way = False
        self._seconds = dict.fromkeys(_PARTS, 0.0)

    def begin(self, episode: str, now: float) -> None:
        """An episode begins; before, the worker came up, or had nothing to do."""
        self._book({"idle" if self._ever_began else "startup": now - self._booked_until}, now)
        self._ever_began = self._under_way = True
        if self._track is not None:
            self._track.begin(episode, now)

    def worked(self, spent: Spent, now: float) -> None:
        """The worker answered a request; what it did not spend on it went into messages and turns of the engine."""
        parts = {"construct": spent.construct, "reset": spent.reset, "step": spent.step, "look": spent.look}
        self._book({"other": now - self._booked_until - sum(parts.values()), **parts}, now)

    def inferred(self, seconds: float, loaded_at: float, now: float) -> None:
        """Its episode has actions, from a pass of ``seconds`` by a policy that was loaded at ``loaded_at``."""
        waited = max(0.0, now - self._booked_until - seconds)
        loading = min(waited, max(0.0, loaded_at - self._booked_until))
        self._book({"startup": loading, "wait": waited - loading, "inference": seconds}, now)

    def settle(self, now: float) -> Timings:
        """The episode is over, if there is one: what it took, since the worker's episode before it."""
        if not self._under_way:
            return Timings()
        if self._track is not None:
            self._track.end(now)
        self._booked_until, self._under_way = now, False
        seconds, self._seconds = self._seconds, dict.fromkeys(_PARTS, 0.0)
        return Timings(**seconds)

    def _book(self, parts: Mapping[str, float], now: float) -> None:
        if self._track is not None:
            self._track.sequence(self._booked_until, parts)
        for part, seconds in parts.items():
            self._seconds[part] += seconds
        self._booked_until = now
