"""The engine: measures a plan. One loop that listens to workers and inference, and hands out what comes next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from time import monotonic
from types import MappingProxyType

from proctor.engine.batching import Batching
from proctor.engine.episode import Episode, LookPlan
from proctor.engine.inference import Inference, InferenceRequest, InferenceResult
from proctor.engine.load import Load
from proctor.engine.timesheet import Timesheet
from proctor.engine.trace import Trace
from proctor.engine.video_replay import check_camera
from proctor.engine.worker.messages import Built, Finished, Observed, Reply, Start, VideoSpec
from proctor.engine.worker.video_recorder import keep_video
from proctor.engine.workers import Crew, EngineSetup
from proctor.errors import ContractError, PolicyError
from proctor.policies.base import PolicySource
from proctor.types import (
    POLICY_FAILED,
    Array,
    AttemptError,
    EpisodeResult,
    EpisodeSpec,
    Features,
    Outcome,
    TaskKey,
    Timings,
)

OnResult = Callable[[EpisodeResult, Array | None], None]


class Engine(Crew):
    """Runs a plan. ``policy`` is None if the actions come from inside the workers (``setup.action_source``).

    Of simulators that cannot be replayed, ``films`` says which episodes are filmed while they run.
    ``predecessor`` has run to its end and hands over its workers.
    """

    def __init__(
        self,
        setup: EngineSetup,
        plan: Sequence[EpisodeSpec],
        policy: PolicySource | None,
        films: Mapping[EpisodeSpec, VideoSpec] = MappingProxyType({}),
        predecessor: Engine | None = None,
    ) -> None:
        super().__init__(setup, plan, films, predecessor, n_devices=len(policy.per_device) if policy is not None else 1)
        self.filmed: dict[EpisodeSpec, str] = {}
        """Those that were, and why there is no video of it; "" if there is one."""
        self._films_live: set[TaskKey] = set()
        self._policy = policy
        self._looks = LookPlan(policy.look_offsets, policy.n_action_steps) if policy else LookPlan()
        config, sources = setup.config, policy.per_device if policy is not None else ()
        self._inferences = [
            Inference(source, n_threads=config.inference_threads, batch_size=config.inference_batch_size)
            for source in sources
        ]
        """One per device."""
        self._batching = [Batching(config.batch_wait_timeout_s) for _ in range(self.scheduler.n_devices)]
        """The same: who is on the way to it."""
        for inference in self._inferences:
            self.pool.watch(inference.wake_descriptor)
        self._episodes: dict[int, Episode] = {}
        now = monotonic()
        self._trace = Trace(setup.trace, now) if setup.trace is not None else None
        self._slots = [self._trace.device(n) for n in range(len(self._inferences))] if self._trace is not None else []
        self._timesheets = {number: self._timesheet(number, now) for number in self.scheduler.workers}
        self.features: dict[TaskKey, Features] = {} if predecessor is None else predecessor.features
        self.started_at: float | None = None
        """When the first episode was asked for, on the monotonic clock."""
        self._on_result: OnResult

    def run(self, on_result: OnResult, on_tick: Callable[[], None] = lambda: None) -> None:
        """Run the plan to its end; every episode leaves through ``on_result`` with the actions it executed.

        Raises:
            ProctorError: see :meth:`Crew.run_to_end`.
        """
        self._on_result = on_result
        self.run_to_end(on_tick)

    def step(self) -> None:
        self.hear_workers()
        self._hear_inference()
        self.hand_out()
        self._infer()

    @property
    def measuring_since(self) -> float | None:
        """When the first episode could go on from its first observation, on the monotonic clock; None before."""
        if self.started_at is None or not self._inferences:
            return self.started_at
        loaded = [inference.loaded_at for inference in self._inferences if inference.loaded_at is not None]
        return max(self.started_at, min(loaded)) if loaded else None

    def load(self) -> Load:
        """What workers and inference are doing now."""
        now, inferences = monotonic(), self._inferences
        shares = [share for inference in inferences if (share := inference.busy_share(now)) is not None]
        n_passes = sum(inference.n_passes for inference in inferences)
        return replace(
            super().load(),
            loading_policy=any(inference.policy is None for inference in inferences),
            inference_share=sum(shares) / len(shares) if shares else None,
            mean_batch=sum(inference.n_questions for inference in inferences) / n_passes if n_passes else None,
        )

    def close_inference(self) -> None:
        """End the inference threads and let go of the policy; the workers stay."""
        while self._inferences:
            inference = self._inferences.pop()
            self.pool.unwatch(inference.wake_descriptor)
            inference.close()

    def close(self) -> None:
        self.close_inference()
        super().close()
        if self._trace is not None:
            for timesheet in self._timesheets.values():
                timesheet.settle(monotonic())
            self._trace.close()

    # ------------------------------------------------------------------------------------------ what is handed out

    def worker_started(self, number: int) -> None:
        self._timesheets[number] = self._timesheet(number, monotonic())

    def _timesheet(self, number: int, since: float) -> Timesheet:
        return Timesheet(since, self._trace.worker(number) if self._trace is not None else None)

    def begin(self, number: int, spec: EpisodeSpec) -> None:
        self._episodes[number] = Episode(spec, self.setup.tasks[spec.task], self._looks)
        self._timesheets[number].begin(str(spec), monotonic())
        super().begin(number, spec)

    def start(self, number: int, spec: EpisodeSpec) -> None:
        if self.started_at is None:
            self.started_at = monotonic()
        self._on_the_way(number, spec.task, 0)
        self.pool.send(number, Start(spec, self.setup.tasks[spec.task].max_episode_steps, self._live_film(spec)))

    def _live_film(self, spec: EpisodeSpec) -> VideoSpec | None:
        return self.films.get(spec) if spec.task in self._films_live else None

    def _infer(self) -> None:
        """Close the batches that it does not pay to keep open; come back in time for the others."""
        self.patience_s = inf
        for device, inference in enumerate(self._inferences):
            while inference.has_free_slot() and (ready := self.scheduler.ready(device, inference.fixed_rows)):
                size, now = self._rows(inference), monotonic()
                if wait := self._batching[device].seconds_to_wait(len(ready), size, now):
                    self.patience_s = min(self.patience_s, wait)
                    break
                batch = ready[:size]
                self.scheduler.think(batch)
                self._batching[device].closed(self.scheduler.n_ready(device), now)
                self._ask(inference, batch)

    def _on_the_way(self, number: int, task: TaskKey, n_actions: int) -> None:
        self._batching[self.scheduler.device_of(number)].left(number, task, n_actions, monotonic())

    def _rows(self, inference: Inference) -> int:
        """How many episodes may share a forward pass."""
        return min(inference.batch_size, self.setup.config.max_inference_batch or inference.batch_size)

    def _ask(self, inference: Inference, batch: Sequence[int]) -> None:
        episodes = [self._episodes[number] for number in batch]
        inference.ask(
            [InferenceRequest(number, e.observation, e.memory) for number, e in zip(batch, episodes, strict=True)]
        )

    # --------------------------------------------------------------------------------------------- what is heard

    def _hear_inference(self) -> None:
        for device, inference in enumerate(self._inferences):
            for answers in inference.answers():
                first = answers[0]
                self._batching[device].passed(monotonic() - first.asked)
                assert inference.loaded_at is not None
                if self._slots:
                    self._slots[device].passed(first.began, first.seconds, len(answers), inference.loaded_at)
                for answer in answers:
                    self._act(answer, inference.loaded_at)

    def _act(self, answer: InferenceResult, loaded_at: float) -> None:
        number, episode = answer.question.worker, self._episodes.get(answer.question.worker)
        if episode is None or episode.memory is not answer.question.memory:
            return  # the worker died while its observation was in inference; the episode runs again elsewhere
        self._timesheets[number].inferred(answer.seconds, loaded_at, monotonic())
        try:
            if isinstance(answer.chunk, AttemptError):
                self.give_up_attempt(number, answer.chunk, env_stands=True)
                return
            request = episode.act(answer.chunk, self.features[episode.spec.task].action)
        except PolicyError as error:
            self.give_up_attempt(number, AttemptError(POLICY_FAILED, str(error)), env_stands=True)
            return
        self.scheduler.acted(number)
        self._on_the_way(number, episode.spec.task, request.actions.shape[0])
        self.pool.send(number, request)

    def stands(self, number: int, spec: EpisodeSpec, built: Built) -> None:
        self._timesheets[number].worked(built.spent, monotonic())
        if (film := next(iter(self.films.values()), None)) is not None:
            check_camera(film, built.cameras, self.setup.tasks[spec.task].name)
        if built.drawable and not built.replayable:
            self._films_live.add(spec.task)
        if spec.task not in self.features:
            self.features[spec.task] = built.features
            if self._policy is not None:
                self._check_contract(self._policy, built)

    @staticmethod
    def _check_contract(policy: PolicySource, built: Built) -> None:
        try:
            policy.check_contract(built.features)
        except ContractError as error:  # what is missing may be what was left out
            raise ContractError("\n".join([str(error), *built.notes])) from error

    def replied(self, number: int, reply: Reply) -> None:
        match reply:
            case Observed():
                now = monotonic()
                self._timesheets[number].worked(reply.spent, now)
                self._episodes[number].observe(reply, self.pool.arrays(number))
                self._batching[self.scheduler.device_of(number)].came(number, now)
                self.scheduler.observed(number)
            case Finished():
                episode, timesheet, now = self._episodes[number], self._timesheets[number], monotonic()
                timesheet.worked(reply.spent, now)
                timings = timesheet.settle(now)
                self.attempt_ended(number)
                result = episode.result(reply, self.scheduler.errors_of(episode.spec), timings)
                if (film := self._live_film(episode.spec)) is not None:
                    self.filmed[episode.spec] = reply.unfilmed or keep_video(film)
                self._on_result(result, reply.actions.unpack())

    def attempt_ended(self, number: int) -> None:
        self._episodes.pop(number, None)
        self._timesheets[number].settle(monotonic())
        self._batching[self.scheduler.device_of(number)].lost(number)

    def given_up(self, spec: EpisodeSpec, errors: Sequence[AttemptError]) -> None:
        self._on_result(EpisodeResult(spec, Outcome.ERROR, errors=tuple(errors), timings=Timings()), None)
