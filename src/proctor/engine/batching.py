"""Decides when a batch of observations is closed, by what waiting for more of them gains and costs. It is plain state.

An accelerator makes one forward pass at a time, and with one fixed batch shape every pass takes the same time ``T``
from its request to its result. No other observation is served in that time. If the accelerator is free and ``k``
observations are ready, the pass may begin at once, or wait ``t`` seconds for more observations to come:

- the ``k`` that are ready and the ``n`` that arrive within ``T`` are served by this pass or by the next one, and all of
  them ``t`` later;
- the ``m`` that arrive within ``t`` share this pass instead of waiting for the next one, and are served ``T`` earlier.

So waiting gains ``m T - t (k + n)`` seconds of workers' time, and it pays if that is positive. The gain is computed for
each expected arrival, and the best arrival is waited for. If observations arrive evenly, ``m / t`` is ``n / T`` and the
rule does not wait; it waits for observations that arrive in a bunch, and never if the batch is full. As waiting longer
than ``T`` never pays, no batch stays open longer.

The arrival of observations is learnt: how long a worker took for that many actions of such a task, and the mean
deviation from it. A worker that is later than usual is expected within the mean deviation, which is the mean excess of
a normal distribution, but not at this very moment: that would close a batch just before the observations it waits for.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from proctor.types import TaskKey

_SOONEST_S = 1e-4
_WEIGHT = 1 / 8
"""The weight of the newest duration in the moving average; about the last ten durations matter."""


@dataclass(slots=True)
class _Expected:
    """An expected duration in seconds, and the mean deviation from it."""

    seconds: float
    deviation: float = 0.0

    def learn(self, seconds: float) -> None:
        error = seconds - self.seconds
        self.seconds += _WEIGHT * error
        self.deviation += _WEIGHT * (abs(error) - self.deviation)


class Batching:
    """Tracks the workers whose next observation has not arrived, and says how long a batch waits for them.

    If ``wait_s`` is given, it replaces the rule: a batch that is not full is closed ``wait_s`` seconds after its first
    observation arrived. All moments are on one clock, in seconds.
    """

    def __init__(self, wait_s: float | None = None) -> None:
        self._wait_s = wait_s
        self._expected: dict[tuple[TaskKey, int], _Expected] = {}
        self._on_the_way: dict[int, tuple[tuple[TaskKey, int], float]] = {}
        self._pass: _Expected | None = None
        self._ready_since = self._open_since = inf

    def left(self, worker_id: int, task: TaskKey, n_actions: int, now: float) -> None:
        """Take note that a worker was sent ``n_actions`` actions to execute; 0 means that it was sent to reset."""
        self._on_the_way[worker_id] = (task, n_actions), now

    def came(self, worker_id: int, now: float) -> None:
        """Take note that the observation of a worker has arrived."""
        kind, since = self._on_the_way.pop(worker_id)
        self._learn(kind, now - since)
        self._ready_since = min(self._ready_since, now)

    def lost(self, worker_id: int) -> None:
        """No longer expect an observation of a worker, as its episode is over."""
        self._on_the_way.pop(worker_id, None)

    def passed(self, seconds: float) -> None:
        """Take note that a forward pass took ``seconds`` from its request to its result."""
        if self._pass is None:
            self._pass = _Expected(seconds)
        else:
            self._pass.learn(seconds)

    def closed(self, n_left: int, now: float) -> None:
        """Take note that a batch was closed, and that ``n_left`` observations are still ready."""
        self._ready_since, self._open_since = now if n_left else inf, inf

    def seconds_to_wait(self, n_ready: int, size: int, now: float) -> float:
        """Compute the seconds that a batch of ``size`` stays open; 0 closes it.

        ``n_ready`` observations are ready, and inference is free.
        """
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
        best, wait = 0.0, 0.0  # not to wait gains nothing, and is the choice if no wait gains anything
        for n_more, arrival in enumerate(arrivals[: size - n_ready], start=1):
            # n_more are served a pass earlier; all that this pass or the next one serves are served later.
            gain = n_more * pass_seconds - arrival * (n_ready + len(arrivals))
            if gain > best:
                best, wait = gain, arrival
        return wait

    def _arrivals(self, now: float) -> list[float]:
        """In how many seconds observations are expected, of the workers about which something is known."""
        return [
            max(expected.seconds - (now - since), expected.deviation, _SOONEST_S)
            for kind, since in self._on_the_way.values()
            if (expected := self._expected.get(kind)) is not None
        ]

    def _learn(self, kind: tuple[TaskKey, int], seconds: float) -> None:
        if (expected := self._expected.get(kind)) is None:
            self._expected[kind] = _Expected(seconds)
        else:
            expected.learn(seconds)
