"""Policies run the same episodes, round by round, until it is known which is the best: ``proctor race``.

The rule is that of :mod:`proctor.statistics.race`. It looks at the complete rounds of the plan alone (episode 0 of
every task, episode 1, …), so it does not matter with how many workers they were run. All policies that may still be the
best are evaluated up to the same round, then up to a later one, in growing steps: a step costs the loading of each
policy.

The run directories are ordinary ones, of the episodes that were run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proctor.errors import ConfigError
from proctor.evaluation.sweep.record import SweptCheckpoint
from proctor.evaluation.sweep.sweep import Sweep
from proctor.evaluation.sweep.targets import Checkpoint
from proctor.results.files import write_json
from proctor.statistics.race import Outcomes, Race
from proctor.types import EpisodeResult

RACE_FILE = "race.json"
FORMAT_VERSION = 1
_FIRST_EPISODES = 20
"""Episodes of each policy in the first step, at least; with fewer, no difference can be shown with several policies."""
_GROWTH = 1.3


@dataclass(frozen=True)
class RaceResult:
    """The state of a race.

    Attributes:
        racers: the policies, those that failed left out.
        eliminated_after: the number of rounds after which each racer was eliminated; None if it may be the best.
        n_rounds: the number of rounds that were looked at.
        n_rounds_planned: the number of rounds after which the race ends undecided.
        n_tasks: the number of tasks, which are the episodes of a round.
    """

    racers: Sequence[SweptCheckpoint]
    eliminated_after: Sequence[int | None]
    n_rounds: int
    n_rounds_planned: int
    n_tasks: int

    @property
    def winner(self) -> SweptCheckpoint | None:
        """The best policy, if it is known."""
        left = self.left
        return left[0] if len(left) == 1 else None

    @property
    def left(self) -> list[SweptCheckpoint]:
        """The policies that may be the best."""
        return [racer for racer, end in zip(self.racers, self.eliminated_after, strict=True) if end is None]

    @property
    def n_episodes(self) -> int:
        """The number of episodes that all policies have run."""
        return sum(racer.counts.n_completed + racer.counts.n_errors for racer in self.racers)

    @property
    def n_episodes_planned(self) -> int:
        """The number of episodes that all policies would have run without the race."""
        return len(self.racers) * self.n_rounds_planned * self.n_tasks

    def as_values(self, folder: Path) -> dict[str, Any]:
        """Give the race as plain values."""
        rows = [
            {**racer.as_row(folder), "eliminated_after": end}
            for racer, end in zip(self.racers, self.eliminated_after, strict=True)
        ]
        return {
            "format_version": FORMAT_VERSION,
            "winner": None if self.winner is None else self.winner.checkpoint.name,
            "may_be_best": [racer.checkpoint.name for racer in self.left],
            "n_rounds": self.n_rounds,
            "n_rounds_planned": self.n_rounds_planned,
            "n_episodes": self.n_episodes,
            "n_episodes_planned": self.n_episodes_planned,
            "racers": rows,
        }


def run_race(
    sweep: Sweep, checkpoints: Sequence[Checkpoint], folder: Path, on_step: Callable[[RaceResult], None]
) -> RaceResult:
    """Evaluate policies until one is the best, or until all have run the whole plan.

    Args:
        sweep: evaluates them; its evaluation has the largest number of episodes of each task.
        checkpoints: the policies.
        folder: the directory of the sweep, into which ``race.json`` is written.
        on_step: receives the state of the race after each step.

    Raises:
        ConfigError: fewer than two policies can be evaluated, or the environment does not report success.
        ProctorError: the race cannot go on. What finished is on disk.
    """
    running, n_rounds = list(checkpoints), 0
    racing = list(checkpoints)
    while True:
        n_rounds = _next(n_rounds, sweep)
        failed = {each.name for each in sweep.evaluate(running, n_episodes=n_rounds) if not _has_results(sweep, each)}
        racing = [each for each in racing if each.name not in failed]
        if len(racing) < 2:
            raise ConfigError("Fewer than two policies could be evaluated, so that there is no race; see what failed.")
        result = standing(sweep, racing, n_rounds)
        write_json(folder / RACE_FILE, result.as_values(folder))
        on_step(result)
        if result.winner is not None or n_rounds >= sweep.n_episodes:
            return result
        left = {racer.checkpoint.name for racer in result.left}
        running = [each for each in racing if each.name in left]


def standing(sweep: Sweep, racing: Sequence[Checkpoint], n_rounds: int) -> RaceResult:
    """Look at the results of ``n_rounds`` rounds, in their order, as if they had come one by one.

    Raises:
        ConfigError: the environment does not report the success of an episode.
    """
    by_name = {each.checkpoint.name: each for each in sweep.swept}
    racers = [by_name[checkpoint.name] for checkpoint in racing]
    rounds = [_rounds(racer) for racer in racers]
    race = Race(len(racers))
    for number in range(n_rounds):
        # An episode that was in error has been run again since if a policy lacks rounds that it now would need.
        if race.winner is not None or number >= min(len(rounds[racer]) for racer in race.running):
            break
        race.add_round({racer: rounds[racer][number] for racer in race.running})
    return RaceResult(racers, race.eliminated_after, race.n_rounds, sweep.n_episodes, sweep.n_tasks)


def _next(n_rounds: int, sweep: Sweep) -> int:
    """Choose the round up to which the next step goes."""
    first = math.ceil(_FIRST_EPISODES / sweep.n_tasks)
    return min(sweep.n_episodes, max(first, math.ceil(n_rounds * _GROWTH)))


def _has_results(sweep: Sweep, checkpoint: Checkpoint) -> bool:
    """Say whether a policy completed episodes, though others may have ended in an error."""
    swept = next(each for each in sweep.swept if each.checkpoint.name == checkpoint.name)
    return swept.problem == "" and swept.counts.n_completed > 0


def _rounds(racer: SweptCheckpoint) -> list[Outcomes]:
    """Give the outcomes of each round, tasks in the order of the plan."""
    assert racer.summary is not None  # it has results
    by_index: list[Mapping[int, EpisodeResult]] = [
        {result.spec.episode_index: result for result in task.episodes} for task in racer.summary.tasks
    ]
    if racer.summary.overall.n_unknown:
        raise ConfigError(
            "There is no race without success: the environment does not report it for every episode. Give "
            "--env.success_key or --env.success_threshold."
        )
    return list(_complete(by_index))


def _complete(tasks: Sequence[Mapping[int, EpisodeResult]]) -> Iterator[Outcomes]:
    """Yield rounds as long as every task has an episode of theirs; its success is None if it ended in an error."""
    for index in range(min(map(len, tasks), default=0)):
        yield [task[index].success for task in tasks]
