"""The engine: measures a plan, in turns. In each, events come in from workers and inference, and work goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from types import MappingProxyType

from proctor.engine.delay import DelayedChunks
from proctor.engine.devices import Devices, OnPolicyLoaded
from proctor.engine.episode import Episode, LookPlan
from proctor.engine.inference import InferenceRequest, InferenceResult
from proctor.engine.input_sketch import InputRecorder, recorder_of
from proctor.engine.load import Load
from proctor.engine.observer import Observer
from proctor.engine.options import EngineSetup
from proctor.engine.rollouts import RolloutIdentity, keep_rollout
from proctor.engine.timesheet import Timesheets
from proctor.engine.trace import Trace
from proctor.engine.videos import check_camera
from proctor.engine.worker.messages import Built, RolloutSpec, Start, VideoSpec
from proctor.engine.worker.rollout_file import discard_rollout
from proctor.engine.worker.video_file import discard_video, keep_video
from proctor.engine.workers import (
    TICK_S,
    AttemptFailed,
    EnvBuilt,
    EpisodeFinished,
    EpisodeGivenUp,
    EpisodeObserved,
    Event,
    WorkerReplaced,
    Workers,
    repeat,
)
from proctor.errors import ContractError, EpisodeLostError, PolicyError
from proctor.machine.threads import call_while
from proctor.policies.base import PolicySource
from proctor.types import (
    POLICY_FAILED,
    AttemptError,
    EpisodeResult,
    EpisodeSpec,
    Outcome,
    PackedArrays,
    TaskKey,
    Timings,
)

OnResult = Callable[[EpisodeResult, PackedArrays | None], None]
"""Is given the result of an episode and its arrays; None for an error."""


class Engine:
    """Measures the episodes of a plan.

    Args:
        setup: how the workers are set up, and the engine's options.
        plan: the episodes; :meth:`add` adds others.
        policy: where actions come from; None if they come from inside the workers (``setup.action_source``).
        video_specs: the episodes that get a video while they run, if their simulator cannot replay them.
        rollout_specs: the episodes that are recorded for a dataset while they run, if it cannot replay them.
        workers: idle workers of an engine that has run to its end; by default the engine has workers of its own.
        observers: further receivers of the events of episodes and workers.
        on_policy_loaded: receives the policy's fingerprint once the policy is loaded, on the thread that loads it and
            once per device; what it raises ends the run as if loading had failed.
    """

    def __init__(  # noqa: PLR0913 - what an engine is made of
        self,
        setup: EngineSetup,
        plan: Sequence[EpisodeSpec],
        policy: PolicySource | None,
        video_specs: Mapping[EpisodeSpec, VideoSpec] = MappingProxyType({}),
        *,
        rollout_specs: Mapping[EpisodeSpec, RolloutSpec] = MappingProxyType({}),
        workers: Workers | None = None,
        observers: Sequence[Observer] = (),
        on_policy_loaded: OnPolicyLoaded | None = None,
    ) -> None:
        self.setup = setup
        self._policy = policy
        self._look_plan = LookPlan(policy.look_offsets, policy.n_action_steps) if policy else LookPlan()
        self._trace = Trace(setup.trace, monotonic()) if setup.trace is not None else None
        self._timesheets = Timesheets(self._trace)
        self._inference = Devices(policy, setup, self._trace, on_policy_loaded)
        self.workers = workers if workers is not None else Workers(setup)
        n_devices = max(1, len(self._inference))
        self.workers.begin(setup, plan, (self._timesheets, self._inference, *observers), n_devices)
        for descriptor in self._inference.wake_descriptors:
            self.workers.watch(descriptor)
        self._episodes: dict[int, Episode] = {}
        self._video_specs = video_specs
        self._rollout_specs = rollout_specs
        self._checked: set[TaskKey] = set()
        self._recorded_live: set[TaskKey] = set()
        self.recorded: dict[EpisodeSpec, str] = {}
        """The episodes that were recorded while they ran: "" if there is a video, else why there is none."""
        self.rollout_problems: dict[EpisodeSpec, str] = {}
        """The episodes that were recorded for a dataset while they ran: "" if they are, else why they are not."""
        self.started_at: float | None = None
        """The moment at which the first episode was sent to a worker, on the monotonic clock; None before."""
        self._patience_s = 0.0
        """The seconds after which there is something to do although nothing has happened."""
        self._on_result: OnResult

    @property
    def expects_more(self) -> bool:
        """True if the engine is to go on once every episode is over, because a driver may add others."""
        return self.workers.scheduler.expects_more

    @expects_more.setter
    def expects_more(self, expects_more: bool) -> None:
        self.workers.scheduler.expects_more = expects_more

    def run(
        self,
        on_result: OnResult,
        on_tick: Callable[[], None] = lambda: None,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Run until every episode is over and no more are expected.

        Every episode leaves through ``on_result``; ``on_tick`` is called a few times a second, and ``on_turn`` after
        each turn.

        Raises:
            ContractError: policy and environment do not fit.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers were lost.
            Interrupted: :meth:`interrupt` was called.
            ProctorError: the policy cannot be loaded.
        """
        self._on_result = on_result

        def turn() -> None:
            self.step()
            on_turn()

        repeat(turn, lambda: self.workers.done and not self.expects_more, on_tick)

    def step(self) -> None:
        """One turn."""
        for event in self.workers.receive(min(TICK_S, self._patience_s)):
            self._handle(event)
        for result in self._inference.results():
            self._act(result)
        for worker_id, spec in self.workers.assign():
            self._begin(worker_id, spec)
        for worker_id, spec in self.workers.assign_ahead():
            self.workers.send_ahead(worker_id, self._start_of(spec, ahead=True))
        self._patience_s = self._inference.start_passes(self.workers.scheduler, self._request_of)

    # ----------------------------------------------------------------------------------------- while the engine runs

    def add(self, specs: Iterable[EpisodeSpec], simulators: Mapping[TaskKey, int] | None = None) -> None:
        """Add episodes to the plan, while it runs or before.

        ``simulators`` are how many of each task there are to be from now on; if None, that does not change.
        """
        self.workers.add(specs, simulators)

    def begin_no_more(self) -> None:
        """Drop the episodes that have not begun; those that have are run to their end."""
        self.workers.drop_waiting()

    def interrupt(self, signal_number: int) -> None:
        """End the run at its next turn. May be called from a signal handler.

        Results of finished episodes have left the engine; the episodes under way are dropped.
        """
        self.workers.interrupt(signal_number)

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` at the beginning of each turn in which ``descriptor`` is readable."""
        self.workers.watch(descriptor, callback)

    def kill_a_worker(self, besides: EpisodeSpec) -> bool:
        """Kill a worker in the midst of an episode other than ``besides``, to see that results do not depend on it.

        Returns whether there was one.
        """
        return self.workers.kill_one(besides)

    @property
    def measuring_since(self) -> float | None:
        """When the first episode could go on from its first observation, on the monotonic clock; None before."""
        if self.started_at is None or not len(self._inference):
            return self.started_at
        loaded_at = self._inference.first_loaded_at
        return max(self.started_at, loaded_at) if loaded_at is not None else None

    @property
    def notes(self) -> Iterable[str]:
        """Sentences of the simulators for the user, each once, in the order in which they came."""
        return self.workers.notes

    def load(self) -> Load:
        """Tell what workers and inference are doing now."""
        return replace(
            self.workers.load(),
            loading_policy=self._inference.loading,
            inference_share=self._inference.busy_share(monotonic()),
            mean_batch=self._inference.mean_batch,
        )

    def close_inference(self) -> None:
        """End all of the engine but its workers: inference, the policy and the trace. No video is left unfinished.

        The new owner of the workers of an engine that has run to its end closes them; the engine need not be closed.
        """
        for descriptor in self._inference.wake_descriptors:
            self.workers.unwatch(descriptor)
        self._inference.close()
        if self._trace is not None:
            self._timesheets.close(monotonic())
            self._trace.close()
        self._discard_videos()

    def close(self) -> None:
        """End the engine and its workers. Safe to call at any time, also twice."""
        self.close_inference()
        self.workers.close()
        self._discard_videos()  # a worker in the midst of an episode may have written one until now

    # -------------------------------------------------------------------------------------------------- inside a turn

    def _handle(self, event: Event) -> None:
        match event:
            case EpisodeObserved(worker_id, _, reply):
                self._episodes[worker_id].observe(reply, self.workers.arrays(worker_id))
            case EpisodeFinished():
                self._finish(event)
            case EnvBuilt(worker_id, spec):
                self._begin(worker_id, spec)
            case AttemptFailed(worker_id) | WorkerReplaced(worker_id):
                self._episodes.pop(worker_id, None)
            case EpisodeGivenUp(spec, errors):
                self._on_result(EpisodeResult(spec, Outcome.ERROR, errors=tuple(errors), timings=Timings()), None)

    def _begin(self, worker_id: int, spec: EpisodeSpec) -> None:
        """Send an episode's first request to a worker that has the simulator for it."""
        self._check_env(spec)
        if self.started_at is None:
            self.started_at = monotonic()
        self._enter(worker_id, spec)
        self.workers.send(worker_id, self._start_of(spec))

    def _enter(self, worker_id: int, spec: EpisodeSpec) -> None:
        """Keep what an episode that begins now remembers."""
        delayed, inputs = self._delayed_chunks(spec.task), self._input_recorder(spec)
        self._episodes[worker_id] = Episode(spec, self.setup.tasks[spec.task], self._look_plan, delayed, inputs)

    def _start_of(self, spec: EpisodeSpec, *, ahead: bool = False) -> Start:
        """The request that begins an episode, in a simulator that has been built."""
        n_steps = self.setup.tasks[spec.task].max_episode_steps
        return Start(spec, n_steps, self._live_video(spec), self._live_rollout(spec), ahead)

    def _input_recorder(self, spec: EpisodeSpec) -> InputRecorder | None:
        """Return the recorder of what the policy is given in an episode; None if it is not to have one."""
        if self._policy is None or not self.setup.options.audit:
            return None
        built = self.workers.built[spec.task]
        return recorder_of(spec, built.action_low, built.action_high, built.fps)

    def _delayed_chunks(self, task: TaskKey) -> DelayedChunks | None:
        """Return the chunks of a new episode of a task, which arrive late; None if there is no delay."""
        delay = self.setup.options.inference_delay
        if not delay:
            return None
        n_delay_steps = delay.steps_at(self.workers.built[task].fps)
        return DelayedChunks(self._look_plan.n_action_steps, n_delay_steps, delay.when_late)

    def _request_of(self, worker_id: int) -> InferenceRequest:
        episode = self._episodes[worker_id]
        return InferenceRequest(worker_id, episode.observation, episode.memory)

    def _act(self, result: InferenceResult) -> None:
        worker_id = result.request.worker_id
        episode = self._episodes.get(worker_id)
        if episode is None or episode.memory is not result.request.memory:
            return  # the worker was lost while its observation was in inference; the episode runs again elsewhere
        self.workers.observers.inferred(worker_id, episode.spec, result.seconds, result.loaded_at, monotonic())
        if isinstance(result.chunk, AttemptError | EpisodeLostError):
            self._policy_failed(worker_id, result.chunk if isinstance(result.chunk, AttemptError) else None)
            return
        try:
            request = episode.act(result.chunk, self.workers.built[episode.spec.task].features.action)
        except PolicyError as error:
            self._policy_failed(worker_id, AttemptError(POLICY_FAILED, str(error)))
            return
        self.workers.send(worker_id, request)

    def _policy_failed(self, worker_id: int, error: AttemptError | None) -> None:
        del self._episodes[worker_id]
        for event in self.workers.fail(worker_id, error):
            self._handle(event)

    def _finish(self, event: EpisodeFinished) -> None:
        episode, reply = self._episodes.pop(event.worker_id), event.reply
        if (video_spec := self._live_video(event.spec)) is not None:
            self.recorded[event.spec] = reply.video_problem or keep_video(video_spec)
        if (rollout_spec := self._live_rollout(event.spec)) is not None:
            identity = RolloutIdentity.of_reply(event.spec, reply)
            self.rollout_problems[event.spec] = reply.rollout_problem or keep_rollout(rollout_spec, identity)
        timings = self._timesheets.timings(event.worker_id)
        if event.following is not None:
            self._enter(event.worker_id, event.following)
        self._on_result(episode.result(reply, event.errors, timings), episode.arrays(reply))

    def _discard_videos(self) -> None:
        for video_spec in self._video_specs.values():
            discard_video(video_spec)
        for rollout_spec in self._rollout_specs.values():
            discard_rollout(rollout_spec)

    def _live_video(self, spec: EpisodeSpec) -> VideoSpec | None:
        """The video of an episode that is to be recorded while it runs; None if there is to be no such video."""
        return self._video_specs.get(spec) if spec.task in self._recorded_live else None

    def _live_rollout(self, spec: EpisodeSpec) -> RolloutSpec | None:
        """The recording of an episode that is to be made while it runs; None if there is to be none then."""
        replayable = self.workers.built[spec.task].replayable
        return None if replayable else self._rollout_specs.get(spec)

    def _check_env(self, spec: EpisodeSpec) -> None:
        """See, once for each task, that videos and the policy can have of its simulator what they need.

        Raises:
            ConfigError: the simulator has no camera of the name that is asked for.
            ContractError: the policy does not fit.
        """
        if spec.task in self._checked:
            return
        self._checked.add(spec.task)
        built = self.workers.built[spec.task]
        for video_spec in self._video_specs.values():
            check_camera(video_spec, built.cameras, self.setup.tasks[spec.task].name)
            break  # all videos have the same camera
        if built.drawable and not built.replayable:
            self._recorded_live.add(spec.task)
        if (policy := self._policy) is not None:  # a policy behind a server may wait for the server's answer
            call_while(self.workers.check_interrupted, lambda: check_contract(policy, built))


def check_contract(policy: PolicySource, built: Built) -> None:
    """See that a policy fits a simulator.

    Raises:
        ContractError: it does not; the message also has the simulator's notes, as they may say what was left out of the
            observations.
    """
    try:
        policy.check_contract(built.features)
    except ContractError as error:
        raise ContractError("\n".join([str(error), *built.notes])) from error
