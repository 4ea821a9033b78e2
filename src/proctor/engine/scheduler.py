"""Decides which worker runs which episode, and which observations are inferred together. Plain state.

Starts no process, imports no torch, reads no clock: the engine tells it what happened and asks what to do next. What
it decides is only *when* and *where* an episode runs; what an episode *is* was written down in the plan.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from proctor.engine.forecast import Forecast
from proctor.engine.plan import row_of
from proctor.engine.policy_failures import FewestFailures
from proctor.types import POLICY_FAILED, AttemptError, EpisodeSpec, TaskKey


class Phase(Enum):
    """What a worker is doing."""

    STARTING = auto()
    """Its process comes up."""
    IDLE = auto()
    """Nothing to do: an episode can begin here."""
    BUILDING = auto()
    """Its simulator is being built for the episode it was given."""
    SIMULATING = auto()
    """Resetting or stepping."""
    READY = auto()
    """Its episode's observation waits for inference."""
    THINKING = auto()
    """Its episode is part of a batch being inferred."""


@dataclass(slots=True)
class WorkerState:
    """One worker: what it does, the task its simulator stands for, the episode it runs."""

    phase: Phase = Phase.STARTING
    built: TaskKey | None = None
    spec: EpisodeSpec | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds within which the scheduler decides.

    ``max_parallel_tasks`` of 0 means any number of tasks may be live; ``max_lead`` is how many episodes a task may be
    ahead of the one that is furthest behind, 0 means any number. ``n_devices`` are those that infer: each worker's
    observations always go to the same one.
    """

    batch_size: int
    max_attempts: int
    max_parallel_tasks: int = 0
    max_lead: int = 0
    n_devices: int = 1


class Scheduler:
    """The state of a run: episodes that wait, workers and what they do, episodes that are over.

    ``workers`` are those of a run that is over, idle by now, with the simulators they have built. ``forecast`` is told
    by others how long things take.
    """

    def __init__(
        self,
        plan: Iterable[EpisodeSpec],
        limits: Limits,
        workers: Mapping[int, WorkerState] | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        self._limits = limits
        self._forecast = forecast or Forecast()
        self._waiting: dict[TaskKey, deque[EpisodeSpec]] = {}
        self._unfinished = 0
        self.add(plan)
        self._ready: list[deque[int]] = [deque() for _ in range(limits.n_devices)]
        self._errors: dict[EpisodeSpec, list[AttemptError]] = {}
        self._failures = FewestFailures()
        self.workers: dict[int, WorkerState] = dict(workers or {})
        self.n_lost = 0

    def add(self, specs: Iterable[EpisodeSpec]) -> None:
        """Let more episodes wait."""
        for spec in specs:
            self._waiting.setdefault(spec.task, deque()).append(spec)
            self._unfinished += 1

    @property
    def done(self) -> bool:
        return not self._unfinished

    def errors_of(self, spec: EpisodeSpec) -> list[AttemptError]:
        """Why earlier attempts at this episode failed."""
        return self._errors.get(spec, [])

    # ------------------------------------------------------------------------------------------ what to do next

    def workers_to_start(self) -> int:
        """How many more workers the episodes that are left can use."""
        return max(0, min(self._limits.batch_size, self._unfinished) - len(self.workers))

    def assign(self) -> list[tuple[int, EpisodeSpec]]:
        """Give every idle worker an episode, as far as there are any. Their simulators may have to be built first."""
        assigned: list[tuple[int, EpisodeSpec]] = []
        idle = [(number, worker) for number, worker in self.workers.items() if worker.phase is Phase.IDLE]
        if not idle:
            return assigned
        crowd = self._workers_per_task()
        for number, worker in idle:
            if (spec := self._next_episode(worker, crowd)) is not None:
                worker.spec = spec
                worker.phase = Phase.SIMULATING if worker.built == spec.task else Phase.BUILDING
                crowd[spec.task] += 1
                assigned.append((number, spec))
        return assigned

    @property
    def n_devices(self) -> int:
        return self._limits.n_devices

    def device_of(self, number: int) -> int:
        """Which of the devices infers for a worker."""
        return number % self._limits.n_devices

    def n_ready(self, device: int = 0) -> int:
        """How many observations wait for a device."""
        return len(self._ready[device])

    def ready(self, device: int = 0, rows: int | None = None) -> list[int]:
        """The workers whose observations a device can infer together, those that have waited longest first.

        With ``rows``, every episode has its row of so many: no two of the same.
        """
        if rows is None:
            return list(self._ready[device])
        chosen: dict[int, int] = {}
        for number in self._ready[device]:
            spec = self.workers[number].spec
            assert spec is not None
            chosen.setdefault(row_of(spec, rows), number)
        return list(chosen.values())

    def think(self, batch: Iterable[int]) -> None:
        """The observations of these workers are being inferred."""
        for number in batch:
            self._ready[self.device_of(number)].remove(number)
            self.workers[number].phase = Phase.THINKING

    def drop_waiting(self) -> None:
        """Forget the episodes that wait."""
        self._unfinished -= sum(map(len, self._waiting.values()))
        for waiting in self._waiting.values():
            waiting.clear()

    # -------------------------------------------------------------------------------------------- what happened

    def started(self, number: int) -> None:
        """A worker's process was started."""
        self.workers[number] = WorkerState()

    def joined(self, number: int) -> None:
        """It is up and can be given work."""
        self.workers[number].phase = Phase.IDLE

    def built(self, number: int) -> EpisodeSpec:
        """Its simulator stands; returns the episode that it was built for."""
        worker = self.workers[number]
        assert worker.spec is not None
        worker.built, worker.phase = worker.spec.task, Phase.SIMULATING
        return worker.spec

    def observed(self, number: int) -> None:
        """Its episode waits for the policy."""
        self.workers[number].phase = Phase.READY
        self._ready[self.device_of(number)].append(number)

    def acted(self, number: int) -> None:
        """It was sent actions."""
        self.workers[number].phase = Phase.SIMULATING

    def finished(self, number: int) -> TaskKey:
        """Its episode, of the task that is returned, reached its end."""
        spec = self._release(number)
        assert spec is not None
        self._unfinished -= 1
        self._failures.ended()
        return spec.task

    def failed(self, number: int, error: AttemptError | None, *, env_stands: bool = False) -> EpisodeSpec | None:
        """Its episode failed; the worker lives. Without an error its episode had no part in it.

        Returns the episode if that was its last attempt.
        """
        if not env_stands:
            self.workers[number].built = None
        return self._failed_attempt(self._release(number), error)

    def lost(self, number: int, error: AttemptError | None) -> EpisodeSpec | None:
        """The worker is gone; without an error its episode had no part in it.

        Returns the episode that it ran, if that was its last attempt.
        """
        self.n_lost += 1
        spec = self._release(number)
        del self.workers[number]
        return self._failed_attempt(spec, error)

    # --------------------------------------------------------------------------------------------------- inside

    def _release(self, number: int) -> EpisodeSpec | None:
        worker = self.workers[number]
        if worker.phase is Phase.READY:
            self._ready[self.device_of(number)].remove(number)
        spec, worker.spec, worker.phase = worker.spec, None, Phase.IDLE
        return spec

    def _failed_attempt(self, spec: EpisodeSpec | None, error: AttemptError | None) -> EpisodeSpec | None:
        if spec is None:
            return None
        if error is None:
            self._waiting[spec.task].appendleft(spec)
            return None
        attempts = self._errors.setdefault(spec, [])
        attempts.append(error)
        in_policy = error.kind == POLICY_FAILED
        if len(attempts) < self._limits.max_attempts:
            waiting = self._waiting[spec.task]
            (waiting.appendleft if in_policy else waiting.append)(spec)
            return None
        self._unfinished -= 1
        if in_policy:
            self._failures.failed(spec)
        return spec

    def _next_episode(self, worker: WorkerState, crowd: Mapping[TaskKey, int]) -> EpisodeSpec | None:
        """An episode of the task the worker has built, else of the one that will take longest, if that pays."""
        full = 0 < self._limits.max_parallel_tasks <= len(crowd)
        open_tasks = [task for task in self._not_too_far_ahead() if task in crowd or not full]
        if self._failures.everywhere:
            open_tasks = self._failures.fewest_of(open_tasks)
        if worker.built in open_tasks:
            return self._waiting[worker.built].popleft()
        joinable = [task for task in open_tasks if self._pays_to_join(task, crowd.get(task, 0))]
        if not joinable:
            return None
        return self._waiting[max(joinable, key=lambda task: self._work(task) / (crowd.get(task, 0) + 1))].popleft()

    def _pays_to_join(self, task: TaskKey, n_workers: int) -> bool:
        """Whether a simulator built now would stand before those who are at the task have begun the last of it."""
        return not n_workers or self._forecast.build_seconds(task) <= self._work(task) / n_workers

    def _work(self, task: TaskKey) -> float:
        """The seconds that a task's waiting episodes will take; their number, while nothing is known."""
        return len(self._waiting[task]) * (self._forecast.episode_seconds(task) or 1.0)

    def _not_too_far_ahead(self) -> list[TaskKey]:
        """The tasks with episodes that wait, apart from those whose turn it is not yet."""
        following = {task: waiting[0].episode_index for task, waiting in self._waiting.items() if waiting}
        if not self._limits.max_lead:
            return list(following)
        return [task for task, index in following.items() if index < min(following.values()) + self._limits.max_lead]

    def _workers_per_task(self) -> Counter[TaskKey]:
        return Counter(worker.spec.task for worker in self.workers.values() if worker.spec is not None)
