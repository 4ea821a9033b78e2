"""The workers: started, given simulators and episodes, and replaced if they are lost.

:class:`Workers` does not depend on policies and results. What happens to an episode on a worker comes out as an event,
and the owner of the workers sends the requests that run the episode.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

import msgspec

from proctor.engine.core_use import CoreUse
from proctor.engine.forecast import Forecast
from proctor.engine.load import Load
from proctor.engine.observer import Observer, Observers
from proctor.engine.options import EngineSetup
from proctor.engine.origin import Origin
from proctor.engine.scheduler import Limits, Phase, Scheduler
from proctor.engine.sent_videos import SentVideos
from proctor.engine.worker.arrays import SharedArrays
from proctor.engine.worker.messages import (
    Act,
    Build,
    Built,
    Drop,
    Dropped,
    Finished,
    FrameDrawn,
    FrameEncoded,
    Observed,
    Ready,
    Replay,
    RequestFailed,
    Start,
)
from proctor.engine.worker.pool import Pool, WorkerLost
from proctor.errors import ConfigError, EnvironmentBuildError, Interrupted, ResourceError
from proctor.types import AttemptError, EpisodeSpec, Task, TaskKey

_ALIKE_BUILD_FAILURES = 3
_LOSSES_PER_WORKER = 4
TICK_S = 0.25
"""The longest time that a turn waits for something to happen, so that signals and the display are attended to."""


_TOO_LARGE = (
    "A worker that takes more than {:.3g} GB of memory after an episode is replaced, as it happened here "
    "(--eval.worker_memory_gb); results do not depend on it."
)

# ------------------------------------------------------------------------------------------------------------- events


class EnvBuilt(NamedTuple):
    """A worker has built the simulator for an episode, and waits for the episode's first request."""

    worker_id: int
    spec: EpisodeSpec
    reply: Built


class EpisodeObserved(NamedTuple):
    """An episode's next observation is there; its arrays lie in :meth:`Workers.arrays`."""

    worker_id: int
    spec: EpisodeSpec
    reply: Observed


class EpisodeFinished(NamedTuple):
    """An episode has reached its end. ``errors`` says why earlier attempts at it failed. ``following`` is the episode
    that the worker has begun now because it was sent ahead; None if there is none.
    """

    worker_id: int
    spec: EpisodeSpec
    reply: Finished
    errors: Sequence[AttemptError]
    following: EpisodeSpec | None


class AttemptFailed(NamedTuple):
    """The simulator failed in an attempt at an episode, and was closed. The worker goes on."""

    worker_id: int
    spec: EpisodeSpec
    reply: RequestFailed


class WorkerReplaced(NamedTuple):
    """A worker is gone, and another one is started if it is needed. ``spec`` is None if the worker had no episode."""

    worker_id: int
    spec: EpisodeSpec | None
    reply: WorkerLost


class EpisodeGivenUp(NamedTuple):
    """The last attempt at an episode has failed; ``errors`` says why each attempt did."""

    spec: EpisodeSpec
    errors: Sequence[AttemptError]


Event = EnvBuilt | EpisodeObserved | EpisodeFinished | AttemptFailed | WorkerReplaced | EpisodeGivenUp


# ------------------------------------------------------------------------------------------------------------ workers


