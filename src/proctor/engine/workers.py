"""Workers kept busy with episodes: started, given a simulator, replaced when they die, until every episode is over."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

from proctor.child import import_path
from proctor.config import EvalConfig
from proctor.engine.forecast import Forecast
from proctor.engine.load import Load
from proctor.engine.scheduler import Limits, Phase, Scheduler
from proctor.engine.worker.messages import Build, Built, Finished, Ready, Reply, RequestFailed, Setup, VideoSpec
from proctor.engine.worker.pool import Deadlines, Pool, WorkerLost
from proctor.engine.worker.video_recorder import discard_video
from proctor.errors import ConfigError, EnvironmentBuildError, Interrupted, ResourceError
from proctor.types import AttemptError, EpisodeSpec, Task, TaskKey

_ALIKE_BUILD_FAILURES = 3
_LOSSES_PER_WORKER = 4
_TICK_S = 0.25
LEAD_WHEN_STOPPING = 10
"""Episodes by which a task may be ahead of the others where all of them together decide when to stop. More would be
run for nothing; fewer would have simulators built again and again."""


@dataclass(frozen=True)
class EngineSetup:
    """What an engine needs to know before it starts.

    ``benchmark`` is the address (``module:attribute``) at which workers find it and ``env`` its configuration's
    fields; ``action_source`` the address of a policy that lives in the workers, if it is one of those.
    ``log`` takes what workers print, ``trace`` what everybody did when. ``batch_size`` simulators run side by side.
    """

    benchmark: str
    env: Mapping[str, Any]
    tasks: Mapping[TaskKey, Task]
    action_source: str | None
    config: EvalConfig
    batch_size: int
    log: Path | None = None
    trace: Path | None = None
    in_process: bool = False
    """Whether the one simulator there is then runs in this process, because the user wants it so: one worker that
    Proctor chose is a process like any other."""
    known: Mapping[str, Any] = field(default_factory=dict)
    """What workers are told beside the configuration: ``Benchmark.known_here``."""

    @property
    def n_workers(self) -> int:
        return 1 if self.in_process else self.batch_size


def _warnings_as_errors() -> str:
    """What the user may have set that makes libraries fail where they would warn."""
    value = os.environ.get("PYTHONWARNINGS", "")
    return f" (with PYTHONWARNINGS={value}, which makes errors of libraries' warnings)" if "error" in value else ""


class Crew(ABC):
    """Workers, the scheduler that says which runs which episode, and what happens when one fails.

    What is done with an episode, a subclass says: the :class:`~proctor.engine.engine.Engine` measures it, the
    :class:`~proctor.engine.video_replay.VideoReplayer` replays it. ``films`` are those that may be taken meanwhile.
    ``predecessor`` hands over its workers and their simulators.
    """

    def __init__(
        self,
        setup: EngineSetup,
        plan: Sequence[EpisodeSpec],
        films: Mapping[EpisodeSpec, VideoSpec],
        predecessor: Crew | None = None,
        n_devices: int = 1,
    ) -> None:
        self.setup = setup
        self.films = films
        limits = Limits(
            setup.n_workers,
            setup.config.max_attempts,
            setup.env.get("max_parallel_tasks", 0),
            max_lead=0 if setup.config.stop_at_ci_width is None else LEAD_WHEN_STOPPING,
            n_devices=n_devices,
        )
        if predecessor is None:
            self.forecast = Forecast()
            self.scheduler = Scheduler(plan, limits, forecast=self.forecast)
            self.pool = Pool(
                Setup(setup.benchmark, dict(setup.env), setup.action_source, import_path(), dict(setup.known)),
                in_process=setup.in_process,
                log=setup.log,
                deadlines=Deadlines(setup.config.step_timeout_s, setup.config.reset_timeout_s),
            )
        else:
            self.forecast = predecessor.forecast
            self.scheduler = Scheduler(plan, limits, predecessor.scheduler.workers, self.forecast)
            self.pool = predecessor.pool
        self._episode_began: dict[int, float] = {}
        self._some_simulator_stood = False
        self._build_failures: Counter[str] = Counter()
        self._signal: int | None = None
        self.notes: dict[str, None] = {}
        """What the simulators have to say to the user, each sentence once, in the order in which they came."""
        self.expects_more = False
        """Whether to stay up once every episode is over, because others may be added."""
        self.patience_s = inf
        """How soon there is something to do though nobody says anything."""

    def run_to_end(self, on_tick: Callable[[], None]) -> None:
        """Turn until every episode is over and no more are expected. ``on_tick`` is called a few times a second.

        Raises:
            ContractError: policy and environment do not fit.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers died.
            Interrupted: :meth:`interrupt` was called.
        """
        next_tick = 0.0
        while self.expects_more or not self.scheduler.done:
            self.step()
            if monotonic() >= next_tick:
                on_tick()
                next_tick = monotonic() + _TICK_S
        on_tick()

    @abstractmethod
    def step(self) -> None:
        """One turn: hear what happened, then hand out what can be done now."""

    def interrupt(self, signal_number: int) -> None:
        """End the run at its next turn, from a signal handler. Finished episodes are kept, those under way dropped."""
        self._signal = signal_number

    def add(self, specs: Iterable[EpisodeSpec]) -> None:
        """Let more episodes wait, while it runs or before."""
        self.scheduler.add(specs)

    def begin_no_more(self) -> None:
        """Drop the episodes that have not begun; those that have are run to their end."""
        self.scheduler.drop_waiting()

    def kill_a_worker(self, besides: EpisodeSpec) -> bool:
        """End a worker in the midst of another episode, as a crash would: to see that results do not depend on it.

        Returns whether there was one.
        """
        for number, worker in self.scheduler.workers.items():
            if worker.spec not in (None, besides):
                self.pool.kill(number)
                return True
        return False

    def load(self) -> Load:
        """What the workers are doing now."""
        workers = self.scheduler.workers.values()
        phases = Counter(worker.phase for worker in workers)
        return Load(
            starting=phases[Phase.STARTING],
            building=phases[Phase.BUILDING],
            simulating=phases[Phase.SIMULATING],
            waiting=phases[Phase.IDLE] + phases[Phase.READY] + phases[Phase.THINKING],
            running=Counter(worker.spec.task for worker in workers if worker.spec is not None),
        )

    def close(self) -> None:
        """End the workers, and leave no video unfinished. Safe to call at any time, also twice."""
        self.pool.close()
        for film in self.films.values():
            discard_video(film)

    # ----------------------------------------------------------------------------------------- what a subclass says

    @abstractmethod
    def start(self, number: int, spec: EpisodeSpec) -> None:
        """A simulator of its task stands: send the worker what it is to do with the episode."""

    @abstractmethod
    def replied(self, number: int, reply: Reply) -> None:
        """A worker says something of its episode."""

    @abstractmethod
    def given_up(self, spec: EpisodeSpec, errors: Sequence[AttemptError]) -> None:
        """The last attempt at an episode has failed too."""

    def worker_started(self, number: int) -> None:
        """A worker's process was started."""

    def stands(self, number: int, spec: EpisodeSpec, built: Built) -> None:
        """A simulator has been built for an episode."""

    def attempt_ended(self, number: int) -> None:
        """An attempt at an episode is over without a result."""

    # ---------------------------------------------------------------------------------------------- inside a turn

    def hear_workers(self) -> None:
        """Take in what the workers say, waiting a moment for it."""
        for number, event in self.pool.wait(min(_TICK_S, self.patience_s)):
            self._hear(number, event)

    def hand_out(self) -> None:
        """Start the workers that are wanted, and give the idle ones episodes.

        Raises:
            Interrupted: the run was asked to end.
        """
        if self._signal is not None:
            raise Interrupted(self._signal)
        for _ in range(self.scheduler.workers_to_start()):
            number = self.pool.start_worker()
            self.scheduler.started(number)
            self.worker_started(number)
        for number, spec in self.scheduler.assign():
            self.begin(number, spec)

    def begin(self, number: int, spec: EpisodeSpec) -> None:
        """Begin an episode on a worker, with a simulator of its own if it has another task's."""
        if self.scheduler.workers[number].phase is Phase.BUILDING:
            self.pool.send(number, Build(self.setup.tasks[spec.task]))
        else:
            self._start(number, spec)

    def give_up_attempt(self, number: int, error: AttemptError | None, *, env_stands: bool) -> None:
        """End an attempt at a worker's episode; it will be tried again unless this was the last.

        Without an error the episode had no part in it, and the attempt does not count.
        """
        self.attempt_ended(number)
        self._out_of_attempts(self.scheduler.failed(number, error, env_stands=env_stands))

    def _start(self, number: int, spec: EpisodeSpec) -> None:
        self._episode_began[number] = monotonic()
        self.start(number, spec)

    def _hear(self, number: int, event: Reply | WorkerLost) -> None:
        match event:
            case Ready():
                self.scheduler.joined(number)
            case Built():
                self._built(number, event)
            case RequestFailed():
                self._failed(number, event)
            case WorkerLost():
                self._lost(number, event)
            case Finished():
                self.replied(number, event)
                task = self.scheduler.finished(number)
                self.forecast.finished(task, monotonic() - self._episode_began[number])
            case _:
                self.replied(number, event)

    def _built(self, number: int, event: Built) -> None:
        self._some_simulator_stood = True
        self.notes |= dict.fromkeys(event.notes)
        spec = self.scheduler.built(number)
        self.forecast.built(spec.task, event.spent.construct)
        self.stands(number, spec, event)
        self._start(number, spec)

    def _failed(self, number: int, event: RequestFailed) -> None:
        if event.users_fault:
            raise ConfigError(event.message)
        if event.during == "setup":
            raise EnvironmentBuildError(f"A worker cannot be set up: {event.message}")
        if event.during == "build":
            self._build_failures[event.message] += 1
            if not self._some_simulator_stood and self._build_failures[event.message] >= _ALIKE_BUILD_FAILURES:
                spec = self.scheduler.workers[number].spec
                assert spec is not None
                raise EnvironmentBuildError(
                    f"The simulator of {self.setup.tasks[spec.task].name} failed to construct "
                    f"{_ALIKE_BUILD_FAILURES} times alike: {event.message}{_warnings_as_errors()}"
                )
        self.give_up_attempt(number, AttemptError("raised", event.message, event.traceback), env_stands=False)

    def _lost(self, number: int, event: WorkerLost) -> None:
        self.attempt_ended(number)
        error = AttemptError(event.kind, event.message) if event.begun else None
        self._out_of_attempts(self.scheduler.lost(number, error))
        if self.scheduler.n_lost > _LOSSES_PER_WORKER * self.setup.n_workers:
            raise ResourceError(f"{self.scheduler.n_lost} workers were lost, the last because {event.message}.")

    def _out_of_attempts(self, spec: EpisodeSpec | None) -> None:
        if spec is not None:
            self.given_up(spec, self.scheduler.errors_of(spec))
