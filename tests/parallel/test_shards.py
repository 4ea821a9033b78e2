"""Shards that die, hang, fail and come back, as their driver sees them: scripted, without a process or a clock."""

from __future__ import annotations

import signal
from collections import Counter, deque

import numpy as np
import pytest

from proctor.config import RunConfig
from proctor.engine.load import Load
from proctor.engine.worker.messages import ArrayBytes
from proctor.errors import ConfigError, Interrupted, ResourceError
from proctor.parallel import shards as shards_module
from proctor.parallel.launchers.base import (
    EpisodeDone,
    EpisodeStarted,
    Launcher,
    NoMore,
    PolicyLoaded,
    RunEpisodes,
    ShardEnded,
    ShardFailed,
    ShardLost,
    ShardReady,
    ShardRun,
    ShardStatus,
    Stop,
    decode_order,
    decode_report,
    encode,
)
from proctor.parallel.scheduler import Rules, ShardScheduler
from proctor.parallel.shards import ShardPool
from proctor.types import EpisodeResult, EpisodeSpec, Outcome

PLAN = [EpisodeSpec("suite", task, index, 1000 + index) for task in range(2) for index in range(6)]


class Script(Launcher):
    """Shards of one worker that finish an episode whenever they are polled, unless ``faults`` says otherwise.

    ``faults`` maps the number of a start (0 is the first of all) to what that start does once it has begun its
    ``after``-th episode: an event to end with, or "hang".
    """

    def __init__(self, faults=None, after=1):
        self.faults, self.after = faults or {}, after
        self.starts, self.orders, self.events = [], [], deque()
        self.shards = {}
        self.cancelled, self.closed = [], False

    def submit(self, run):
        assert run.number not in self.shards
        self.shards[run.number] = {"start": len(self.starts), "todo": deque(), "begun": 0, "opened": False}
        self.starts.append(run.number)
        self.tell(run.number, ShardReady(1))

    def tell(self, number, report):
        self.events.append((number, decode_report(encode(report)) if not isinstance(report, ShardLost) else report))
        if isinstance(report, ShardEnded | ShardFailed | ShardLost):
            del self.shards[number]

    def send(self, shard, order):
        order = decode_order(encode(order))
        self.orders.append((shard, order))
        if shard not in self.shards:
            return
        match order:
            case RunEpisodes(episodes):
                self.shards[shard]["todo"].extend(episodes)
            case NoMore() | Stop():
                self.tell(shard, ShardEnded())

    def poll(self, timeout_s):
        if not self.events:
            for number in list(self.shards):
                self.turn(number, self.shards[number])
        events, self.events = list(self.events), deque()
        return events

    def turn(self, number, shard):
        fault = self.faults.get(shard["start"])
        if not shard["todo"] or (fault == "hang" and shard["begun"] >= self.after):
            return
        if not shard["opened"]:
            shard["opened"] = True
            self.tell(number, PolicyLoaded({"type": "scripted"}))
        spec = shard["todo"].popleft()
        shard["begun"] += 1
        self.tell(number, EpisodeStarted(spec))
        if fault is not None and shard["begun"] >= self.after:
            if fault != "hang":
                self.tell(number, fault)
            return
        self.tell(number, ShardStatus(Load(simulating=1, running={spec.task: 1}, inference_share=0.5), True))
        self.tell(number, EpisodeDone(result_of(spec), ArrayBytes.pack(np.full((2, 1), spec.seed))))

    def cancel(self, shard):
        self.cancelled.append(shard)
        del self.shards[shard]

    def close(self):
        self.closed = True


def result_of(spec):
    return EpisodeResult(spec, Outcome.SUCCESS, 1.0, 1.0, 2, 1, f"state-{spec.task_id}-{spec.seed}")


def make_fleet(script, n_shards=2, *, plan=PLAN, max_attempts=2, patience_s=1e9, static=False):
    runs = [ShardRun(number, RunConfig(), {}, None, [], f"shard_{number}.log", n_shards) for number in range(n_shards)]
    dealer = ShardScheduler(plan, n_shards, Rules(static))
    return ShardPool(script, runs, dealer, max_attempts=max_attempts, patience_s=patience_s)


def run(fleet, on_result=None, on_tick=lambda: None):
    """What came of each episode."""
    results, policies = {}, []

    def keep(result, actions):
        assert result.spec not in results
        results[result.spec] = (result, actions)
        if on_result is not None:
            on_result(result)

    fleet.run(keep, policies.append, on_tick)
    return {spec: result for spec, (result, _) in results.items()}, results, policies


def test_every_result_comes_with_the_actions_it_executed():
    """Once, whichever shard ran it; each shard's policy is told before."""
    results, kept, policies = run(make_fleet(Script(), 3))

    assert results == {spec: result_of(spec) for spec in PLAN}
    assert all((actions == spec.seed).all() for spec, (_, actions) in kept.items())
    assert policies == [{"type": "scripted"}] * 3


def test_shards_are_told_that_there_is_no_more():
    """And end in good order, all of them."""
    script = Script()
    run(make_fleet(script, 3))

    assert [order for _, order in script.orders if not isinstance(order, RunEpisodes)] == [NoMore()] * 3
    assert not script.shards


