"""The work of a worker: one simulator, driven by requests. It is a function from request to reply, whether it runs in a
process of its own or not.
"""

from __future__ import annotations

import gc
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from time import monotonic, perf_counter

import numpy as np

from proctor.benchmarks.base import Benchmark, SimEnv, Step, features_of
from proctor.benchmarks.returns import decided, if_finite, latched, real_number, require_declared, yes_or_no
from proctor.config import structure
from proctor.engine.worker.arrays import SharedArrays
from proctor.engine.worker.messages import (
    NO_TIME_LEFT,
    Act,
    Build,
    Built,
    Dropped,
    Finished,
    FrameDrawn,
    FrameEncoded,
    Observed,
    Ready,
    Replay,
    Reply,
    Request,
    RequestFailed,
    Setup,
    Spent,
    Start,
)
from proctor.engine.worker.rollout_recorder import RolloutRecorder
from proctor.engine.worker.video_recorder import VideoRecorder
from proctor.errors import ConfigError
from proctor.plugins import load_object
from proctor.policies.base import ActionSource
from proctor.security.foreign_code import described, encodable, is_ctrl_c
from proctor.streams import RandomStream
from proctor.types import Array, ArraySpec, EpisodeArrays, pack_arrays

_LONGEST_TRACE = 20_000
_NOT_REPLAYABLE = "cannot be replayed: its simulator is not deterministic, so it is recorded as it is measured"


