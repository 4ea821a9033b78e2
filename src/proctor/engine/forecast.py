"""How long things will take, as far as the run has taught: building a task's simulator, and one of its episodes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from proctor.types import TaskKey


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    n: int = 0

    def learn(self, seconds: float) -> None:
        self.total += seconds
        self.n += 1

    @property
    def value(self) -> float:
        return self.total / self.n if self.n else 0.0


class _Means:
    """A mean per task. Of a task about which nothing is known, what is known of all of them together."""

    def __init__(self) -> None:
        self._of_task: defaultdict[TaskKey, _Mean] = defaultdict(_Mean)
        self._overall = _Mean()

    def learn(self, task: TaskKey, seconds: float) -> None:
        self._of_task[task].learn(seconds)
        self._overall.learn(seconds)

    def of(self, task: TaskKey) -> float:
        known = self._of_task.get(task)
        return known.value if known is not None else self._overall.value


class Forecast:
    """Expected seconds; 0 before anything is known."""

    def __init__(self) -> None:
        self._builds, self._episodes = _Means(), _Means()

    def built(self, task: TaskKey, seconds: float) -> None:
        """A task's simulator was built in so long."""
        self._builds.learn(task, seconds)

    def finished(self, task: TaskKey, seconds: float) -> None:
        """An episode took so long, in a simulator that stood."""
        self._episodes.learn(task, seconds)

    def build_seconds(self, task: TaskKey) -> float:
        return self._builds.of(task)

    def episode_seconds(self, task: TaskKey) -> float:
        return self._episodes.of(task)
