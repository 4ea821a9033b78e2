"""A pool of shards that die, hang, fail and are started again. The shards are scripted; no process is started."""

from __future__ import annotations

import signal
from collections import Counter, deque

import numpy as np
import pytest

from proctor.config import RunConfig
from proctor.engine.load import Load
from proctor.errors import ConfigError, Interrupted, PackedError, ResourceError
from proctor.parallel import shards as shards_module
from proctor.parallel.launchers.base import Launcher
from proctor.parallel.messages import (
    LAST_EVENTS,
    EpisodeDone,
    EpisodeStarted,
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
    decode_reports,
    encode,
    encode_reports,
)
from proctor.parallel.scheduler import Rules, ShardScheduler
from proctor.parallel.shards import ShardPool
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, pack_arrays

PLAN = [EpisodeSpec("suite", task, index, 1000 + index) for task in range(2) for index in range(6)]


class Script(Launcher):
    """A launcher whose shards have one worker and finish an episode at each poll, unless ``faults`` says otherwise.

    ``faults`` maps the number of a start (0 is the first start of any shard) to what that shard does once it has
    started its ``after``-th episode: the event that it ends with, or "hang".
    """

    def __init__(self, faults=None, after=1, batch_size=1):
        self.faults, self.after, self.batch_size = faults or {}, after, batch_size
        self.starts, self.orders, self.events = [], [], deque()
        self.shards = {}
        self.cancelled, self.n_polls = [], 0

    def submit(self, run):
        assert run.shard_id not in self.shards
        self.shards[run.shard_id] = {"start": len(self.starts), "todo": deque(), "n_started": 0, "loaded": False}
        self.starts.append(run.shard_id)
        self.report(run.shard_id, ShardReady(self.batch_size))

    def report(self, shard_id, report):
        decoded = [report] if isinstance(report, ShardLost) else decode_reports(encode_reports(report))
        self.events += [(shard_id, event) for event in decoded]
        if isinstance(report, LAST_EVENTS):
            del self.shards[shard_id]

    def send(self, shard_id, order):
        order = decode_order(encode(order))
        self.orders.append((shard_id, order))
        if shard_id not in self.shards:
            return
        match order:
            case RunEpisodes(episodes):
                self.shards[shard_id]["todo"].extend(episodes)
            case NoMore() | Stop():
                self.report(shard_id, ShardEnded())

    def poll(self, timeout_s):
        self.n_polls += 1
        assert self.n_polls < 10_000, "the run does not end"
        if not self.events:
            for shard_id in list(self.shards):
                self.turn(shard_id, self.shards[shard_id])
        events, self.events = list(self.events), deque()
        return events

    def turn(self, shard_id, shard):
        fault = self.faults.get(shard["start"])
        if not shard["todo"] or (fault == "hang" and shard["n_started"] >= self.after):
            return
        if not shard["loaded"]:
            shard["loaded"] = True
            self.report(shard_id, PolicyLoaded({"type": "scripted"}))
        spec = shard["todo"].popleft()
        shard["n_started"] += 1
        self.report(shard_id, EpisodeStarted(spec))
        if fault is not None and shard["n_started"] >= self.after:
            if fault != "hang":
                self.report(shard_id, fault)
            return
        self.report(shard_id, ShardStatus(Load(simulating=1, running={spec.task: 1}, inference_share=0.5), True))
        self.report(shard_id, EpisodeDone(result_of(spec), pack_arrays({"actions": np.full((2, 1), spec.seed)})))

    def cancel(self, shard_id):
        self.cancelled.append(shard_id)
        del self.shards[shard_id]

    def close(self):
        pass


def result_of(spec):
    return EpisodeResult(spec, Outcome.SUCCESS, 1.0, 1.0, 2, 1, f"state-{spec.task_id}-{spec.seed}")