class Workers:
    """The processes of an engine, the scheduler that says which of them runs which episode, and the forecast it uses.

    The workers outlive a plan: another plan can begin on them (:meth:`begin`) once theirs is over, with the simulators
    that they have built.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self.origin = Origin.of(setup)
        """Everything that the workers are made from, besides the code."""
        self._pool = Pool(
            self.origin.setup,
            interpreter=setup.python,
            in_process=setup.in_process,
            log=setup.log,
            deadlines=self.origin.deadlines,
        )
        self._sent_videos = SentVideos()
        self._forecast = Forecast()
        self._signal: int | None = None
        self._too_large: set[int] = set()
        """The workers that take more memory than one may, and are to be replaced."""
        self.built: dict[TaskKey, Built] = {}
        """The reply of a worker for each task whose simulator has been built."""
        self.tasks_built: dict[TaskKey, Task] = {}
        """These tasks, as they were built."""
        self.scheduler = Scheduler((), self._limits(n_devices=1), self._forecast)
        self.begin(setup, ())

    def begin(
        self, setup: EngineSetup, plan: Iterable[EpisodeSpec], observers: Sequence[Observer] = (), n_devices: int = 1
    ) -> None:
        """Begin a plan, whose events ``observers`` receive. The plan before it has to be over.

        ``setup`` may differ from the one before in the tasks, the number of workers and the bounds of the scheduler.
        """
        self._setup = setup
        self.scheduler = self.scheduler.with_plan(plan, self._limits(n_devices))
        self.observers = Observers((self._forecast, *observers))
        self._core_use = CoreUse(self._pool.core_seconds, setup.cores)
        self._some_simulator_built = False
        self._build_failures: Counter[str] = Counter()
        self.notes: dict[str, None] = {}
        """Sentences of the simulators that were built for this plan, each once, in the order in which they came."""
        for worker_id in self.scheduler.worker_ids:
            self.observers.worker_started(worker_id, monotonic())

    @property
    def at_rest(self) -> bool:
        """True if the plan is over and another one may begin: nothing has failed, and it was not interrupted."""
        return self.done and not self._pool.closed and self._signal is None

    @property
    def n_running(self) -> int:
        """The number of workers that were started and are not known to have ended."""
        return len(self.scheduler.worker_ids)

    def take_over(self, setup: EngineSetup) -> None:
        """Prepare for a plan of ``setup``, in another evaluation; nothing of what a worker is made from differs.

        Each worker is asked whether it is there, and prints into the new log from then on. A worker whose start was
        still under way is replaced, because its first reply would be taken for that answer.
        """
        idle = [number for number in self.scheduler.worker_ids if self.scheduler.phase_of(number) is Phase.IDLE]
        for worker_id in set(self.scheduler.worker_ids).difference(idle):
            self._pool.kill(worker_id)
        for worker_id in idle:
            self.scheduler.asked(worker_id)
        self._pool.log_into(setup.log, idle)

    def _limits(self, n_devices: int) -> Limits:
        options = self._setup.options
        return Limits(
            self._setup.n_workers,
            options.max_attempts,
            options.max_parallel_tasks,
            options.max_lead,
            n_devices,
            self._setup.n_workers_on_busy_cores,
        )

    # ---------------------------------------------------------------------------------------------- from the engine

    @property
    def done(self) -> bool:
        """True if every episode of the plan is over."""
        return self.scheduler.done

    def add(self, specs: Iterable[EpisodeSpec], simulators: Mapping[TaskKey, int] | None = None) -> None:
        """Add episodes to the plan, while it runs or before; see :meth:`Engine.add`."""
        self.scheduler.add(specs, simulators)

    def drop_waiting(self) -> None:
        """Drop the episodes that have not begun; those that have are run to their end."""
        self.scheduler.drop_waiting()

    def interrupt(self, signal_number: int) -> None:
        """Have the next :meth:`assign` raise ``Interrupted``. May be called from a signal handler or another thread."""
        self._signal = signal_number

    def check_interrupted(self) -> None:
        """Raise the error of an interrupted run, if :meth:`interrupt` was called.

        Raises:
            Interrupted: the run was asked to end.
        """
        if self._signal is not None:
            raise Interrupted(self._signal)

    def assign(self) -> Iterator[tuple[int, EpisodeSpec]]:
        """Start the workers that are needed, and give the idle ones episodes.

        Yields the workers that can begin their episode at once. Others have to build its simulator first, and it can
        begin when :meth:`receive` yields :class:`EnvBuilt`.

        Raises:
            Interrupted: the run was asked to end.
        """
        self.check_interrupted()
        self._retire_too_large()
        self._measure_core_use()
        for _ in range(self.scheduler.workers_to_start()):
            worker_id = self._pool.start_worker()
            self.scheduler.started(worker_id)
            self.observers.worker_started(worker_id, monotonic())
        for worker_id, spec in self.scheduler.assign():
            self.observers.started(worker_id, spec, monotonic())
            if self.scheduler.phase_of(worker_id) is Phase.BUILDING:
                self._pool.send(worker_id, Build(self._setup.tasks[spec.task]))
            else:
                yield worker_id, spec

    def _measure_core_use(self) -> None:
        """Tell the scheduler what part of the cores is used, again and again while it waits for that."""
        if not self.scheduler.waits_for_cores:
            self._core_use.stop()
        elif (part := self._core_use.measure(self.n_running)) is not None:
            self.scheduler.cores_used(part)

    def assign_ahead(self) -> Iterable[tuple[int, EpisodeSpec]]:
        """Give workers that have begun an episode further ones, which :meth:`send_ahead` is to send."""
        if self._setup.in_process:
            return ()
        return self.scheduler.assign_ahead(without=self._too_large)

    def _retire_too_large(self) -> None:
        """End the idle workers whose simulators leak memory, so that new ones take their places if there is more to
        do.
        """
        if self.done:
            self._too_large.clear()
        for worker_id in [each for each in self._too_large if self.scheduler.phase_of(each) is Phase.IDLE]:
            self._too_large.remove(worker_id)
            self.scheduler.retired(worker_id)
            self._pool.retire(worker_id)
            self.observers.lost(worker_id, None, monotonic())

    def send(self, worker_id: int, request: Start | Act | Replay) -> None:
        """Send a worker what it is to simulate next of its episode."""
        n_actions = request.actions.shape[0] if isinstance(request, Act) else 0
        self.observers.acted(worker_id, self.scheduler.acted(worker_id), n_actions, monotonic())
        self._pool.send(worker_id, request)

    def send_ahead(self, worker_id: int, request: Start) -> None:
        """Send a worker an episode that it is to begin once those that it has are over."""
        self._pool.send(worker_id, request)

    def fail(self, worker_id: int, error: AttemptError | None) -> Sequence[EpisodeGivenUp]:
        """End the attempt at a worker's episode, which the policy has failed; the worker keeps its simulator.

        ``error`` is None if the episode had no part in the failure; then the attempt does not count. Returns an event
        if this was the last attempt, else nothing.
        """
        self._sent_videos.drop(worker_id)
        if self.scheduler.n_ahead(worker_id):
            self._pool.send(worker_id, Drop())
        spec = self.scheduler.failed(worker_id, error, keep_env=True)
        self.observers.lost(worker_id, spec, monotonic())
        return self._if_given_up(spec)

    def arrays(self, worker_id: int) -> SharedArrays:
        """The memory in which the observations of a worker lie."""
        return self._pool.arrays(worker_id)

    def watch(self, descriptor: int, callback: Callable[[], None] | None = None) -> None:
        """Let :meth:`receive` also return when ``descriptor`` is readable, and call ``callback`` then."""
        self._pool.watch(descriptor, callback)

    def unwatch(self, descriptor: int) -> None:
        """No longer watch a descriptor; to be called before it is closed."""
        self._pool.unwatch(descriptor)

    def kill_one(self, besides: EpisodeSpec) -> bool:
        """Kill a worker in the midst of an episode other than ``besides``; returns whether there was one."""
        for worker_id in self.scheduler.worker_ids:
            if self.scheduler.episode_of(worker_id) not in (None, besides):
                self._pool.kill(worker_id)
                return True
        return False

    def load(self) -> Load:
        """Count the workers by what they are doing now."""
        phases = self.scheduler.phases()
        return Load(
            starting=phases[Phase.STARTING],
            building=phases[Phase.BUILDING],
            simulating=phases[Phase.SIMULATING],
            waiting=phases[Phase.IDLE] + phases[Phase.READY] + phases[Phase.INFERRING],
            running=self.scheduler.workers_per_task(),
        )

    def close(self) -> None:
        """End the workers. Safe to call at any time, also twice."""
        self._pool.close()
        self._sent_videos.close()

    # --------------------------------------------------------------------------------------------- from the workers

    def receive(self, timeout_s: float) -> Iterator[Event]:
        """Yield what has happened on the workers, waiting up to ``timeout_s`` seconds for it.

        Raises:
            ConfigError: a worker's failure is the user's mistake, and would be the same on every worker.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers were lost.
        """
        for worker_id, reply in self._pool.wait(self._core_use.within_window(timeout_s)):
            now = monotonic()
            match reply:
                case Observed():
                    yield self._observed(worker_id, reply, now)
                case Finished():
                    yield self._finished(worker_id, reply, now)
                case Built():
                    yield self._built(worker_id, reply, now)
                case Ready():
                    self.scheduler.joined(worker_id)
                case FrameDrawn():
                    self._encode(worker_id, reply)
                case Dropped():
                    pass  # the scheduler took the episode back when the attempt before it failed
                case RequestFailed():
                    yield from self._failed(worker_id, reply, now)
                case WorkerLost():
                    yield from self._lost(worker_id, reply, now)

    def _observed(self, worker_id: int, reply: Observed, now: float) -> EpisodeObserved:
        spec = self.scheduler.observed(worker_id)
        self.observers.observed(worker_id, spec, reply, now)
        return EpisodeObserved(worker_id, spec, reply)

    def _encode(self, worker_id: int, reply: FrameDrawn) -> None:
        frame = self.arrays(worker_id).read(reply.frame)
        self._pool.send(worker_id, FrameEncoded(self._sent_videos.add(worker_id, reply, frame)))

    def _finished(self, worker_id: int, reply: Finished, now: float) -> EpisodeFinished:
        if problem := self._sent_videos.finish(worker_id):
            reply = msgspec.structs.replace(reply, video_problem=reply.video_problem or problem)
        spec = self.scheduler.finished(worker_id)
        if (following := self.scheduler.episode_of(worker_id)) is not None:
            now = reply.ended_at
        self.observers.finished(worker_id, spec, reply, now)
        if following is not None:
            self.observers.started(worker_id, following, now)
            self.observers.acted(worker_id, following, 0, now)
        if self._pool.memory_of(worker_id) > (limit := self._setup.options.worker_memory):
            self._too_large.add(worker_id)
            self.notes[_TOO_LARGE.format(limit / 1e9)] = None
        return EpisodeFinished(worker_id, spec, reply, self.scheduler.errors_of(spec), following)

    def _built(self, worker_id: int, reply: Built, now: float) -> EnvBuilt:
        spec = self.scheduler.built(worker_id)
        self._some_simulator_built = True
        self.built[spec.task] = reply
        self.tasks_built[spec.task] = self._setup.tasks[spec.task]
        self.notes |= dict.fromkeys(reply.notes)
        self.observers.built(worker_id, spec, reply, now)
        return EnvBuilt(worker_id, spec, reply)

    def _failed(self, worker_id: int, reply: RequestFailed, now: float) -> Iterator[Event]:
        self._sent_videos.drop(worker_id)
        if reply.users_fault:
            raise ConfigError(reply.message)
        if reply.during == "setup":
            raise EnvironmentBuildError(f"A worker cannot be set up: {reply.message}")
        error = AttemptError("raised", reply.message, reply.traceback)
        spec = self.scheduler.failed(worker_id, error)
        if reply.during == "build":
            self._count_build_failure(spec, reply.message)
        self.observers.lost(worker_id, spec, now)
        yield AttemptFailed(worker_id, spec, reply)
        yield from self._if_given_up(spec)

    def _count_build_failure(self, spec: EpisodeSpec, message: str) -> None:
        # Once a simulator has been built, what fails is that task's matter, and the others can go on.
        self._build_failures[message] += 1
        if not self._some_simulator_built and self._build_failures[message] >= _ALIKE_BUILD_FAILURES:
            raise EnvironmentBuildError(
                f"The simulator of {self._setup.tasks[spec.task].name} failed to construct "
                f"{_ALIKE_BUILD_FAILURES} times alike: {message}{_warnings_as_errors()}"
            )

    def _lost(self, worker_id: int, reply: WorkerLost, now: float) -> Iterator[Event]:
        self._sent_videos.drop(worker_id)
        error = AttemptError(reply.kind, reply.message) if reply.begun else None
        was_building = self.scheduler.phase_of(worker_id) is Phase.BUILDING
        spec = self.scheduler.lost(worker_id, error)
        self._too_large.discard(worker_id)
        # A SIGKILL comes from outside, most often because memory is short, and the others may have enough of it.
        if was_building and spec is not None and error is not None and "SIGKILL" not in reply.message:
            self._count_build_failure(spec, reply.message)
        self.observers.lost(worker_id, spec, now)
        yield WorkerReplaced(worker_id, spec, reply)
        if spec is not None:
            yield from self._if_given_up(spec)
        if self.scheduler.n_lost > _LOSSES_PER_WORKER * self._setup.n_workers:
            raise ResourceError(f"{self.scheduler.n_lost} workers were lost, the last because {reply.message}.")

    def _if_given_up(self, spec: EpisodeSpec) -> Sequence[EpisodeGivenUp]:
        errors = self.scheduler.errors_of(spec)
        return [EpisodeGivenUp(spec, errors)] if self.scheduler.given_up(spec) else []


def repeat(turn: Callable[[], None], over: Callable[[], bool], on_tick: Callable[[], None]) -> None:
    """Call ``turn`` until ``over()``; ``on_tick`` is called a few times a second meanwhile, and once at the end."""
    next_tick = 0.0
    while not over():
        turn()
        if monotonic() >= next_tick:
            on_tick()
            next_tick = monotonic() + TICK_S
    on_tick()


def _warnings_as_errors() -> str:
    """Say, after a failure's message, that the user's environment turns libraries' warnings into errors, if it does."""
    value = os.environ.get("PYTHONWARNINGS", "")
    return f" (with PYTHONWARNINGS={value}, which makes errors of libraries' warnings)" if "error" in value else ""
