"""Decides which worker runs which episode, and which observations are inferred together. It is plain state.

The scheduler starts no process, imports no torch and reads no clock: it receives what happened and answers what to do
next. It decides only *when* and *where* an episode runs; what an episode *is* was written down in the plan.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from proctor.engine.forecast import Forecast
from proctor.engine.plan import row_of
from proctor.engine.policy_failures import FewestFailures
from proctor.types import POLICY_FAILED, AttemptError, EpisodeSpec, TaskKey


class Phase(Enum):
    """The states of a worker."""

    STARTING = auto()
    """Its process is being started."""
    IDLE = auto()
    """It has nothing to do, and an episode can begin on it."""
    BUILDING = auto()
    """It builds the simulator for the episode that it was given."""
    SIMULATING = auto()
    """It resets or steps its simulator."""
    READY = auto()
    """The observation of its episode waits for inference."""
    INFERRING = auto()
    """Its episode is part of a batch that is being inferred."""


@dataclass(slots=True)
class _Worker:
    """A worker: what it does, the task whose simulator it has built, the episode that it runs, and those of the same
    task that it begins, one after another, as soon as that is over.
    """

    phase: Phase = Phase.STARTING
    built: TaskKey | None = None
    spec: EpisodeSpec | None = None
    ahead: deque[EpisodeSpec] = field(default_factory=deque)
    freed: int = 0
    """The number of times that workers had been freed when this one was freed last."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds within which the scheduler decides.

    ``batch_size`` is the largest number of workers. As many as ``n_on_busy_cores`` are started although they may keep
    all cores busy; 0 means all. If ``max_parallel_tasks`` is 0, any number of tasks may be under way. ``max_lead`` is
    the number of episodes by which a task may be ahead of the one that is furthest behind; 0 means any number.
    ``n_devices`` is the number of devices that infer; a worker's observations always go to the same device.
    """

    batch_size: int
    max_attempts: int
    max_parallel_tasks: int = 0
    max_lead: int = 0
    n_devices: int = 1
    n_on_busy_cores: int = 0


_SHORT_S = 0.1
"""Episodes that are expected to take longer are not assigned ahead: a turn of the engine takes about a hundredth of
this time, and whatever happens to a worker or to the plan costs no more than this time for each worker."""
_AHEAD_S = 0.02
_MOST_AHEAD = 32
"""A worker is assigned as many episodes ahead as are expected to take the first, but no more than the second."""


_STARTING_AT_A_TIME = 8
"""The number of workers that start at a time, so that it is known how long episodes take before many have started."""
_START_S = 0.02
"""The time for which starting a worker holds up the others, as workers are forked one after another."""


def device_of(worker_id: int, n_devices: int) -> int:
    """The index of the device, of ``n_devices``, that infers for a worker."""
    return worker_id % n_devices


def _running(worker: _Worker) -> EpisodeSpec:
    assert worker.spec is not None
    return worker.spec


class Scheduler:
    """The state of a run: the episodes that wait, the workers and what they do, and the errors of failed attempts.

    Every method that reports an event of an episode returns the episode. ``forecast`` learns from others how long
    things take.
    """

    def __init__(self, plan: Iterable[EpisodeSpec], limits: Limits, forecast: Forecast | None = None) -> None:
        self._limits = limits
        self._forecast = forecast or Forecast()
        self._waiting: dict[TaskKey, deque[EpisodeSpec]] = {}
        self._unfinished = 0
        self._simulators: Mapping[TaskKey, int] | None = None
        """The number of simulators that each task is to have, if a driver decides that."""
        self.add(plan)
        self._ready: list[deque[int]] = [deque() for _ in range(limits.n_devices)]
        self._errors: dict[EpisodeSpec, list[AttemptError]] = {}
        self._failures = FewestFailures()
        self._workers: dict[int, _Worker] = {}
        self._n_for_cores = limits.n_on_busy_cores or limits.batch_size
        """The number of workers that keep the cores busy, as far as that is known."""
        self._began: set[int] = set()
        """The workers that have begun an episode since :meth:`assign_ahead` was called last."""
        self._n_freed = 0
        self.n_lost = 0
        """The number of workers that were lost."""
        self.expects_more = False
        """True if a driver adds the episodes of a larger plan."""

    def with_plan(self, plan: Iterable[EpisodeSpec], limits: Limits) -> Scheduler:
        """Return a scheduler for another plan that takes over the workers and their simulators.

        To be called once this scheduler's plan is over, as its workers have no episode then.
        """
        successor = Scheduler(plan, limits, self._forecast)
        successor._workers = self._workers
        return successor

    def add(self, specs: Iterable[EpisodeSpec], simulators: Mapping[TaskKey, int] | None = None) -> None:
        """Add episodes to those that wait; ``simulators`` are how many of each task there are to be, if they change."""
        for spec in specs:
            self._waiting.setdefault(spec.task, deque()).append(spec)
            self._unfinished += 1
        if simulators is not None:
            self._simulators = simulators

    def drop_waiting(self) -> None:
        """Drop the episodes that wait. Those that were assigned, ahead or not, are run."""
        self._unfinished -= sum(map(len, self._waiting.values()))
        for waiting in self._waiting.values():
            waiting.clear()

    @property
    def done(self) -> bool:
        """True if every episode is over."""
        return not self._unfinished

    def errors_of(self, spec: EpisodeSpec) -> tuple[AttemptError, ...]:
        """Why the attempts at an episode failed, first attempt first."""
        return tuple(self._errors.get(spec, ()))

    def given_up(self, spec: EpisodeSpec) -> bool:
        """True if the last attempt at an episode that is allowed has failed."""
        return len(self._errors.get(spec, ())) >= self._limits.max_attempts

    @property
    def worker_ids(self) -> list[int]:
        """The workers, in the order in which they were started."""
        return list(self._workers)

    def phase_of(self, worker_id: int) -> Phase:
        """The state of a worker."""
        return self._workers[worker_id].phase

    def episode_of(self, worker_id: int) -> EpisodeSpec | None:
        """The episode that a worker runs, None if it runs none."""
        return self._workers[worker_id].spec

    def n_ahead(self, worker_id: int) -> int:
        """The number of episodes that a worker was assigned ahead and has not begun."""
        return len(self._workers[worker_id].ahead)

    def phases(self) -> Counter[Phase]:
        """The number of workers in each phase."""
        return Counter(worker.phase for worker in self._workers.values())

    def workers_per_task(self) -> Counter[TaskKey]:
        """The number of workers that run an episode of each task."""
        return Counter(worker.spec.task for worker in self._workers.values() if worker.spec is not None)

    # ------------------------------------------------------------------------------------------ what to do next

    def workers_to_start(self) -> int:
        """The number of workers to start now, a few at a time: as many as the episodes that are left use and repay, and
        as the cores can bear.
        """
        n_workers = len(self._workers)
        if (n_useful := min(self._limits.batch_size, self._unfinished, self._n_for_cores) - n_workers) <= 0:
            return 0
        return max(0, min(n_useful, _STARTING_AT_A_TIME - self._n_starting, self._n_repaid() - n_workers))

    @property
    def waits_for_cores(self) -> bool:
        """True if further workers are of use only if the cores are idle, which :meth:`cores_used` is to say."""
        is_bound = self._n_for_cores <= len(self._workers) < min(self._limits.batch_size, self._unfinished)
        return is_bound and not self._n_starting

    def assign(self) -> list[tuple[int, EpisodeSpec]]:
        """Give idle workers an episode, as far as there are any that it pays to begin.

        Afterwards a worker's phase is BUILDING if it has to build the simulator first, else SIMULATING.
        """
        assigned: list[tuple[int, EpisodeSpec]] = []
        idle = [(worker_id, worker) for worker_id, worker in self._workers.items() if worker.phase is Phase.IDLE]
        if not idle:
            return assigned
        workers_on_task = self.workers_per_task()
        idle.sort(key=lambda each: each[1].freed)
        without_own: list[tuple[int, _Worker]] = []

        def assign_to(worker_id: int, worker: _Worker) -> None:
            if (spec := self._next_episode(worker, workers_on_task)) is not None:
                worker.spec = spec
                worker.phase = Phase.SIMULATING if worker.built == spec.task else Phase.BUILDING
                workers_on_task[spec.task] += 1
                self._began.add(worker_id)
                assigned.append((worker_id, spec))

        # Workers that have built a simulator of a task with an episode come before those that would build another. Of
        # these, the one that has been idle longest builds first: the next episode of the others may be on its way.
        for worker_id, worker in idle:
            if worker.built is not None and self._waiting.get(worker.built):
                assign_to(worker_id, worker)
            else:
                without_own.append((worker_id, worker))
        for each in without_own:
            assign_to(*each)
        return assigned

    def assign_ahead(self, without: Container[int] = ()) -> list[tuple[int, EpisodeSpec]]:
        """Give workers that have begun an episode further ones of the same task, if episodes are short.

        A worker begins such an episode as soon as the one before is over. It is the one that :meth:`assign` would give
        it then. The workers ``without`` are given none.
        """
        assigned: list[tuple[int, EpisodeSpec]] = []
        for worker_id in self._began:
            worker = self._workers.get(worker_id)
            if worker is None or worker.spec is None or worker.built != worker.spec.task or worker_id in without:
                continue
            n_ahead = self._n_ahead(worker.built)
            while len(worker.ahead) < n_ahead and self._may_go_on(worker.built):
                worker.ahead.append(spec := self._waiting[worker.built].popleft())
                assigned.append((worker_id, spec))
        self._began.clear()
        return assigned

    def n_ready(self, device: int = 0) -> int:
        """The number of observations that wait for a device."""
        return len(self._ready[device])

    def ready(self, device: int = 0, rows: int | None = None) -> list[int]:
        """The workers whose observations a device can infer together, those that have waited longest first.

        If ``rows`` is given, a pass has that many rows, every episode has a fixed one of them, and no two of the
        workers have episodes with the same row.
        """
        if rows is None:
            return list(self._ready[device])
        chosen: dict[int, int] = {}
        for worker_id in self._ready[device]:
            spec = self._workers[worker_id].spec
            assert spec is not None
            chosen.setdefault(row_of(spec, rows), worker_id)
        return list(chosen.values())

    def mark_inferring(self, batch: Iterable[int]) -> None:
        """Take note that the observations of these workers are being inferred."""
        for worker_id in batch:
            self._queue_of(worker_id).remove(worker_id)
            self._workers[worker_id].phase = Phase.INFERRING

    # -------------------------------------------------------------------------------------------- what happened

    def started(self, worker_id: int) -> None:
        """Take note that a worker's process was started."""
        self._workers[worker_id] = _Worker()

    def cores_used(self, part: float) -> None:
        """Take note of the part of the cores that the engine and its workers have used while no worker was starting.

        Further workers are expected to use as much each: so many may be started as keep the cores busy then, but no
        more than there are already, because these may have stood still for a moment for some other reason.
        """
        n_workers = len(self._workers)
        self._n_for_cores = max(n_workers, int(n_workers / max(part, 0.5)))

    def asked(self, worker_id: int) -> None:
        """Take note that an idle worker was asked whether it is there; it keeps its simulator."""
        self._workers[worker_id].phase = Phase.STARTING

    def joined(self, worker_id: int) -> None:
        """Take note that a worker is ready for an episode."""
        self._workers[worker_id].phase = Phase.IDLE

    def built(self, worker_id: int) -> EpisodeSpec:
        """Take note that a worker has built the simulator for its episode."""
        worker = self._workers[worker_id]
        spec = _running(worker)
        worker.built, worker.phase = spec.task, Phase.SIMULATING
        self._began.add(worker_id)
        return spec

    def observed(self, worker_id: int) -> EpisodeSpec:
        """Take note that a worker's episode waits for the policy."""
        worker = self._workers[worker_id]
        worker.phase = Phase.READY
        self._queue_of(worker_id).append(worker_id)
        return _running(worker)

    def acted(self, worker_id: int) -> EpisodeSpec:
        """Take note that a worker was sent what to simulate."""
        worker = self._workers[worker_id]
        worker.phase = Phase.SIMULATING
        return _running(worker)

    def finished(self, worker_id: int) -> EpisodeSpec:
        """Take note that a worker's episode has reached its end, and that it has begun the next one, if it has one."""
        worker = self._workers[worker_id]
        spec = _running(worker)
        self._release(worker_id)
        self._unfinished -= 1
        self._failures.ended()
        if worker.ahead:
            worker.spec, worker.phase = worker.ahead.popleft(), Phase.SIMULATING
            self._began.add(worker_id)
        return spec

    def failed(self, worker_id: int, error: AttemptError | None, *, keep_env: bool = False) -> EpisodeSpec:
        """Take note that the attempt at a worker's episode failed. Unless ``keep_env``, its simulator is closed.

        The worker does not begin the episodes that were assigned to it ahead.

        ``error`` is None if the episode had no part in the failure; then the attempt does not count.
        """
        if not keep_env:
            self._workers[worker_id].built = None
        spec = _running(self._workers[worker_id])
        self._take_back(worker_id)
        self._release(worker_id)
        self._attempt_failed(spec, error)
        return spec

    def lost(self, worker_id: int, error: AttemptError | None) -> EpisodeSpec | None:
        """Take note that a worker is gone; ``error`` is None if its episode had no part in that.

        Returns the episode that the worker ran, None if it ran none.
        """
        self.n_lost += 1
        spec = self._workers[worker_id].spec
        self._take_back(worker_id)
        self._release(worker_id)
        del self._workers[worker_id]
        if spec is not None:
            self._attempt_failed(spec, error)
        return spec

    def retired(self, worker_id: int) -> None:
        """Take note that an idle worker was ended."""
        assert self._workers[worker_id].phase is Phase.IDLE
        del self._workers[worker_id]

    # --------------------------------------------------------------------------------------------------- inside

    def _queue_of(self, worker_id: int) -> deque[int]:
        return self._ready[device_of(worker_id, self._limits.n_devices)]

    def _release(self, worker_id: int) -> None:
        worker = self._workers[worker_id]
        if worker.phase is Phase.READY:
            self._queue_of(worker_id).remove(worker_id)
        worker.spec, worker.phase = None, Phase.IDLE
        self._n_freed += 1
        worker.freed = self._n_freed

    @property
    def _n_starting(self) -> int:
        return sum(worker.phase is Phase.STARTING for worker in self._workers.values())

    def _n_repaid(self) -> int:
        """Return the largest number of workers of which the last one saves more time than its start takes: of ``work``
        seconds, ``work / (n - 1) - work / n``. If no duration is known yet, any number may.
        """
        if not all(map(self._forecast.episode_seconds, self._waiting)):
            return self._limits.batch_size
        work = sum(map(self._seconds_waiting, self._waiting))
        return int(0.5 + (0.25 + work / _START_S) ** 0.5)

    def _take_back(self, worker_id: int) -> None:
        """Have the episodes that a worker was assigned ahead wait again, before the others."""
        ahead = self._workers[worker_id].ahead
        while ahead:
            self._waiting[(spec := ahead.pop()).task].appendleft(spec)

    def _n_ahead(self, task: TaskKey) -> int:
        """Return how many episodes a worker on ``task`` is to have ahead; no more than its share of those that wait."""
        seconds = self._forecast.episode_seconds(task)
        if not 0 < seconds <= _SHORT_S or self._failures.everywhere:
            return 0
        n_worth_it = min(_MOST_AHEAD, max(1, int(_AHEAD_S / seconds)))
        return min(n_worth_it, len(self._waiting[task]) // len(self._workers))

    def _may_go_on(self, task: TaskKey) -> bool:
        """Return whether the next episode of a task may begin now."""
        return bool(self._waiting[task]) and (not self._limits.max_lead or task in self._not_too_far_ahead())

    def _attempt_failed(self, spec: EpisodeSpec, error: AttemptError | None) -> None:
        if error is None:
            self._waiting[spec.task].appendleft(spec)  # this was not an attempt, so it is the next one to begin
            return
        self._errors.setdefault(spec, []).append(error)
        in_policy = error.kind == POLICY_FAILED
        if self.given_up(spec):
            self._unfinished -= 1
            if in_policy:
                self._failures.failed(spec)
        elif in_policy:
            self._waiting[spec.task].appendleft(spec)  # a policy that fails everywhere is to be found out soon
        else:
            self._waiting[spec.task].append(spec)

    def _next_episode(self, worker: _Worker, workers_on_task: Mapping[TaskKey, int]) -> EpisodeSpec | None:
        """Take the episode that a worker is to run next from those that wait, if it pays to begin one."""
        task = self._next_task(worker, workers_on_task)
        return self._waiting[task].popleft() if task is not None else None

    def _next_task(self, worker: _Worker, workers_on_task: Mapping[TaskKey, int]) -> TaskKey | None:
        full = 0 < self._limits.max_parallel_tasks <= len(workers_on_task)
        open_tasks = [task for task in self._not_too_far_ahead() if task in workers_on_task or not full]
        if self._failures.everywhere:
            open_tasks = self._failures.fewest_of(open_tasks)
        if worker.built in open_tasks:  # nothing needs to be built
            return worker.built
        joinable = [task for task in open_tasks if self._pays_to_join(task, workers_on_task.get(task, 0))]

        def seconds_left_if_joined(task: TaskKey) -> float:
            return self._seconds_waiting(task) / (workers_on_task.get(task, 0) + 1)

        # The run ends when its last task ends. So the worker joins the task that would, even with its help, take
        # longest: that spreads the workers over the tasks in proportion to the work that waits.
        return max(joinable, key=seconds_left_if_joined, default=None)

    def _pays_to_join(self, task: TaskKey, n_workers: int) -> bool:
        """Return whether building another simulator would finish before the workers already on the task have begun its
        last episode.
        """
        if self._simulators is not None:  # only the driver sees what is left of a task
            return not n_workers or self._n_simulators(task) < self._simulators.get(task, 0)
        return not n_workers or self._forecast.build_seconds(task) <= self._seconds_waiting(task) / n_workers

    def _n_simulators(self, task: TaskKey) -> int:
        """Return the number of workers that have a simulator of a task, or build one."""
        return sum(
            task == (_running(worker).task if worker.phase is Phase.BUILDING else worker.built)
            for worker in self._workers.values()
        )

    def _seconds_waiting(self, task: TaskKey) -> float:
        """The seconds that a task's waiting episodes will take; their number if no duration is known yet."""
        return len(self._waiting[task]) * (self._forecast.episode_seconds(task) or 1.0)

    def _not_too_far_ahead(self) -> list[TaskKey]:
        """The tasks with episodes that wait, without those that are too far ahead of the others."""
        following = {task: waiting[0].episode_index for task, waiting in self._waiting.items() if waiting}
        if not self._limits.max_lead:
            return list(following)
        furthest_behind = min(following.values(), default=0)
        return [task for task, index in following.items() if index < furthest_behind + self._limits.max_lead]
