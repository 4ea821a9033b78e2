"""Replays episodes: to render their videos, or to record what their policy saw.

A replay checks itself: it must end as the recorded episode did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from proctor.engine.options import EngineSetup
from proctor.engine.worker.messages import Built, Finished, Replay
from proctor.engine.workers import TICK_S, EnvBuilt, EpisodeFinished, EpisodeGivenUp, Event, Workers, repeat
from proctor.types import EpisodeResult, EpisodeSpec


class ReplayTask(Protocol):
    """A finished episode that is to be replayed, and what for."""

    @property
    def result(self) -> EpisodeResult:
        """The result with which the replay has to agree."""

    def check(self, built: Built, task: str) -> None:
        """See that the simulator of the task of this name has what is needed.

        Raises:
            ConfigError: it does not.
        """

    def request(self, max_steps: int) -> Replay:
        """Give the request to a worker, of an episode of at most ``max_steps`` steps."""

    def problem_of(self, reply: Finished) -> str:
        """Give the reason why the worker could not make what was asked for; "" if it made it."""

    def keep(self, reply: Finished) -> str:
        """Give what was made its name. Returns "", or if that fails, the reason."""

    def discard(self) -> None:
        """Remove what was made and not kept."""


OnReplayed = Callable[[EpisodeSpec, str], None]
"""Is called with each episode and "" if what it was replayed for is there now, else with the reason why it is not."""


class Replayer:
    """Runs the actions of episodes again.

    ``workers`` are those of an engine that has run to its end, and remain their owner's if the replayer, too, runs to
    its end; if they are not given, the replayer has its own.
    """

    def __init__(self, setup: EngineSetup, tasks: Sequence[ReplayTask], workers: Workers | None = None) -> None:
        self._setup = setup
        self._tasks = {task.result.spec: task for task in tasks}
        self._workers = workers if workers is not None else Workers(setup)
        self._owns_workers = workers is None
        self._workers.begin(setup, self._tasks)
        self._on_replayed: OnReplayed

    def run(self, on_replayed: OnReplayed, on_tick: Callable[[], None] = lambda: None) -> None:
        """Replay every episode; ``on_tick`` is called a few times a second.

        Raises:
            ConfigError: a simulator does not have what is asked for, such as a camera.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers were lost.
            Interrupted: :meth:`interrupt` was called.
        """
        self._on_replayed = on_replayed
        repeat(self._step, lambda: self._workers.done, on_tick)

    def interrupt(self, signal_number: int) -> None:
        """End at the next turn. May be called from a signal handler."""
        self._workers.interrupt(signal_number)

    def close(self) -> None:
        """Leave nothing unfinished, and end the workers unless their owner can go on with them.

        Safe to call at any time, also twice.
        """
        if self._owns_workers or not self._workers.at_rest:
            self._workers.close()
        for task in self._tasks.values():
            task.discard()

    def _step(self) -> None:
        for worker_id, spec in self._workers.assign():
            self._replay(worker_id, spec)
        for event in self._workers.receive(TICK_S):
            self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case EnvBuilt(worker_id, spec, reply):
                self._tasks[spec].check(reply, self._setup.tasks[spec.task].name)
                self._replay(worker_id, spec)
            case EpisodeFinished(_, spec, reply):
                self._finish(self._tasks[spec], reply)
            case EpisodeGivenUp(spec, errors):
                self._on_replayed(spec, errors[-1].message)

    def _replay(self, worker_id: int, spec: EpisodeSpec) -> None:
        request = self._tasks[spec].request(self._setup.tasks[spec.task].max_episode_steps)
        self._workers.send(worker_id, request)

    def _finish(self, task: ReplayTask, reply: Finished) -> None:
        """Keep what was made if it is of the episode that was recorded."""
        problem = task.problem_of(reply) or _difference(task.result, reply) or task.keep(reply)
        if problem:
            task.discard()
        self._on_replayed(task.result.spec, problem)


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