def make_pool(script, n_shards=2, *, plan=PLAN, max_attempts=2, patience_s=1e9, static=False):
    runs = [
        ShardRun(shard_id, RunConfig(), {}, None, [], f"shard_{shard_id}.log", n_shards) for shard_id in range(n_shards)
    ]
    scheduler = ShardScheduler(plan, n_shards, Rules(static))
    return ShardPool(script, runs, scheduler, max_attempts=max_attempts, patience_s=patience_s)


def run(pool, on_result=None, on_tick=lambda: None):
    """Run a pool to its end. Returns the result of each episode, the same with its arrays, and the policies."""
    results, policies = {}, []

    def keep(result, arrays):
        assert result.spec not in results
        results[result.spec] = (result, arrays)
        if on_result is not None:
            on_result(result)

    pool.run(keep, policies.append, on_tick)
    return {spec: result for spec, (result, _) in results.items()}, results, policies


def test_every_result_comes_with_the_actions_it_executed():
    """The pool passes each result on once, and the policy of each shard."""
    results, kept, policies = run(make_pool(Script(), 3))

    assert results == {spec: result_of(spec) for spec in PLAN}
    assert all((arrays["actions"].unpack() == spec.seed).all() for spec, (_, arrays) in kept.items())
    assert policies == [{"type": "scripted"}] * 3


def test_shards_learn_that_no_episode_follows():
    """Every shard has ended when the run is over."""
    script = Script()
    run(make_pool(script, 3))

    assert [order for _, order in script.orders if not isinstance(order, RunEpisodes)] == [NoMore()] * 3
    assert not script.shards


@pytest.mark.parametrize("static", [False, True])
def test_a_shard_that_dies_is_started_again_and_its_episodes_run(static):
    """Each episode has one result, and the loss is reported in a sentence."""
    script = Script({1: ShardLost("was ended by SIGKILL")}, after=2)
    pool = make_pool(script, static=static)
    results, _, _ = run(pool)

    assert set(results) == set(PLAN)
    assert script.starts == [0, 1, 1]
    assert pool.losses == ["Shard 1 was ended by SIGKILL; it is started again. See shard_1.log."]
    (error,) = [result.errors for result in results.values() if result.errors]
    assert [(one.kind, one.message) for one in error] == [("crashed", "its shard was ended by SIGKILL")]


def test_an_idle_shard_runs_the_episodes_of_one_that_is_lost():
    """It is assigned them although none of its own episodes ends."""

    class OnlyTheFirstWorks(Script):
        def turn(self, shard_id, shard):
            if shard_id == 1 and shard["todo"] and not self.shards[0]["todo"]:
                self.report(shard_id, ShardLost("exited with status 1"))
            elif shard_id == 0:
                super().turn(shard_id, shard)

    pool = make_pool(OnlyTheFirstWorks(), plan=PLAN[:2])
    results, _, _ = run(pool)

    assert set(results) == set(PLAN[:2])
    assert len(pool.losses) == 1


def test_the_pool_knows_which_episodes_were_recorded_and_why_one_has_no_video():
    """An episode that a shard did not record is not among them."""

    class Recording(Script):
        def report(self, shard_id, report):
            if isinstance(report, EpisodeDone):
                problem = {PLAN[0]: "", PLAN[1]: "The disk is full."}.get(report.result.spec)
                report = EpisodeDone(report.result, report.arrays, problem)
            super().report(shard_id, report)

    pool = make_pool(Recording())
    run(pool)

    assert pool.recorded == {PLAN[0]: "", PLAN[1]: "The disk is full."}


def test_an_episode_that_ends_its_shard_each_time_is_an_error():
    """It becomes an error after ``max_attempts``; the other episodes are run."""
    script = Script({start: ShardLost("was ended by SIGSEGV") for start in (0, 1)})
    results, kept, _ = run(make_pool(script, 1))

    assert Counter(result.outcome for result in results.values()) == {Outcome.SUCCESS: 11, Outcome.ERROR: 1}
    (failed,) = [result for result in results.values() if result.outcome is Outcome.ERROR]
    assert failed.spec == PLAN[0]
    assert [error.message for error in failed.errors] == ["its shard was ended by SIGSEGV"] * 2
    assert kept[failed.spec][1] is None


