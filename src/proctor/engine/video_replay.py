"""Replays episodes and renders their videos. A replay checks itself: it must end as the recorded episode did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proctor.engine.options import EngineSetup
from proctor.engine.worker.messages import ArrayBytes, Finished, Replay, VideoSpec
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


class VideoReplayer:
    """Renders videos of episodes by running their actions again.

    ``workers`` are those of an engine that has run to its end, and remain their owner's if the replayer, too, runs to
    its end; if they are not given, the replayer has its own.
    """

    def __init__(self, setup: EngineSetup, tasks: Sequence[VideoTask], workers: Workers | None = None) -> None:
        self._setup = setup
        self._tasks: Mapping[EpisodeSpec, VideoTask] = {task.result.spec: task for task in tasks}
        self._workers = workers if workers is not None else Workers(setup)
        self._owns_workers = workers is None
        self._workers.begin(setup, self._tasks)
        self._on_video: OnVideo

    def run(self, on_video: OnVideo, on_tick: Callable[[], None] = lambda: None) -> None:
        """Render every video; ``on_tick`` is called a few times a second.

        Raises:
            ConfigError: a simulator has no camera of the name that is asked for.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers were lost.
            Interrupted: :meth:`interrupt` was called.
        """
        self._on_video = on_video
        repeat(self._step, lambda: self._workers.done, on_tick)

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
        for worker_id, spec in self._workers.assign():
            self._replay(worker_id, spec)
        for event in self._workers.receive(TICK_S):
            self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case EnvBuilt(worker_id, spec, reply):
                check_camera(self._tasks[spec].video_spec, reply.cameras, self._setup.tasks[spec.task].name)
                self._replay(worker_id, spec)
            case EpisodeFinished(_, spec, reply):
                self._finish(self._tasks[spec], reply)
            case EpisodeGivenUp(spec, errors):
                self._on_video(spec, errors[-1].message)

    def _replay(self, worker_id: int, spec: EpisodeSpec) -> None:
        task, max_steps = self._tasks[spec], self._setup.tasks[spec.task].max_episode_steps
        self._workers.send(worker_id, Replay(spec, max_steps, ArrayBytes.pack(task.actions), task.video_spec))

    def _finish(self, task: VideoTask, reply: Finished) -> None:
        """Keep the video if it shows the episode that was recorded."""
        problem = reply.video_problem or _difference(task.result, reply) or keep_video(task.video_spec)
        if problem:
            discard_video(task.video_spec)
        self._on_video(task.result.spec, problem)


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