class Simulation:
    """Holds one simulator and the episode that runs in it."""

    def __init__(self, arrays: SharedArrays) -> None:
        self.arrays = arrays
        self.benchmark: Benchmark
        self.source: ActionSource | None = None
        self.env: SimEnv | None = None
        self.episode: _RunningEpisode | None = None
        self._declared: Mapping[str, ArraySpec] = {}
        self.recorder: VideoRecorder | None = None
        self.rollout: RolloutRecorder | None = None
        self._replies: Iterator[Reply] = iter(())
        """The replies to the request that is being executed: to each frame that is sent follows the next one."""

    def handle(self, request: Request) -> Reply:
        """Execute a request and return the reply.

        If the simulator raises, it is closed and the reply says what it raised. Only the user's Ctrl-C is raised again;
        it can occur in the user's own process alone.
        """
        clock = _Clock(self.env)
        try:
            match request:
                case Setup():
                    return self._setup(request)
                case Build():
                    return self._build(request, clock)
                case Start(ahead=True) if self.env is None:
                    return Dropped()
                case Start():
                    self._replies = self._start(request, clock)
                case Act():
                    self._replies = self._act(request, clock)
                case Replay():
                    self._replies = self._replay(request, clock)
                case FrameEncoded():
                    self._give_up_video(request.problem)
            return next(self._replies)
        except BaseException as error:  # SystemExit and a panic of native code are no less its own
            trace = encodable(traceback.format_exc())
            self.close()
            if is_ctrl_c(error):
                raise
            return RequestFailed(
                during=type(request).__name__.lower(),
                message=described(error),
                traceback=trace if len(trace) < _LONGEST_TRACE else f"{trace[:_LONGEST_TRACE]}…",
                users_fault=isinstance(error, ConfigError),
                spent=clock.spent(),
            )

    def drop(self) -> None:
        """Give up the episode under way; the simulator stays."""
        self.episode, self._replies = None, iter(())
        self._drop_recording()

    def close(self) -> None:
        """Close the simulator, if there is one. If closing it fails, the reason goes into the log."""
        env, self.env = self.env, None
        self.drop()
        try:
            if env is not None:
                env.close()
        except BaseException as error:  # it must not hide why the simulator is closed, nor fail a finished run
            if is_ctrl_c(error):
                raise
            traceback.print_exc(chain=False)  # what it was closed for may have a text of any length, and is replied
        del env
        gc.collect()  # what is freed only with the next simulator's GL context may take that one's textures along

    def _setup(self, request: Setup) -> Reply:
        request.companions.join()
        benchmark_class: type[Benchmark] = load_object(request.benchmark)
        self.benchmark = benchmark_class(structure(benchmark_class.config_class, request.env, "env"))
        self.benchmark.learn(request.known)
        self.source = load_object(request.action_source)() if request.action_source else None
        return Ready()

    def _build(self, request: Build, clock: _Clock) -> Reply:
        if self.env is not None:
            self.benchmark.keep_parts(self.env)
        self.close()
        self.env = env = self.benchmark.make_env(request.task)
        if self.source is None:
            env.prepare_to_look()
        clock.lap("construct")
        features = features_of(env.observation_space, env.action_space)
        self._declared = features.observation
        low, high = (tuple(bound.ravel().tolist()) for bound in (env.action_space.low, env.action_space.high))
        return Built(
            features,
            env.deterministic,
            env.drawable,
            env.cameras,
            clock.spent(),
            env.notes,
            fps=float(getattr(env, "fps", None) or 0.0),  # only videos and a delay in milliseconds need it
            action_low=low,
            action_high=high,
        )

    def _start(self, request: Start, clock: _Clock) -> Iterator[Reply]:
        env = self._require_env()
        seen = self._begin(env, request, clock, look=self.source is None or request.rollout_spec is not None)
        yield from self._record(env, request, seen, request.max_steps)
        if self.source is not None:
            yield from self._run_through(env, self.source, RandomStream(request.spec), clock)
            return
        assert self.episode is not None
        self.episode.n_looks = 1
        self._show(seen, 0, 1)
        yield Observed(self.arrays.placed(), clock.spent())

    def _begin(self, env: SimEnv, request: Start | Replay, clock: _Clock, *, look: bool) -> Mapping[str, Array] | None:
        self._drop_recording()  # there is one if the policy failed the attempt before
        assert request.spec.seed is not None  # every planned episode has one
        seen = env.reset(request.spec.seed, request.spec.init_state_id, look=look)
        clock.lap("reset")
        self.arrays.beat()
        self.episode = _RunningEpisode(request.max_steps)
        return seen

    def _run_through(self, env: SimEnv, source: ActionSource, stream: RandomStream, clock: _Clock) -> Iterator[Reply]:
        """Run a whole episode of a policy that lives in this worker."""
        assert self.episode is not None
        source.reset(env, stream)
        while not self.episode.over:
            self._step(env, self.episode, source.act(), look=False)
            yield from self._drawn()
        yield self._finish(env, self.episode, clock)

    def _replay(self, request: Replay, clock: _Clock) -> Iterator[Reply]:
        """Run an episode again, until it ends, no action or no time is left, or what it is replayed for has failed."""
        env, limit = self._require_env(), _TimeLimit(request)
        seen = self._begin(env, request, clock, look=request.rollout_spec is not None)
        assert self.episode is not None
        actions = request.actions.unpack()
        yield from self._record(env, request, seen, len(actions))
        if not env.deterministic:
            self._give_up_recording(_NOT_REPLAYABLE)
        for action in actions:
            self._step(env, self.episode, action, look=False)
            yield from self._drawn()
            if self.episode.over or self._has_failed:
                break
            if limit.exceeded(len(self.episode.actions)):
                self._give_up_recording(NO_TIME_LEFT)
                break
        yield self._finish(env, self.episode, clock)

    def _record(
        self, env: SimEnv, request: Start | Replay, seen: Mapping[str, Array] | None, n_steps: int
    ) -> Iterator[Reply]:
        """Begin the video and the recording that are asked for, with the episode's reset."""
        if request.rollout_spec is not None:
            self.rollout = RolloutRecorder(env, request.rollout_spec, n_steps)
            self.rollout.observe(seen)
        if request.video_spec is not None:
            self.recorder = VideoRecorder(env, request.video_spec)
            yield from self._drawn()

    def _act(self, request: Act, clock: _Clock) -> Iterator[Reply]:
        env, episode = self._require_env(), self.episode
        assert episode is not None
        n_frames, n_shown = sum(request.looks), 0
        for action, look in zip(request.actions.unpack(), request.looks, strict=True):
            step = self._step(env, episode, action, look=look)
            yield from self._drawn()
            if episode.over:
                yield self._finish(env, episode, clock)
                return
            if look:
                self._show(step.observation, n_shown, n_frames)
                n_shown += 1
        clock.lap("step")
        yield Observed(self.arrays.placed(), clock.spent())

    def _step(self, env: SimEnv, episode: _RunningEpisode, action: Array, *, look: bool) -> Step:
        rollout = self.rollout
        # a simulator may write into what it is given, and the action is still to be recorded
        step = env.step(action.copy(), look=look or (rollout is not None and rollout.looks))
        episode.record(action, step, look=look)
        if self.recorder is not None:
            self.recorder.after_step(last=episode.over)
        if rollout is not None:
            rollout.after_step(action, step, done=episode.over)
        self.arrays.beat()
        return step

    def _finish(self, env: SimEnv, episode: _RunningEpisode, clock: _Clock) -> Reply:
        self.episode = None
        recorder, self.recorder = self.recorder, None
        rollout, self.rollout = self.rollout, None
        for each in (recorder, rollout):
            if each is not None:
                each.finish()
        clock.lap("step")
        sum_reward, max_reward = if_finite(episode.sum_reward, episode.max_reward)
        return Finished(
            success=episode.success,
            sum_reward=sum_reward,
            max_reward=max_reward,
            n_looks=episode.n_looks,
            final_state_hash=env.state_hash(),
            arrays=pack_arrays(episode.arrays()),
            spent=clock.spent(),
            ended_at=monotonic(),
            n_beats=self.arrays.heartbeat,
            video_problem=recorder.problem if recorder is not None else "",
            rollout_problem=rollout.problem if rollout is not None else "",
        )

    def _drawn(self) -> Iterator[FrameDrawn]:
        """Yield the frame that the engine is to encode, if there is one."""
        recorder = self.recorder
        if recorder is not None and (frame := recorder.unsent()) is not None:
            rate = (recorder.rate.numerator, recorder.rate.denominator)
            yield FrameDrawn(recorder.video_spec, rate, self.arrays.write_beside(frame), recorder.is_first)

    @property
    def _has_failed(self) -> bool:
        """There will be neither a video nor a recording of the episode, though it was to have one."""
        return any(each.problem for each in (self.recorder, self.rollout) if each is not None)

    def _give_up_recording(self, problem: str) -> None:
        for each in (self.recorder, self.rollout):
            if each is not None:
                each.give_up(problem)

    def _give_up_video(self, problem: str) -> None:
        if problem and self.recorder is not None:
            self.recorder.give_up(problem)

    def _drop_recording(self) -> None:
        self._give_up_recording("the episode did not reach its end")
        self.recorder = self.rollout = None

    def _show(self, seen: Mapping[str, Array] | None, index: int, n_frames: int) -> None:
        if seen is None:
            raise RuntimeError("the simulator was asked to look and gave no observation")
        require_declared(seen, self._declared)
        self.arrays.write(seen, index, n_frames)

    def _require_env(self) -> SimEnv:
        if self.env is None:
            raise RuntimeError("no simulator has been built")
        return self.env


