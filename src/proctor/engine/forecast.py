"""Expected durations, learnt from the run itself: of building a task's simulator, and of one of its episodes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from proctor.engine.observer import Observer
from proctor.engine.worker.messages import Built, Finished
from proctor.types import EpisodeSpec, TaskKey


@dataclass(slots=True)
class Mean:
    """The mean of durations, in seconds."""

    total: float = 0.0
    n: int = 0

    def learn(self, seconds: float) -> None:
        """Take note of a duration."""
        self.total += seconds
        self.n += 1

    @property
    def value(self) -> float:
        """The mean; 0.0 if there is no duration."""
        return self.total / self.n if self.n else 0.0


class _Means:
    """A mean per task. For a task that has no value yet it is the mean over all tasks."""

    def __init__(self) -> None:
        self._of_task: defaultdict[TaskKey, Mean] = defaultdict(Mean)
        self._overall = Mean()

    def learn(self, task: TaskKey, seconds: float) -> None:
        self._of_task[task].learn(seconds)
        self._overall.learn(seconds)

    def of(self, task: TaskKey) -> float:
        known = self._of_task.get(task)
        return known.value if known is not None else self._overall.value


class Forecast(Observer):
    """Expected durations in seconds; an expected duration is 0 before any of its kind is known."""

    def __init__(self) -> None:
        self._builds, self._episodes = _Means(), _Means()
        self._reset_at: dict[int, float] = {}

    def learn_build(self, task: TaskKey, seconds: float) -> None:
        """Take note that building a simulator of ``task`` took ``seconds``."""
        self._builds.learn(task, seconds)

    def learn_episode(self, task: TaskKey, seconds: float) -> None:
        """Take note that an episode of ``task`` took ``seconds`` from its reset to its end."""
        self._episodes.learn(task, seconds)

    def build_seconds(self, task: TaskKey) -> float:
        """The seconds that building a simulator of ``task`` is expected to take."""
        return self._builds.of(task)

    def episode_seconds(self, task: TaskKey) -> float:
        """The seconds that an episode of ``task`` is expected to take in a simulator that is built."""
        return self._episodes.of(task)

    def built(self, worker_id: int, spec: EpisodeSpec, reply: Built, now: float) -> None:
        self.learn_build(spec.task, reply.spent.construct)

    def acted(self, worker_id: int, spec: EpisodeSpec, n_actions: int, now: float) -> None:
        if not n_actions:
            self._reset_at[worker_id] = now

    def finished(self, worker_id: int, spec: EpisodeSpec, reply: Finished, now: float) -> None:
        self.learn_episode(spec.task, now - self._reset_at[worker_id])
