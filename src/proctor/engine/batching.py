"""When a batch of observations is closed: what waiting for one more gains against what it costs. Plain state.

An accelerator makes one forward pass at a time, and with one fixed batch shape every pass takes the same time ``T``,
there and back: until then nobody else is served. When it is free and ``k`` observations are ready, it may begin at once
or wait ``t`` seconds for more of them to come:

- everyone who will be served by this pass or by the next, the ``k`` and the ``n`` that arrive within ``T``, is served
  ``t`` later;
- the ``m`` that arrive within ``t`` share this pass instead of waiting for the next one, and are served ``T`` earlier.

So waiting gains ``m T - t (k + n)`` seconds of workers' time, and pays where that is positive. It is computed for each
expected arrival, and the best one is waited for. Of observations that come evenly spread nothing is gained by waiting,
as the rule says by itself (``m / t`` is ``n / T`` then); it waits for those that come in a bunch, and it does not wait
at all where the batch is full. Waiting longer than ``T`` never pays, so nobody waits longer.

When observations come is learnt: how long a worker took for so many actions of such a task, and how far it was off. A
worker that is later than usual is expected in the mean excess of a normal distribution, which is its mean deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from proctor.types import TaskKey

_WEIGHT = 1 / 8
"""Of the latest duration in what is expected: the last ten or so count."""


@dataclass(slots=True)
class _Expected:
    """A duration in seconds, and the mean by which it is missed."""

    seconds: float
    deviation: float = 0.0

    def learn(self, seconds: float) -> None:
        error = seconds - self.seconds
        self.seconds += _WEIGHT * error
        self.deviation += _WEIGHT * (abs(error) - self.deviation)


class Batching:
    """Knows who is on the way, and says how long to wait for them.

    ``wait_s`` replaces the rule: a batch that is not full is closed so many seconds after its first observation came.
    """

    def __init__(self, wait_s: float | None = None) -> None:
        self._wait_s = wait_s
        self._expected: dict[tuple[TaskKey, int], _Expected] = {}
        self._on_the_way: dict[int, tuple[tuple[TaskKey, int], float]] = {}
        self._pass: _Expected | None = None
        self._ready_since = self._open_since = inf

    def left(self, worker: int, task: TaskKey, n_actions: int, now: float) -> None:
        """A worker was sent ``n_actions`` to execute; 0 is a reset."""
        self._on_the_way[worker] = (task, n_actions), now

    def came(self, worker: int, now: float) -> None:
        """Its observation is ready."""
        kind, since = self._on_the_way.pop(worker)
        self._learn(kind, now - since)
        self._ready_since = min(self._ready_since, now)

    def lost(self, worker: int) -> None:
        """It will not come: its episode is over."""
        self._on_the_way.pop(worker, None)

    def passed(self, seconds: float) -> None:
        """A forward pass took so long, from when it was asked for until its actions came."""
        if self._pass is None:
            self._pass = _Expected(seconds)
        else:
            self._pass.learn(seconds)

    def closed(self, n_left: int, now: float) -> None:
        """A batch was taken; so many observations are still ready."""
        self._ready_since, self._open_since = now if n_left else inf, inf

    def seconds_to_wait(self, n_ready: int, size: int, now: float) -> float:
        """How long a batch of ``size`` may stay open, ``n_ready`` being ready and inference free; 0 closes it."""
        if not n_ready or n_ready >= size:
            return 0.0
        if self._wait_s is not None:
            return max(0.0, self._ready_since + self._wait_s - now)
        self._open_since = min(self._open_since, now)
        if self._pass is None or now - self._open_since >= self._pass.seconds:
            return 0.0
        return self._best_wait(n_ready, size, now, self._pass.seconds)

    def _best_wait(self, n_ready: int, size: int, now: float, pass_seconds: float) -> float:
        arrivals = sorted(arrival for arrival in self._arrivals(now) if arrival < pass_seconds)
        best, wait = 0.0, 0.0
        for n_more, arrival in enumerate(arrivals[: size - n_ready], start=1):
            gain = n_more * pass_seconds - arrival * (n_ready + len(arrivals))
            if gain > best:
                best, wait = gain, arrival
        return wait

    def _arrivals(self, now: float) -> list[float]:
        """In how many seconds the observations of the workers are expected, as far as anything is known of them."""
        return [
            max(expected.seconds - (now - since), expected.deviation)
            for kind, since in self._on_the_way.values()
            if (expected := self._expected.get(kind)) is not None
        ]

    def _learn(self, kind: tuple[TaskKey, int], seconds: float) -> None:
        if (expected := self._expected.get(kind)) is None:
            self._expected[kind] = _Expected(seconds)
        else:
            expected.learn(seconds)
