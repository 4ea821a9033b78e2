"""How long episodes of each task take, and how long it takes to build a simulator, learnt from the run itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from proctor.types import TaskKey, Timings


@dataclass(slots=True)
class _Sum:
    """The sum of durations, and how many they are."""

    seconds: float = 0.0
    n: int = 0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        self.seconds += seconds
        self.n += 1

    @property
    def mean(self) -> float:
        """The mean duration; 0.0 if there is none."""
        return self.seconds / self.n if self.n else 0.0


@dataclass(slots=True)
class _OfTask:
    """The seconds that the episodes of a task took.

    Of the episodes that begin together the short ones are over first. A mean without this bias is that of the episodes
    that were assigned before the first one that is not over.
    """

    n_assigned: int = 0
    n_before: int = 0
    """The number of episodes that were assigned before the first one that is not over."""
    later: dict[int, float | None] = field(default_factory=dict)
    """The seconds of later episodes that are over, by their place in the order of assignment; None if not known."""
    before: _Sum = field(default_factory=_Sum)
    all: _Sum = field(default_factory=_Sum)
    longest: float = 0.0

    def over(self, place: int, seconds: float | None) -> None:
        """Take note that an episode is over or, without seconds, that it is not run after all."""
        if seconds is not None:
            self.all.add(seconds)
            self.longest = max(self.longest, seconds)
        self.later[place] = seconds
        while self.n_before in self.later:
            seconds = self.later.pop(self.n_before)
            self.n_before += 1
            if seconds is not None:
                self.before.add(seconds)

    @property
    def mean(self) -> float:
        """The mean of the episodes before the first that is not over; of all if there is none; 0.0 if none is over."""
        return self.before.mean or self.all.mean


class Durations:
    """Predicts the seconds of an episode of each task and of building a simulator, as means of earlier ones.

    ``max_steps`` are the limits of the tasks, to which the time of an episode is taken to be proportional before one of
    its task is over.
    """

    def __init__(self, max_steps: Mapping[TaskKey, int]) -> None:
        self._max_steps = max_steps
        self._tasks: defaultdict[TaskKey, _OfTask] = defaultdict(_OfTask)
        self._all, self._builds = _Sum(), _Sum()
        self._all_max_steps = 0

    def assigned(self, task: TaskKey) -> int:
        """Take note that an episode of a task was assigned, and return its place in the order of assignment."""
        durations = self._tasks[task]
        durations.n_assigned += 1
        return durations.n_assigned - 1

    def over(self, task: TaskKey, place: int, timings: Timings | None) -> None:
        """Take note that an assigned episode is over.

        ``timings`` are None if they do not tell its duration, or if it was lost.
        """
        if timings is None:
            self._tasks[task].over(place, None)
            return
        # What a worker did before its episode is no part of the episode.
        seconds = timings.reset + timings.step + timings.look + timings.inference + timings.wait + timings.other
        self._tasks[task].over(place, seconds)
        self._all.add(seconds)
        self._all_max_steps += self._max_steps.get(task, 1)
        if timings.construct:
            self._builds.add(timings.construct)

    def episode_s(self, task: TaskKey) -> float:
        """Return the seconds of an episode of a task; before one of any task is over, its limit."""
        if mean := self._tasks[task].mean:
            return mean
        return self._max_steps.get(task, 1) * (self._all.seconds / self._all_max_steps if self._all.seconds else 1.0)

    def longest_s(self, task: TaskKey) -> float:
        """Return the seconds of the longest episode of a task that is over; before one is over, the forecast."""
        return self._tasks[task].longest or self.episode_s(task)

    @property
    def any_episode_s(self) -> float:
        """The seconds of an episode of any task; 0.0 before one is over."""
        return self._all.mean

    def knows(self, task: TaskKey) -> bool:
        """Return True if an episode of a task is over."""
        return self._tasks[task].all.n > 0

    @property
    def build_s(self) -> float:
        """The seconds that it takes to build a simulator; 0.0 before one was built."""
        return self._builds.mean
