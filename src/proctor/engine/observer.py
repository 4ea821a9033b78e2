"""One protocol, and one vocabulary, for all that need to know what happens in a run.

Timings, the trace, the forecast, the rule that closes batches, autotune's measurements and a shard's reports all follow
from the same events. Each event is passed on once, with its moment on the monotonic clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from proctor.engine.worker.messages import Built, Finished, Observed
from proctor.types import EpisodeSpec


class Observer:
    """Receives the events of a run. An observer defines the methods for the events that it needs; the others do
    nothing.
    """

    def worker_started(self, worker_id: int, now: float) -> None:
        """A worker's process was started, or an idle worker was taken over from another engine."""

    def started(self, worker_id: int, spec: EpisodeSpec, now: float) -> None:
        """A worker was given an episode. If it has no simulator of the episode's task, it builds one first."""

    def built(self, worker_id: int, spec: EpisodeSpec, reply: Built, now: float) -> None:
        """A worker has built a simulator for the episode."""

    def acted(self, worker_id: int, spec: EpisodeSpec, n_actions: int, now: float) -> None:
        """A worker was sent ``n_actions`` actions to execute; with 0 it was sent the order to reset."""

    def observed(self, worker_id: int, spec: EpisodeSpec, reply: Observed, now: float) -> None:
        """A worker has executed what it was sent, and the episode's next observation is there."""

    def inferred(self, worker_id: int, spec: EpisodeSpec, seconds: float, loaded_at: float, now: float) -> None:
        """A forward pass of ``seconds`` for the episode is over; the policy was loaded at the moment ``loaded_at``."""

    def finished(self, worker_id: int, spec: EpisodeSpec, reply: Finished, now: float) -> None:
        """An episode has reached its end."""

    def lost(self, worker_id: int, spec: EpisodeSpec | None, now: float) -> None:
        """An attempt at an episode has failed, or a worker was lost; a worker without an episode has ``spec`` None."""


class Observers(Observer):
    """Passes each event on to several observers, in their order; to an observer only the events that it needs."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        def those_with(event: str) -> list[Observer]:
            return [each for each in observers if getattr(type(each), event) is not getattr(Observer, event)]

        self._worker_started = [each.worker_started for each in those_with("worker_started")]
        self._started = [each.started for each in those_with("started")]
        self._built = [each.built for each in those_with("built")]
        self._acted = [each.acted for each in those_with("acted")]
        self._observed = [each.observed for each in those_with("observed")]
        self._inferred = [each.inferred for each in those_with("inferred")]
        self._finished = [each.finished for each in those_with("finished")]
        self._lost = [each.lost for each in those_with("lost")]

    def worker_started(self, worker_id: int, now: float) -> None:
        for call in self._worker_started:
            call(worker_id, now)

    def started(self, worker_id: int, spec: EpisodeSpec, now: float) -> None:
        for call in self._started:
            call(worker_id, spec, now)

    def built(self, worker_id: int, spec: EpisodeSpec, reply: Built, now: float) -> None:
        for call in self._built:
            call(worker_id, spec, reply, now)

    def acted(self, worker_id: int, spec: EpisodeSpec, n_actions: int, now: float) -> None:
        for call in self._acted:
            call(worker_id, spec, n_actions, now)

    def observed(self, worker_id: int, spec: EpisodeSpec, reply: Observed, now: float) -> None:
        for call in self._observed:
            call(worker_id, spec, reply, now)

    def inferred(self, worker_id: int, spec: EpisodeSpec, seconds: float, loaded_at: float, now: float) -> None:
        for call in self._inferred:
            call(worker_id, spec, seconds, loaded_at, now)

    def finished(self, worker_id: int, spec: EpisodeSpec, reply: Finished, now: float) -> None:
        for call in self._finished:
            call(worker_id, spec, reply, now)

    def lost(self, worker_id: int, spec: EpisodeSpec | None, now: float) -> None:
        for call in self._lost:
            call(worker_id, spec, now)
