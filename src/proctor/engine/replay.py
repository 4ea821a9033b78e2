"""Replays episodes: to render their videos, or to record what their policy saw.

A replay checks itself: it must end as the recorded episode did.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import msgspec

from proctor.engine.options import EngineSetup
from proctor.engine.worker.messages import NO_TIME_LEFT, Built, Finished, Replay
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


class Replayer:
    """Runs the actions of episodes again.

    ``workers`` are those of an engine that has run to its end, and remain their owner's if the replayer, too, runs to
    its end; if they are not given, the replayer has its own. If ``budget_s`` is given, the replays are begun in the
    order of ``tasks``, and after so many seconds those that are not finished are left out.
    """

    def __init__(
        self,
        setup: EngineSetup,
        tasks: Sequence[ReplayTask],
        workers: Workers | None = None,
        *,
        budget_s: float = math.inf,
    ) -> None:
        self._setup = setup
        self._tasks = {task.result.spec: task for task in tasks}
        self._workers = workers if workers is not None else Workers(setup)
        self._owns_workers = workers is None
        self._budget = _Budget(budget_s)
        self._waiting = deque(self._tasks)
        self._begun: dict[EpisodeSpec, float] = {}
        """The episodes that are being replayed, each with the moment at which its replay was sent."""
        self._workers.begin(setup, ())
        self._on_replayed: OnReplayed

    def run(self, on_replayed: OnReplayed, on_tick: Callable[[], None] = lambda: None) -> None:
        """Replay every episode that there is time for; ``on_tick`` is called a few times a second.

        Raises:
            ConfigError: a simulator does not have what is asked for, such as a camera.
            EnvironmentBuildError: the simulator cannot be constructed.
            ResourceError: too many workers were lost.
            Interrupted: :meth:`interrupt` was called.
        """
        self._on_replayed = on_replayed
        self._budget = _Budget(self._budget.seconds)
        repeat(self._step, lambda: self._workers.done and not self._waiting, on_tick)

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
        self._add()
        for worker_id, spec in self._workers.assign():
            self._replay(worker_id, spec)
        for event in self._workers.receive(TICK_S):
            self._handle(event)

    def _add(self) -> None:
        """Let the workers begin videos: all at once, so that each task is built once, unless the order decides."""
        while self._waiting and (self._budget.left is None or len(self._begun) < self._setup.n_workers):
            if not self._budget.suffices_for(self._tasks[self._waiting[0]].result.length or 0):
                self._waiting.clear()
                return
            spec = self._waiting.popleft()
            self._begun[spec] = monotonic()
            self._workers.add([spec])

    def _handle(self, event: Event) -> None:
        match event:
            case EnvBuilt(worker_id, spec, reply):
                self._tasks[spec].check(reply, self._setup.tasks[spec.task].name)
                self._replay(worker_id, spec)
            case EpisodeFinished(_, spec, reply):
                self._finish(self._tasks[spec], reply)
            case EpisodeGivenUp(spec, errors):
                del self._begun[spec]
                self._on_replayed(spec, errors[-1].message)

    def _replay(self, worker_id: int, spec: EpisodeSpec) -> None:
        request = self._tasks[spec].request(self._setup.tasks[spec.task].max_episode_steps)
        self._begun[spec] = monotonic()
        self._workers.send(worker_id, msgspec.structs.replace(request, seconds=self._budget.left))

    def _finish(self, task: ReplayTask, reply: Finished) -> None:
        """Keep what was made if it is of the episode that was recorded."""
        spec = task.result.spec
        self._budget.book(monotonic() - self._begun.pop(spec), reply.arrays["actions"].shape[0])
        problem = task.problem_of(reply) or _difference(task.result, reply) or task.keep(reply)
        if problem:
            task.discard()
        if problem != NO_TIME_LEFT:
            self._on_replayed(spec, problem)


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
