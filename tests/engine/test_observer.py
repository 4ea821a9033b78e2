"""What an engine tells its observers: every event once, in the order in which it happens."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from time import monotonic

import pytest

from proctor.engine import Engine, EngineOptions, EngineSetup, Observer
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.errors import FingerprintError
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig, FakePolicy
from proctor.types import EpisodeSpec


class Witness(Observer):
    """Keeps the events of each attempt, as (worker, episode)."""

    def __init__(self) -> None:
        self.events: dict = {}
        self.moments: list[float] = []
        self.n_workers = 0

    def _note(self, event, worker_id, spec, now):
        self.events.setdefault((worker_id, spec), []).append(event)
        self.moments.append(now)

    def worker_started(self, worker_id, now):
        self.n_workers += 1

    def started(self, worker_id, spec, now):
        self._note("started", worker_id, spec, now)

    def built(self, worker_id, spec, reply, now):
        self._note("built", worker_id, spec, now)

    def acted(self, worker_id, spec, n_actions, now):
        self._note(f"acted {n_actions}", worker_id, spec, now)

    def observed(self, worker_id, spec, reply, now):
        self._note("observed", worker_id, spec, now)

    def inferred(self, worker_id, spec, seconds, loaded_at, now):
        self._note("inferred", worker_id, spec, now)

    def finished(self, worker_id, spec, reply, now):
        self._note("finished", worker_id, spec, now)

    def lost(self, worker_id, spec, now):
        self._note("lost", worker_id, spec, now)


def engine_of(folder, policy, *, n_tasks=1, batch_size=1, faults=None, **arguments):
    """An engine for two episodes of four steps for each task."""
    env = {"type": "fake", "max_steps": 4, "n_tasks": n_tasks, "faults": faults or {}, "scratch": str(folder)}
    benchmark = FakeBenchmark(FakeConfig(**env))
    tasks = plan_tasks(benchmark)
    setup = EngineSetup(
        FAKE_BENCHMARK,
        env,
        {task.key: task for task in tasks},
        None,
        EngineOptions(),
        batch_size,
        in_process=batch_size == 1,
    )
    return Engine(setup, plan_episodes(benchmark, tasks, 2, 1000), policy, **arguments)


def test_an_observer_receives_every_event_of_an_episode_once(tmp_path):
    """Two chunks of two steps, in a simulator that is built for the first episode alone."""
    witness = Witness()

    with closing(engine_of(tmp_path, FakePolicy(n_action_steps=2), observers=[witness])) as engine:
        engine.run(lambda *_: None)

    chunk = ["observed", "inferred", "acted 2"]
    first, second = witness.events.values()
    assert first == ["started", "built", "acted 0", *chunk, *chunk, "finished"]
    assert second == ["started", "acted 0", *chunk, *chunk, "finished"]
    assert witness.moments == sorted(witness.moments)
    assert witness.n_workers == 1


@pytest.mark.parametrize("fault", ["raise", "kill"])
def test_an_attempt_that_fails_is_lost_and_never_finished(tmp_path, fault):
    """Whether the simulator raises or its process dies; the next attempt begins anew."""
    witness, policy = Witness(), FakePolicy(n_action_steps=2)
    faults = {"0/1000/2": fault}

    with closing(engine_of(tmp_path, policy, batch_size=2, faults=faults, observers=[witness])) as engine:
        engine.run(lambda *_: None)

    ends = [[event for event in events if event in ("lost", "finished")] for events in witness.events.values()]
    every = Counter(event for events in witness.events.values() for event in events)
    assert every["started"] == 3
    assert every["lost"] == 1
    assert every["finished"] == 2
    assert all(ends)
    assert witness.n_workers <= 2 + (fault == "kill")  # the other worker may be free for the second attempt


def test_a_policy_that_fails_ends_the_attempt_for_its_observers_too(tmp_path):
    """The simulator is kept: it is built once."""

    class Failing(FakePolicy):
        def predict(self, observations, memories):
            raise ValueError("no")

    witness = Witness()
    with closing(engine_of(tmp_path, Failing(), observers=[witness])) as engine:
        engine.run(lambda *_: None)

    every = Counter(event for events in witness.events.values() for event in events)
    assert every == {"started": 4, "built": 1, "acted 0": 4, "observed": 4, "inferred": 4, "lost": 4}


def test_the_fingerprint_of_a_policy_is_given_once_it_is_loaded(tmp_path):
    """Once per device."""
    policy, given = FakePolicy(), []

    with closing(engine_of(tmp_path, policy, on_policy_loaded=given.append)) as engine:
        engine.run(lambda *_: None)

    assert given == [policy.fingerprint()]


def test_what_is_raised_about_a_loaded_policy_ends_the_run(tmp_path):
    """Before any episode has a result."""

    def refuse(fingerprint):
        raise FingerprintError("another policy")

    engine = engine_of(tmp_path, FakePolicy(), on_policy_loaded=refuse)
    with closing(engine), pytest.raises(FingerprintError, match="another policy"):
        engine.run(lambda *_: pytest.fail("an episode has ended"))


def test_an_engine_that_expects_more_is_woken_by_a_descriptor(tmp_path):
    """Its callback adds episodes and lets it end."""
    reading, writing = os.pipe()
    spec, results, until = EpisodeSpec("fake", 0, 0, 1000), [], monotonic() + 120
    with closing(engine_of(tmp_path, FakePolicy())) as engine:
        engine.begin_no_more()
        engine.expects_more = True

        def wake():
            os.read(reading, 1)
            engine.add([spec])
            engine.expects_more = False

        engine.watch(reading, wake)
        os.write(writing, b"!")
        engine.run(lambda result, _: results.append(result.spec), lambda: monotonic() < until or pytest.fail("asleep"))
    os.close(reading)
    os.close(writing)

    assert results == [spec]