class _TimeLimit:
    """The time for a replay. Its pace counts from the first step, because the first frame takes longer than others."""

    def __init__(self, request: Replay, clock: Callable[[], float] = monotonic) -> None:
        self._seconds, self._n_planned = request.seconds, request.actions.shape[0]
        self._clock, self._began = clock, clock()
        self._first_step_at: float | None = None

    def exceeded(self, n_steps: int) -> bool:
        """Say, after ``n_steps`` steps, whether the time is over, or is clearly going to be before the end."""
        now = self._clock()
        if self._first_step_at is None:
            self._first_step_at = now
        if self._seconds is None:
            return False
        elapsed = now - self._began
        expected = (now - self._first_step_at) / max(1, n_steps - 1) * self._n_planned
        return elapsed > self._seconds or (elapsed > 0.2 * self._seconds and expected > 1.5 * self._seconds)


class _RunningEpisode:
    """The sums over an episode's steps so far."""

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self.actions: list[Array] = []
        self.rewards: list[float] = []
        self.successes: list[bool | None] = []
        self.sum_reward = 0.0
        self.max_reward = -math.inf
        self.n_looks = 0
        self.success: bool | None = None
        self.over = False

    def record(self, action: Array, step: Step, *, look: bool) -> None:
        self.actions.append(action)
        reward = real_number(step.reward, "the reward")  # a simulator's float32 would be summed as one
        self.sum_reward += reward
        self.max_reward = max(self.max_reward, reward)
        self.n_looks += look and step.observation is not None  # a recording looks at each step
        success = yes_or_no(step.success, "success")
        self.rewards.append(reward)
        self.successes.append(success)
        self.success = latched(self.success, success)
        over = decided(step.terminated, "terminated") or decided(step.truncated, "truncated")
        self.over = over or len(self.actions) >= self.max_steps

    def arrays(self) -> EpisodeArrays:
        """Give what the steps left."""
        successes = [-1 if success is None else success for success in self.successes]
        return {
            "actions": np.stack(self.actions),
            "rewards": np.array(self.rewards, np.float64),
            "successes": np.array(successes, np.int8),
        }


class _Clock:
    """Measures how the time of one request is spent. The time for drawing is what the simulator reports."""

    def __init__(self, env: SimEnv | None) -> None:
        self._env = env
        self._seconds = {"construct": 0.0, "reset": 0.0, "step": 0.0, "look": 0.0}
        self._mark()

    def lap(self, what: str) -> None:
        """Book the time since the last lap on ``what``, except for the time that was spent on drawing."""
        now = perf_counter()
        look = (self._env.look_seconds if self._env else 0.0) - self._looked
        self._seconds[what] += now - self._began - look
        self._seconds["look"] += look
        self._mark()

    def _mark(self) -> None:
        self._began = perf_counter()
        self._looked = self._env.look_seconds if self._env else 0.0

    def spent(self) -> Spent:
        return Spent(**self._seconds)
