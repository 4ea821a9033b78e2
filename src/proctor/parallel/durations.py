"""Predicts how long episodes of each task take, and how long it takes to build a simulator, from earlier ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from proctor.engine.forecast import Mean
from proctor.types import Timings


@dataclass(slots=True)
class AllDurations:
    """The seconds that episodes of all tasks took, and the buildings of simulators."""

    episodes: Mean = field(default_factory=Mean)
    n_steps: int = 0
    """The sum of these episodes' limits of steps."""
    builds: Mean = field(default_factory=Mean)

    @property
    def step_s(self) -> float:
        """The seconds of an episode for each step of its limit, 1.0 before one is over."""
        return self.episodes.total / self.n_steps if self.episodes.total else 1.0


@dataclass(slots=True)
class Durations:
    """The seconds that the episodes of a task took, at most ``max_steps`` steps each.

    Of the episodes that begin together the short ones are over first. A mean without this bias is that of the episodes
    that were assigned before the first one that is not over.
    """

    max_steps: int
    all_tasks: AllDurations
    longest_known_s: float = 0.0
    n_assigned: int = 0
    n_before: int = 0
    """The number of episodes that were assigned before the first one that is not over."""
    later: dict[int, float | None] = field(default_factory=dict)
    """The seconds of later episodes that are over, by their place in the order of assignment; None if not known."""
    before: Mean = field(default_factory=Mean)
    episodes: Mean = field(default_factory=Mean)

    def assigned(self) -> int:
        """Take note that an episode was assigned, and return its place in the order of assignment."""
        self.n_assigned += 1
        return self.n_assigned - 1

    def over(self, place: int, timings: Timings | None) -> None:
        """Take note that an assigned episode is over.

        ``timings`` are None if they do not tell its duration, or if it was lost.
        """
        self.later[place] = None if timings is None else self._learn(timings)
        while self.n_before in self.later:
            seconds = self.later.pop(self.n_before)
            self.n_before += 1
            if seconds is not None:
                self.before.learn(seconds)

    def _learn(self, timings: Timings) -> float:
        # What a worker did before its episode is no part of the episode.
        seconds = timings.reset + timings.step + timings.look + timings.inference + timings.wait + timings.other
        self.longest_known_s = max(self.longest_known_s, seconds)
        self.episodes.learn(seconds)
        self.all_tasks.episodes.learn(seconds)
        self.all_tasks.n_steps += self.max_steps
        if timings.construct:
            self.all_tasks.builds.learn(timings.construct)
        return seconds

    @property
    def known(self) -> bool:
        """True once the seconds of an episode of the task are known."""
        return self.episodes.n > 0

    @property
    def episode_s(self) -> float:
        """The expected seconds of an episode; before one is over, in proportion to the limit of steps."""
        if self.before.n:
            return self.before.value
        return self.episodes.value if self.known else self.max_steps * self.all_tasks.step_s

    @property
    def longest_s(self) -> float:
        """The seconds of the longest episode that is over; before one is over, those of an expected one."""
        return self.longest_known_s if self.known else self.episode_s
