"""The engine: one loop that listens to workers and inference, and lets the scheduler decide what comes next."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from proctor.config import EvalConfig
from proctor.engine.episode import Episode, LookPlan
from proctor.engine.inference import Answer, Inference, Question
from proctor.engine.messages import Build, Built, Failed, Finished, Observed, Ready, Reply, Setup, Start
from proctor.engine.pool import Deadlines, Lost, Pool
from proctor.engine.scheduler import Limits, Phase, Scheduler
from proctor.errors import ConfigError, EnvironmentBuildError, Interrupted, PolicyError, ResourceError
from proctor.policies.base import PolicySource
from proctor.types import Array, AttemptError, EpisodeResult, EpisodeSpec, Features, Outcome, Task, TaskKey, Timings

_ALIKE_BUILD_FAILURES = 3
_LOSSES_PER_WORKER = 4
_TICK_S = 0.25

OnResult = Callable[[EpisodeResult, Array | None], None]


@dataclass(frozen=True)
class EngineSetup:
    """What an engine needs to know before it starts.

    ``benchmark`` is the address (``module:attribute``) at which workers find it and ``env`` its configuration's
    fields; ``action_source`` the address of a policy that lives in the workers, if it is one of those.
    """

    benchmark: str
    env: Mapping[str, Any]
    tasks: Mapping[TaskKey, Task]
    action_source: str | None
    config: EvalConfig
    batch_size: int
    log: Path | None = None

    @property
    def in_process(self) -> bool:
        return self.batch_size == 1 or not self.config.use_async_envs


class Engine:
    """Runs a plan. ``policy`` is None if the actions come from inside the workers (``setup.action_source``)."""

    def __init__(self, setup: EngineSetup, plan: Sequence[EpisodeSpec], policy: PolicySource | None) -> None:
        self._tasks, self._config, self._batch_size = setup.tasks, setup.config, setup.batch_size
        if setup.in_process:
            self._batch_size = 1
        limits = Limits(self._batch_size, setup.config.max_attempts, setup.env.get("max_parallel_tasks", 0))
        self.scheduler = Scheduler(plan, limits)
        self._pool = Pool(
            Setup(setup.benchmark, dict(setup.env), setup.action_source, sys.path),
            in_process=setup.in_process,
            log=setup.log,
            deadlines=Deadlines(setup.config.step_timeout_s, setup.config.reset_timeout_s),
        )
        self._policy = policy
        self._looks = LookPlan(policy.look_offsets, policy.n_action_steps) if policy else LookPlan()
        self._inference: Inference | None = None
        if policy is not None:
            config = setup.config
            self._inference = Inference(
                policy, n_threads=config.inference_threads, batch_size=config.inference_batch_size
            )
            self._pool.watch(self._inference.wake_descriptor)
        self._episodes: dict[int, Episode] = {}
        self._features: dict[TaskKey, Features] = {}
        self._build_failures: Counter[str] = Counter()
        self._signal: int | None = None
        self.began_at: float | None = None
        """When the first episode was asked for, on the monotonic clock."""
        self._on_result: OnResult

    def run(self, on_result: OnResult, on_tick: Callable[[], None] = lambda: None) -> None:
        """Run the plan to its end; every episode leaves through ``on_result`` with the actions it executed.

        ``on_tick`` is called a few times a second.

        Raises:
            ContractError: policy and environment do not fit.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers died.
            Interrupted: :meth:`interrupt` was called.
        """
        self._on_result = on_result
        next_tick = 0.0
        while not self.scheduler.done:
            self.step()
            if monotonic() >= next_tick:
                on_tick()
                next_tick = monotonic() + _TICK_S
        on_tick()

    def step(self) -> None:
        """One turn: hear what happened, then hand out what can be done now."""
        for number, event in self._pool.wait(_TICK_S):
            self._hear(number, event)
        for answer in self._inference.answers() if self._inference else ():
            self._act(answer)
        if self._signal is not None:
            raise Interrupted(self._signal)
        for _ in range(self.scheduler.workers_to_start()):
            self.scheduler.started(self._pool.start_worker())
        for number, spec in self.scheduler.assign():
            self._begin(number, spec)
        self._infer()

    def interrupt(self, signal_number: int) -> None:
        """End the run at its next turn, from a signal handler. Finished episodes are kept, those under way dropped."""
        self._signal = signal_number

    def workers_busy(self) -> tuple[int, int]:
        """How many workers have something to do, and how many there are."""
        workers = self.scheduler.workers.values()
        idle = (Phase.IDLE, Phase.READY, Phase.THINKING)
        return sum(worker.phase not in idle for worker in workers), len(workers)

    def inference_share(self, elapsed_s: float) -> float | None:
        """The part of the time that its inference slots were busy, 0 to 1; None without a policy here."""
        if self._inference is None or self._inference.policy is None:
            return None
        return min(1.0, self._inference.busy_seconds / (elapsed_s * self._inference.n_slots))

    def close(self) -> None:
        """End the workers and the inference threads. Safe to call at any time, also twice."""
        self._pool.close()
        if self._inference is not None:
            self._inference.close()
            self._inference = None

    # ------------------------------------------------------------------------------------------ what is handed out

    def _begin(self, number: int, spec: EpisodeSpec) -> None:
        task = self._tasks[spec.task]
        self._episodes[number] = Episode(spec, task, self._looks)
        if self.scheduler.workers[number].phase is Phase.BUILDING:
            self._pool.send(number, Build(task))
        else:
            self._start(number, spec)

    def _start(self, number: int, spec: EpisodeSpec) -> None:
        if self.began_at is None:
            self.began_at = monotonic()
        self._pool.send(number, Start(spec, self._tasks[spec.task].max_episode_steps))

    def _infer(self) -> None:
        if self._inference is None:
            return
        while self._inference.has_free_slot():
            batch = self.scheduler.next_batch(self._inference.batch_size)
            if not batch:
                return
            episodes = [self._episodes[number] for number in batch]
            self._inference.ask(
                [Question(number, e.observation, e.memory) for number, e in zip(batch, episodes, strict=True)]
            )

    def _act(self, answer: Answer) -> None:
        number, episode = answer.question.worker, self._episodes.get(answer.question.worker)
        if episode is None or episode.memory is not answer.question.memory:
            return  # the worker died while its observation was in inference; the episode runs again elsewhere
        try:
            if isinstance(answer.chunk, AttemptError):
                self._give_up_attempt(number, answer.chunk, env_stands=True)
                return
            request = episode.act(answer.chunk, self._features[episode.spec.task].action, monotonic(), answer.seconds)
        except PolicyError as error:
            self._give_up_attempt(number, AttemptError("policy", str(error)), env_stands=True)
            return
        self.scheduler.acted(number)
        self._pool.send(number, request)

    # --------------------------------------------------------------------------------------------- what is heard

    def _hear(self, number: int, event: Reply | Lost) -> None:
        match event:
            case Ready():
                self.scheduler.joined(number)
            case Built():
                self._built(number, event)
            case Observed():
                self._episodes[number].observe(event, self._pool.arrays(number), monotonic())
                self.scheduler.observed(number)
            case Finished():
                self._finished(number, event)
            case Failed():
                self._failed(number, event)
            case Lost():
                self._lost(number, event)

    def _built(self, number: int, event: Built) -> None:
        spec = self.scheduler.built(number)
        if spec.task not in self._features:
            self._features[spec.task] = event.features
            if self._policy is not None:
                self._policy.check_contract(event.features)
        self._episodes[number].spend(event.spent)
        self._start(number, spec)

    def _finished(self, number: int, event: Finished) -> None:
        episode = self._episodes.pop(number)
        self.scheduler.finished(number)
        result = episode.result(event, self.scheduler.errors_of(episode.spec))
        self._on_result(result, event.actions.unpack())

    def _failed(self, number: int, event: Failed) -> None:
        if event.users_fault:
            raise ConfigError(event.message)
        if event.during == "setup":
            raise EnvironmentBuildError(f"A worker cannot be set up: {event.message}")
        if event.during == "build":
            self._build_failures[event.message] += 1
            if not self._features and self._build_failures[event.message] >= _ALIKE_BUILD_FAILURES:
                raise EnvironmentBuildError(
                    f"The simulator of {self._episodes[number].task.name} failed to construct "
                    f"{_ALIKE_BUILD_FAILURES} times alike: {event.message}"
                )
        self._give_up_attempt(number, AttemptError("raised", event.message, event.traceback), env_stands=False)

    def _give_up_attempt(self, number: int, error: AttemptError, *, env_stands: bool) -> None:
        episode = self._episodes.pop(number)
        if self.scheduler.failed(number, error, env_stands=env_stands):
            self._record_error(episode.spec)

    def _lost(self, number: int, event: Lost) -> None:
        self._episodes.pop(number, None)
        spec = self.scheduler.lost(number, AttemptError(event.kind, event.message))
        if spec is not None:
            self._record_error(spec)
        if self.scheduler.n_lost > _LOSSES_PER_WORKER * self._batch_size:
            raise ResourceError(f"{self.scheduler.n_lost} workers were lost, the last because {event.message}.")

    def _record_error(self, spec: EpisodeSpec) -> None:
        errors = tuple(self.scheduler.errors_of(spec))
        self._on_result(EpisodeResult(spec, Outcome.ERROR, errors=errors, timings=Timings()), None)