def test_no_attempt_is_counted_if_a_lost_shard_was_running_several_episodes():
    """Any of them may have ended the shard."""

    class TwoAtATime(Script):
        def turn(self, shard_id, shard):
            if shard["start"] == 0 and shard["todo"] and not shard["n_started"]:
                shard["n_started"] = 1
                self.report(shard_id, EpisodeStarted(shard["todo"][0]))
                self.report(shard_id, EpisodeStarted(PLAN[-1]))
                self.report(shard_id, ShardLost("was ended by SIGKILL"))
            else:
                super().turn(shard_id, shard)

    results, _, _ = run(make_pool(TwoAtATime(), 1))

    assert results == {spec: result_of(spec) for spec in PLAN}


def test_a_shard_that_dies_again_and_again_leaves_its_episodes_to_the_others():
    """It is started four times: once, and again after each of three losses."""

    class Unlucky(Script):
        def turn(self, shard_id, shard):
            if shard_id == 1 and shard["todo"]:
                self.report(shard_id, ShardLost("exited with status 1"))
            else:
                super().turn(shard_id, shard)

    script = Unlucky()
    pool = make_pool(script)
    results, _, _ = run(pool)

    assert results == {spec: result_of(spec) for spec in PLAN}
    assert Counter(script.starts) == {0: 1, 1: 4}
    assert "the other shards run its episodes" in pool.losses[-1]


def test_the_run_ends_with_a_sentence_if_no_shard_is_left():
    """The sentence names the log of the last one."""

    class Broken(Script):
        def submit(self, run):
            super().submit(run)
            self.events.pop()
            self.report(run.shard_id, ShardLost("exited with status 1"))

    with pytest.raises(ResourceError, match=r"Every shard was lost 4 times; .* exited with status 1. See shard_\d.log"):
        run(make_pool(Broken()))


def test_a_failure_that_every_shard_would_have_ends_the_run_at_once():
    """The run ends with the shard's message, hint and exit status."""
    script = Script({0: ShardFailed(PackedError("ConfigError", "The checkpoint is corrupt.", "Download it again.", 2))})
    with pytest.raises(ConfigError, match="checkpoint is corrupt") as caught:
        run(make_pool(script))

    assert (caught.value.exit_code, caught.value.hint) == (2, "Download it again.")


def test_a_shard_that_lacks_memory_is_treated_as_lost():
    """The other shards may have enough memory."""
    script = Script({1: ShardFailed(PackedError("ResourceError", "The device has no memory.", "", 4))})
    pool = make_pool(script)
    results, _, _ = run(pool)

    assert set(results) == set(PLAN)
    assert pool.losses == ["Shard 1 failed: The device has no memory; it is started again. See shard_1.log."]


def test_a_shard_that_sends_nothing_any_more_is_killed(monkeypatch):
    """The monotonic clock decides; the episodes of the shard run again."""
    moments = iter(range(10**6))
    monkeypatch.setattr(shards_module, "monotonic", lambda: float(next(moments)))
    script = Script({1: "hang"})
    pool = make_pool(script, patience_s=60.0)
    results, _, _ = run(pool)

    assert set(results) == set(PLAN)
    assert script.cancelled == [1]
    assert "sent nothing for 60 s" in pool.losses[0]


