"""Measures what part of the cores an engine and its workers use, over windows that become longer."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from proctor.engine.worker.pool import CoreSeconds

_FIRST_WINDOW_S, _LONGEST_WINDOW_S = 0.05, 0.4
"""The use of the cores is measured over the first time, and if they are busy, over longer times up to the second: a
worker would be started for nothing if the others rest for a moment."""
_COULD_RUN = 0.5
"""If workers can run for a larger part of the time than this, what they lack is cores."""


class _Window(NamedTuple):
    """A time over which the use of the cores is measured, and the seconds that were counted before it."""

    since: float
    until: float
    before: CoreSeconds


class CoreUse:
    """Measures what part of ``n_cores`` cores is used; ``count`` returns the seconds that were used until now."""

    def __init__(self, count: Callable[[], CoreSeconds], n_cores: int) -> None:
        self._count, self._n_cores = count, n_cores
        self._window: _Window | None = None

    def stop(self) -> None:
        """Stop measuring: the next window begins anew."""
        self._window = None

    def measure(self, n_workers: int) -> float | None:
        """Return the part of the cores that was used in the window that is over now, by ``n_workers`` workers and this
        process; None if none is over, or if it is not known. The next window begins then.
        """
        now = monotonic()
        if self._window is None:
            self._window = _Window(now, now + _FIRST_WINDOW_S, self._count())
            return None
        if now < self._window.until:
            return None
        seconds, before, counted = now - self._window.since, self._window.before, self._count()
        self._window = _Window(now, now + min(_LONGEST_WINDOW_S, 2 * seconds), counted)
        used, waited, stolen = (after - earlier for after, earlier in zip(counted, before, strict=True))
        if used < 0:  # the time of a worker that has just ended is missing
            return None
        # If the workers can run most of the time, cores are what they lack, although other programs may have used them.
        # Workers that sleep wait a little whenever they wake.
        busy = used + waited if used + waited > _COULD_RUN * seconds * n_workers else used
        return busy / (seconds * self._n_cores) + stolen / seconds

    def within_window(self, timeout_s: float) -> float:
        """Return a time-out that ends with the window that is under way, or before."""
        return timeout_s if self._window is None else min(timeout_s, max(0.0, self._window.until - monotonic()))
