"""Replays episodes and renders their videos. A replay checks itself: it must end as the recorded episode did."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from proctor.engine.options import EngineSetup
from proctor.engine.worker.messages import NO_TIME_LEFT, ArrayBytes, Finished, Replay, VideoSpec
from proctor.engine.worker.video_file import discard_video, keep_video
from proctor.engine.workers import TICK_S, EnvBuilt, EpisodeFinished, EpisodeGivenUp, Event, Workers, repeat
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, EpisodeResult, EpisodeSpec


@dataclass(frozen=True)
class VideoTask:
    """A finished episode that is to have a video, and the actions that it executed, ``(length, action_size)``."""

    result: EpisodeResult
    actions: Array
    video_spec: VideoSpec


OnVideo = Callable[[EpisodeSpec, str], None]
"""Is called with each episode and "" if the episode has a video now, else with the reason why it has none."""


def check_camera(video_spec: VideoSpec, cameras: Sequence[str], task: str) -> None:
    """See that a simulator has the camera that is asked for.

    Raises:
        ConfigError: it has no camera of this name; the message says which cameras there are.
    """
    if video_spec.camera is None or video_spec.camera in cameras:
        return
    if not cameras:
        raise ConfigError(f"{task} has no camera '{video_spec.camera}'; it has only one, so leave the camera out.")
    known = ", ".join(cameras)
    hint = did_you_mean(video_spec.camera, cameras)
    raise ConfigError(f"{task} has no camera '{video_spec.camera}'; it has {known}.{hint}")


@dataclass
class _Budget:
    """The time for videos. A video is begun if it is expected to be finished in time, by what the others took."""

    seconds: float
    _began: float = field(default_factory=monotonic)
    _spent: float = 0.0
    _n_steps: int = 0

    @property
    def left(self) -> float | None:
        """The seconds that are left; None if there is no bound."""
        return None if math.isinf(self.seconds) else max(0.0, self._began + self.seconds - monotonic())

    def suffices_for(self, n_steps: int) -> bool:
        """Say whether the video of an episode of ``n_steps`` steps is expected to be finished in time."""
        expected = self._spent / self._n_steps * n_steps if self._n_steps else 0.0
        return self.left is None or self.left > expected

    def book(self, seconds: float, n_steps: int) -> None:
        """Take note that a video of ``n_steps`` steps took one worker ``seconds``."""
        self._spent += seconds
        self._n_steps += n_steps


class VideoReplayer:
    """Renders videos of episodes by running their actions again.

    ``workers`` are those of an engine that has run to its end, and remain their owner's if the replayer, too, runs to
    its end; if they are not given, the replayer has its own. If ``budget_s`` is given, the videos are begun in the
    order of ``tasks``, and after so many seconds those that are not finished are left out.
    """

    def __init__(
        self,
        setup: EngineSetup,
        tasks: Sequence[VideoTask],
        workers: Workers | None = None,
        *,
        budget_s: float = math.inf,
    ) -> None:
        self._setup = setup
        self._tasks: Mapping[EpisodeSpec, VideoTask] = {task.result.spec: task for task in tasks}
        self._workers = workers if workers is not None else Workers(setup)
        self._owns_workers = workers is None
        self._budget = _Budget(budget_s)
        self._waiting = deque(self._tasks)
        self._begun: dict[EpisodeSpec, float] = {}
        """The videos that are being made, each with the moment at which its replay was sent."""
        self._workers.begin(setup, ())
        self._on_video: OnVideo

    def run(self, on_video: OnVideo, on_tick: Callable[[], None] = lambda: None) -> None:
        """Render every video that there is time for; ``on_tick`` is called a few times a second.

        Raises:
            ConfigError: a simulator has no camera of the name that is asked for.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers were lost.
            Interrupted: :meth:`interrupt` was called.
        """
        self._on_video = on_video
        self._budget = _Budget(self._budget.seconds)
        repeat(self._step, lambda: self._workers.done and not self._waiting, on_tick)

    def interrupt(self, signal_number: int) -> None:
        """End at the next turn. May be called from a signal handler."""
        self._workers.interrupt(signal_number)

    def close(self) -> None:
        """Leave no unfinished video, and end the workers unless their owner can go on with them.

        Safe to call at any time, also twice.
        """
        if self._owns_workers or not self._workers.at_rest:
            self._workers.close()
        for task in self._tasks.values():
            discard_video(task.video_spec)

    def _step(self) -> None:
        self._add()
        for worker_id, spec in self._workers.assign():
            self._replay(worker_id, spec)
        for event in self._workers.receive(TICK_S):
            self._handle(event)

    def _add(self) -> None:
        """Let the workers begin videos: all at once, so that each task is built once, unless the order decides."""
        while self._waiting and (self._budget.left is None or len(self._begun) < self._setup.n_workers):
            if not self._budget.suffices_for(self._tasks[self._waiting[0]].actions.shape[0]):
                self._waiting.clear()
                return
            spec = self._waiting.popleft()
            self._begun[spec] = monotonic()
            self._workers.add([spec])

    def _handle(self, event: Event) -> None:
        match event:
            case EnvBuilt(worker_id, spec, reply):
                check_camera(self._tasks[spec].video_spec, reply.cameras, self._setup.tasks[spec.task].name)
                self._replay(worker_id, spec)
            case EpisodeFinished(_, spec, reply):
                self._finish(self._tasks[spec], reply)
            case EpisodeGivenUp(spec, errors):
                del self._begun[spec]
                self._on_video(spec, errors[-1].message)

    def _replay(self, worker_id: int, spec: EpisodeSpec) -> None:
        task, max_steps = self._tasks[spec], self._setup.tasks[spec.task].max_episode_steps
        actions = ArrayBytes.pack(task.actions)
        self._begun[spec] = monotonic()
        self._workers.send(worker_id, Replay(spec, max_steps, actions, task.video_spec, self._budget.left))

    def _finish(self, task: VideoTask, reply: Finished) -> None:
        """Keep the video if it shows the episode that was recorded."""
        spec = task.result.spec
        self._budget.book(monotonic() - self._begun.pop(spec), reply.arrays["actions"].shape[0])
        problem = reply.video_problem or _difference(task.result, reply) or keep_video(task.video_spec)
        if problem:
            discard_video(task.video_spec)
        if problem != NO_TIME_LEFT:
            self._on_video(spec, problem)


def _difference(recorded: EpisodeResult, replayed: Finished) -> str:
    """Say how a replay differs from the recorded episode; "" if it is the same episode."""
    then = {
        "success": recorded.success,
        "length": recorded.length,
        "sum of rewards": recorded.sum_reward,
        "final state": recorded.final_state_hash,
    }
    now = (replayed.success, replayed.arrays["actions"].shape[0], replayed.sum_reward, replayed.final_state_hash)
    differences = [
        f"{name} {value}, not {before}"
        for (name, before), value in zip(then.items(), now, strict=True)
        if value != before
    ]
    return f"its replay is another episode: {', '.join(differences)}" if differences else ""
