"""Replays recorded episodes and films them. A replay checks itself: it must end as the episode did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proctor.engine.worker.messages import ArrayBytes, Built, Finished, Replay, Reply, VideoSpec
from proctor.engine.worker.video_recorder import discard_video, keep_video
from proctor.engine.workers import Crew, EngineSetup
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, AttemptError, EpisodeResult, EpisodeSpec


@dataclass(frozen=True)
class VideoTask:
    """A finished episode that is to be filmed, and the actions it executed, ``(length, action_size)``."""

    result: EpisodeResult
    actions: Array
    film: VideoSpec


OnFilmed = Callable[[EpisodeSpec, str], None]
"""Is told of each episode why it has no video; "" if it has one."""


def check_camera(film: VideoSpec, cameras: Sequence[str], task: str) -> None:
    """See that the simulator has the camera that is asked for.

    Raises:
        ConfigError: it has not; says which there are.
    """
    if film.camera is None or film.camera in cameras:
        return
    if not cameras:
        raise ConfigError(f"{task} has no camera '{film.camera}'; it has only one, so leave the camera out.")
    known = ", ".join(cameras)
    raise ConfigError(f"{task} has no camera '{film.camera}'; it has {known}.{did_you_mean(film.camera, cameras)}")


class VideoReplayer(Crew):
    """Films episodes, on the workers of an engine that has finished if there is one."""

    def __init__(self, setup: EngineSetup, shots: Sequence[VideoTask], predecessor: Crew | None = None) -> None:
        self._shots: Mapping[EpisodeSpec, VideoTask] = {shot.result.spec: shot for shot in shots}
        films = {spec: shot.film for spec, shot in self._shots.items()}
        super().__init__(setup, list(films), films, predecessor)
        self._on_filmed: OnFilmed

    def run(self, on_filmed: OnFilmed, on_tick: Callable[[], None] = lambda: None) -> None:
        """Render every episode.

        Raises:
            ConfigError: a simulator has not the camera that is asked for.
            ProctorError: see :meth:`Crew.run_to_end`.
        """
        self._on_filmed = on_filmed
        self.run_to_end(on_tick)

    def step(self) -> None:
        self.hand_out()
        self.hear_workers()

    def stands(self, number: int, spec: EpisodeSpec, built: Built) -> None:
        check_camera(self.films[spec], built.cameras, self.setup.tasks[spec.task].name)

    def start(self, number: int, spec: EpisodeSpec) -> None:
        shot = self._shots[spec]
        max_steps = self.setup.tasks[spec.task].max_episode_steps
        self.pool.send(number, Replay(spec, max_steps, ArrayBytes.pack(shot.actions), shot.film))

    def replied(self, number: int, reply: Reply) -> None:
        assert isinstance(reply, Finished)
        spec = self.scheduler.workers[number].spec
        assert spec is not None
        shot = self._shots[spec]
        problem = reply.unfilmed or _difference(shot.result, reply) or keep_video(shot.film)
        if problem:
            discard_video(shot.film)
        self._on_filmed(spec, problem)

    def given_up(self, spec: EpisodeSpec, errors: Sequence[AttemptError]) -> None:
        self._on_filmed(spec, errors[-1].message)


def _difference(recorded: EpisodeResult, replayed: Finished) -> str:
    """In which way a replay was another episode than the one recorded; "" if it was the same."""
    then = {
        "success": recorded.success,
        "length": recorded.length,
        "sum of rewards": recorded.sum_reward,
        "final state": recorded.final_state_hash,
    }
    now = (replayed.success, replayed.actions.shape[0], replayed.sum_reward, replayed.final_state_hash)
    differences = [
        f"{name} {value}, not {before}"
        for (name, before), value in zip(then.items(), now, strict=True)
        if value != before
    ]
    return f"its replay is another episode: {', '.join(differences)}" if differences else ""