@pytest.mark.parametrize("static", [False, True])
def test_a_shard_that_dies_is_started_again_and_its_episodes_run(static):
    """None twice, none left out; what became of the shard is said."""
    script = Script({1: ShardLost("was ended by SIGKILL")}, after=2)
    fleet = make_fleet(script, static=static)
    results, _, _ = run(fleet)

    assert set(results) == set(PLAN)
    assert script.starts == [0, 1, 1]
    assert fleet.losses == ["Shard 1 was ended by SIGKILL; started again. See shard_1.log."]
    (error,) = [result.errors for result in results.values() if result.errors]
    assert [(one.kind, one.message) for one in error] == [("crashed", "its shard was ended by SIGKILL")]


def test_an_episode_that_ends_its_shard_each_time_is_an_error():
    """As one is that ends its worker: after the attempts it has. The others are run."""
    script = Script({start: ShardLost("was ended by SIGSEGV") for start in (0, 1)})
    results, kept, _ = run(make_fleet(script, 1))

    assert Counter(result.outcome for result in results.values()) == {Outcome.SUCCESS: 11, Outcome.ERROR: 1}
    (failed,) = [result for result in results.values() if result.outcome is Outcome.ERROR]
    assert failed.spec == PLAN[0]
    assert [error.message for error in failed.errors] == ["its shard was ended by SIGSEGV"] * 2
    assert kept[failed.spec][1] is None


def test_of_several_episodes_under_way_none_is_blamed():
    """Nobody knows which one it was."""

    class TwoAtATime(Script):
        def turn(self, number, shard):
            if shard["start"] == 0 and shard["todo"] and not shard["begun"]:
                shard["begun"] = 1
                self.tell(number, EpisodeStarted(shard["todo"][0]))
                self.tell(number, EpisodeStarted(PLAN[-1]))
                self.tell(number, ShardLost("was ended by SIGKILL"))
            else:
                super().turn(number, shard)

    results, _, _ = run(make_fleet(TwoAtATime(), 1))

    assert results == {spec: result_of(spec) for spec in PLAN}


def test_a_shard_that_dies_again_and_again_leaves_its_episodes_to_the_others():
    """It is started four times."""

    class Unlucky(Script):
        def turn(self, number, shard):
            if number == 1 and shard["todo"]:
                self.tell(number, ShardLost("exited with status 1"))
            else:
                super().turn(number, shard)

    script = Unlucky()
    fleet = make_fleet(script)
    results, _, _ = run(fleet)

    assert results == {spec: result_of(spec) for spec in PLAN}
    assert Counter(script.starts) == {0: 1, 1: 4}
    assert "the others run its episodes" in fleet.losses[-1]


def test_where_no_shard_lives_the_run_ends_with_a_sentence():
    """Which says where to look."""

    class Broken(Script):
        def submit(self, run):
            super().submit(run)
            self.events.pop()
            self.tell(run.number, ShardLost("exited with status 1"))

    with pytest.raises(ResourceError, match=r"Every shard .* exited with status 1. See shard_\d.log"):
        run(make_fleet(Broken()))


def test_what_is_wrong_everywhere_ends_the_run_at_once():
    """With the shard's own sentence and status."""
    script = Script({0: ShardFailed("The checkpoint is corrupt.", "Download it again.", 2)})
    with pytest.raises(ConfigError, match="checkpoint is corrupt") as caught:
        run(make_fleet(script))

    assert (caught.value.exit_code, caught.value.hint) == (2, "Download it again.")


def test_a_shard_without_memory_is_one_that_died():
    """The others may have enough."""
    script = Script({1: ShardFailed("The device has no memory.", "", 4)})
    fleet = make_fleet(script)
    results, _, _ = run(fleet)

    assert set(results) == set(PLAN)
    assert fleet.losses == ["Shard 1 failed: The device has no memory; started again. See shard_1.log."]


def test_a_shard_that_says_nothing_any_more_is_ended(monkeypatch):
    """By the monotonic clock; what it had begun runs again."""
    moments = iter(range(10**6))
    monkeypatch.setattr(shards_module, "monotonic", lambda: float(next(moments)))
    script = Script({1: "hang"})
    fleet = make_fleet(script, patience_s=60.0)
    results, _, _ = run(fleet)

    assert set(results) == set(PLAN)
    assert script.cancelled == [1]
    assert "gave no sign of life for 60 s" in fleet.losses[0]


def test_an_interrupted_run_stops_its_shards_and_keeps_what_they_still_say():
    """Then says that it was interrupted."""
    script = Script()
    fleet = make_fleet(script)
    kept = []

    def stop(result):
        kept.append(result.spec)
        if len(kept) == 3:
            fleet.interrupt(signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        run(fleet, stop)

    assert caught.value.exit_code == 143
    assert 3 <= len(kept) < len(PLAN)
    assert [order for _, order in script.orders if not isinstance(order, RunEpisodes)] == [Stop()] * 2


def test_what_is_not_needed_any_more_is_not_run():
    """Where enough is known before the end of the plan."""
    fleet = make_fleet(Script())
    results, _, _ = run(fleet, lambda _: fleet.begin_no_more())

    assert 1 <= len(results) <= 3


def test_the_load_of_all_is_one():
    """Sums of workers, means of shares; the display reads it like an engine's."""
    loads = []
    fleet = make_fleet(Script())
    run(fleet, lambda _: loads.append(fleet.load()))

    assert loads[-1].simulating == 2
    assert loads[-1].inference_share == 0.5
    assert sum(loads[-1].running.values()) == 2
    assert not loads[-1].loading_policy
    assert fleet.started_at <= fleet.measuring_since
