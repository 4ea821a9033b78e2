"""A race in steps: who is evaluated how far, and when it ends."""

from __future__ import annotations

import json

import numpy as np
import pytest

from proctor.errors import ConfigError
from proctor.evaluation.sweep.race import run_race
from proctor.evaluation.sweep.record import SweptCheckpoint
from proctor.evaluation.sweep.targets import Checkpoint
from proctor.results.summary import summarize
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, Task
from result_samples import broken, done, run_info

RUN = run_info(policy={"type": "act"}, env={"type": "zoo"}, eval={})
TASKS = [Task("zoo", 0, "feed-lion", "", 100), Task("zoo", 1, "feed-bear", "", 100)]


class Sweeping:
    """Evaluates policies with given success rates; keeps how far each was evaluated."""

    n_tasks = len(TASKS)

    def __init__(self, folder, rates, n_episodes=200, *, outcome=None, broken=()):
        self.n_episodes, self._folder, self._rates, self._outcome = n_episodes, folder, rates, outcome
        self._broken = broken
        self.checkpoints = [Checkpoint(f"/{name}", "run", None, name) for name in rates]
        self.steps, self._swept = [], {}

    @property
    def swept(self):
        return list(self._swept.values())

    def evaluate(self, checkpoints, n_episodes):
        self.steps.append(({each.name for each in checkpoints}, n_episodes))
        for checkpoint in checkpoints:
            problem = "broken" if checkpoint.name in self._broken else ""
            summary = None if problem else self._summary(checkpoint.name, n_episodes)
            run = None if problem else RUN
            swept = SweptCheckpoint(checkpoint, self._folder / checkpoint.name, run, summary, problem)
            self._swept[checkpoint.name] = swept
        return [each for each in checkpoints if self._swept[each.name].status == "failed"]

    def _summary(self, name, n_episodes):
        specs = [EpisodeSpec("zoo", task.task_id, index, 1000 + index) for task in TASKS for index in range(n_episodes)]
        return summarize(TASKS, specs, [self._result(name, spec) for spec in specs])

    def _result(self, name, spec):
        draw = np.random.default_rng([spec.task_id, spec.episode_index, len(name)]).random()
        return (self._outcome or done)(spec, success=bool(draw < self._rates[name]))


def race(sweep, folder):
    seen = []
    result = run_race(sweep, sweep.checkpoints, folder, seen.append)
    return result, seen


def test_the_better_one_wins_before_the_plan_ends(tmp_path):
    """Both were evaluated up to the same round; the file says who has won and what was saved."""
    sweep = Sweeping(tmp_path, {"good": 0.9, "poor": 0.2})

    result, seen = race(sweep, tmp_path)

    assert result.winner.checkpoint.name == "good"
    assert result.n_rounds <= sweep.steps[-1][1] < 60
    assert seen[-1] is result
    record = json.loads((tmp_path / "race.json").read_text())
    assert record["winner"] == "good"
    assert record["n_episodes"] == result.n_episodes < record["n_episodes_planned"] == 2 * 2 * 200
    assert [row["eliminated_after"] for row in record["racers"]] == [None, result.n_rounds]


def test_one_that_is_out_is_not_evaluated_any_further(tmp_path):
    """The others go on, each time a good deal further."""
    sweep = Sweeping(tmp_path, {"good": 0.9, "fair.": 0.6, "hopeless": 0.02})

    result, _ = race(sweep, tmp_path)

    assert result.winner.checkpoint.name == "good"
    assert sweep.steps[0] == ({"good", "fair.", "hopeless"}, 10), "twenty episodes of two tasks"
    assert sweep.steps[-1][0] == {"good", "fair."}
    lengths = [n for _, n in sweep.steps]
    assert lengths == sorted(set(lengths))
    assert result.eliminated_after[2] < result.eliminated_after[1]


def test_equal_policies_run_the_whole_plan_and_nothing_is_decided(tmp_path):
    """Nobody is called the best then."""
    sweep = Sweeping(tmp_path, {"one": 0.5, "two": 0.5}, n_episodes=30)
    sweep._result = lambda name, spec: done(spec, success=spec.episode_index % 2 == 0)

    result, _ = race(sweep, tmp_path)

    assert result.winner is None
    assert [racer.checkpoint.name for racer in result.left] == ["one", "two"]
    assert result.n_rounds == sweep.steps[-1][1] == 30
    assert result.n_episodes == result.n_episodes_planned


def test_a_policy_that_cannot_be_evaluated_is_left_out(tmp_path):
    """The race goes on among the others, if there are two."""
    sweep = Sweeping(tmp_path, {"good": 0.9, "poor": 0.1, "none": 0.5}, broken={"none"})
    result, _ = race(sweep, tmp_path)
    assert [racer.checkpoint.name for racer in result.racers] == ["good", "poor"]

    with pytest.raises(ConfigError, match="Fewer than two policies"):
        race(Sweeping(tmp_path, {"good": 0.9, "none": 0.5}, broken={"none"}), tmp_path)


def test_errors_delay_a_decision_and_do_not_make_one(tmp_path):
    """All episodes of the poor policy in error could yet be successes."""
    sweep = Sweeping(tmp_path, {"good": 0.9, "poor": 0.9}, n_episodes=40)
    whole = sweep._result
    sweep._result = lambda name, spec: (
        broken(spec) if name == "poor" and spec.episode_index % 2 else whole("good", spec)
    )

    result, _ = race(sweep, tmp_path)

    assert result.winner is None


def test_without_success_there_is_no_race(tmp_path):
    """A reward says nothing of who is better here."""
    sweep = Sweeping(tmp_path, {"one": 0.5, "two": 0.5})
    sweep._result = lambda name, spec: EpisodeResult(spec, Outcome.of_completed(None), 1.0, 1.0, 9)

    with pytest.raises(ConfigError, match="There is no race without success"):
        race(sweep, tmp_path)