def test_an_interrupted_run_stops_its_shards_and_keeps_the_results_that_still_arrive():
    """It ends with the exit status of the signal."""
    script = Script()
    pool = make_pool(script)
    kept = []

    def stop(result):
        kept.append(result.spec)
        if len(kept) == 3:
            pool.interrupt(signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        run(pool, stop)

    assert caught.value.exit_code == 143
    assert 3 <= len(kept) < len(PLAN)
    assert [order for _, order in script.orders if not isinstance(order, RunEpisodes)] == [Stop()] * 2


def test_the_rest_of_the_plan_is_not_run_if_it_is_not_needed():
    """The run ends soon after enough is known."""
    pool = make_pool(Script())
    results, _, _ = run(pool, lambda _: pool.begin_no_more())

    assert 1 <= len(results) <= 3


def test_a_shard_gets_one_order_for_all_results_that_have_arrived():
    """The order is sent before the results are kept, because the shard may wait for it."""
    script = Script(batch_size=2)
    pool = make_pool(script, 1)
    happened = []
    poll, send = script.poll, script.send

    def poll_two_turns(timeout_s):
        return [*poll(timeout_s), *poll(timeout_s)]

    def sent(shard_id, order):
        happened.append(order)
        send(shard_id, order)

    script.poll, script.send = poll_two_turns, sent
    results, _, _ = run(pool, happened.append)
    orders = [len(each.episodes) for each in happened if isinstance(each, RunEpisodes)]

    assert len(results) == len(PLAN) == sum(orders)
    assert len(orders) < len(PLAN)
    assert [type(each) for each in happened[:2]] == [RunEpisodes, RunEpisodes]


def test_a_shard_is_told_how_many_simulators_to_have_if_that_changes():
    """So is one that was started again, because its simulators are gone."""
    script = Script({0: ShardLost("was ended by SIGKILL")}, after=4)
    run(make_pool(script, 1))
    changes = [order.simulators for _, order in script.orders if isinstance(order, RunEpisodes)]
    first, second = PLAN[0].task, PLAN[-1].task

    assert [each for each in changes if each is not None] == [((first, 1),), ((second, 1),), ((first, 1),)]
    assert len(changes) > 3


def test_results_that_arrive_with_a_failure_are_kept():
    """The failure ends the run; the episodes that were over before it are not run again."""
    script = Script({0: ShardFailed(ConfigError("no such task").packed())}, after=3)
    poll = script.poll
    script.poll = lambda timeout_s: [event for _ in range(8) for event in poll(timeout_s)]
    pool = make_pool(script, 1)
    kept = []

    with pytest.raises(ConfigError):
        run(pool, kept.append)

    assert len(kept) == 2


def test_the_loads_of_all_shards_are_combined():
    """Workers are added up and shares are averaged, so the display can read the result like an engine's."""
    loads = []
    pool = make_pool(Script())
    run(pool, lambda _: loads.append(pool.load()))

    assert loads[-1].simulating == 2
    assert loads[-1].inference_share == 0.5
    assert sum(loads[-1].running.values()) == 2
    assert not loads[-1].loading_policy
    assert pool.started_at <= pool.measuring_since


def test_a_place_that_is_taken_costs_neither_attempt_nor_restart_if_it_is_not_counted():
    """A cluster may preempt a shard again and again, and each time the same episode is running."""
    taken = ShardLost("was put back into the queue", taken=True, counted=False)
    counted = dict.fromkeys(range(3), ShardLost("ended (CANCELLED)", taken=True))
    script = Script(dict.fromkeys(range(8), taken) | counted)
    pool = make_pool(script, 1, max_attempts=1)

    results, *_ = run(pool)

    assert {result.outcome for result in results.values()} == {Outcome.SUCCESS}
    assert all(not result.errors for result in results.values())
    assert len(script.starts) == 9
    assert len(pool.losses) == 8


def test_a_place_that_is_taken_before_anything_was_done_is_given_up_some_time():
    """Else a job whose time is too short would be submitted for ever; no episode is to blame."""
    script = Script(dict.fromkeys(range(9), ShardLost("ended (TIMEOUT)", taken=True)))

    with pytest.raises(ResourceError, match="Every shard was lost 4 times"):
        run(make_pool(script, 1, max_attempts=1))

    assert len(script.starts) == 4
