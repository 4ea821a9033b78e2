"""Replays recorded episodes and films them. A replay checks itself: it must end as the episode did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proctor.engine.crew import Crew, EngineSetup
from proctor.engine.messages import ArrayBytes, Built, Film, Finished, Replay, Reply
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Array, AttemptError, EpisodeResult, EpisodeSpec


@dataclass(frozen=True)
class Shot:
    """A finished episode that is to be filmed, and the actions it executed, ``(length, action_size)``."""

    result: EpisodeResult
    actions: Array
    film: Film


OnFilmed = Callable[[EpisodeSpec, str], None]
"""Is told of each episode what was wrong with it: nothing (""), or a sentence, and then there is no video."""


def check_camera(film: Film, cameras: Sequence[str], task: str) -> None:
    """See that the simulator has the camera that is asked for.

    Raises:
        ConfigError: it has not; says which there are.
    """
    if film.camera is None or film.camera in cameras:
        return
    if not cameras:
        raise ConfigError(f"eval.video_camera is '{film.camera}', but {task} has only one camera; leave it out.")
    known = ", ".join(cameras)
    raise ConfigError(f"{task} has no camera '{film.camera}'; it has {known}.{did_you_mean(film.camera, cameras)}")


class Filming(Crew):
    """Films episodes, on the workers of an engine that has finished if there is one."""

    def __init__(self, setup: EngineSetup, shots: Sequence[Shot], predecessor: Crew | None = None) -> None:
        self._shots: Mapping[EpisodeSpec, Shot] = {shot.result.spec: shot for shot in shots}
        super().__init__(setup, list(self._shots), predecessor)
        self._on_filmed: OnFilmed

    def run(self, on_filmed: OnFilmed, on_tick: Callable[[], None] = lambda: None) -> None:
        """Film every episode.

        Raises:
            ProctorError: see :meth:`Crew.run_to_end`.
        """
        self._on_filmed = on_filmed
        self.run_to_end(on_tick)

    def step(self) -> None:
        self.hand_out()
        self.hear_workers()

    def stands(self, number: int, spec: EpisodeSpec, built: Built) -> None:
        check_camera(self._shots[spec].film, built.cameras, self.setup.tasks[spec.task].name)

    def start(self, number: int, spec: EpisodeSpec) -> None:
        shot = self._shots[spec]
        max_steps = self.setup.tasks[spec.task].max_episode_steps
        self.pool.send(number, Replay(spec, max_steps, ArrayBytes.pack(shot.actions), shot.film))

    def replied(self, number: int, reply: Reply) -> None:
        assert isinstance(reply, Finished)
        spec = self.scheduler.workers[number].spec
        assert spec is not None
        shot = self._shots[spec]
        if problem := _difference(shot.result, reply):
            Path(shot.film.path).unlink(missing_ok=True)
        self._on_filmed(spec, problem)

    def given_up(self, spec: EpisodeSpec, errors: Sequence[AttemptError]) -> None:
        self._on_filmed(spec, f"{spec} could not be filmed: {errors[-1].message}.")


def _difference(recorded: EpisodeResult, replayed: Finished) -> str:
    """In which way a replay was another episode than the one recorded; "" if it was the same."""
    now = {
        "success": replayed.success,
        "length": replayed.actions.shape[0],
        "sum of rewards": replayed.sum_reward,
        "final state": replayed.final_state_hash,
    }
    then = (recorded.success, recorded.length, recorded.sum_reward, recorded.final_state_hash)
    differences = [
        f"{name} {now[name]}, not {before}" for name, before in zip(now, then, strict=True) if now[name] != before
    ]
    if not differences:
        return ""
    return f"The replay of {recorded.spec} is not the episode that was recorded: {', '.join(differences)}."
