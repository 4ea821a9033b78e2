"""Workers as processes, and the events of one that ends."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import Pipe
from time import monotonic

import numpy as np
import pytest

from proctor.child.other_python import Companions
from proctor.child.wire import Wire
from proctor.engine import Engine, EngineOptions, EngineSetup
from proctor.engine.worker.messages import Act, Build, Built, Ready, Setup
from proctor.engine.worker.pool import Deadlines, Pool, ProcessWorker, WorkerLost
from proctor.engine.worker.processes import SpawnStarter
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig
from proctor.types import ArrayBytes

SETUP = Setup(FAKE_BENCHMARK, {"type": "fake"}, None, Companions(sys.path))


@pytest.fixture(params=["forked", "spawned"])
def pool(request, monkeypatch):
    if request.param == "spawned":
        monkeypatch.setattr("proctor.engine.worker.pool.make_starter", lambda *_: SpawnStarter())
    pool = Pool(SETUP, in_process=False, log=None, deadlines=Deadlines(60, 60))
    yield pool
    pool.close()


def receive(pool: Pool):
    until = monotonic() + 60
    while monotonic() < until:
        if events := pool.wait(0.1):
            return events
    pytest.fail("nothing was received")


def test_a_worker_reports_ready_and_is_told_apart_by_its_number(pool):
    """Numbers are never used twice."""
    number = pool.start_worker()
    assert receive(pool) == [(number, Ready())]
    pool.kill(number)
    assert receive(pool) == [(number, WorkerLost("crashed", "the simulator's process was ended by SIGKILL"))]

    assert pool.start_worker() != number


@pytest.mark.parametrize("late", [True, False])
def test_an_episode_given_to_a_worker_that_is_gone_has_not_begun(pool, late):
    """One that was reached has, whatever it did with it."""
    number = pool.start_worker()
    assert receive(pool) == [(number, Ready())]
    if late:
        pool.kill(number)
    pool.send(number, Build(FakeBenchmark(FakeConfig(type="fake")).tasks()[0]))
    if not late:
        assert isinstance(receive(pool)[0][1], Built)
        pool.kill(number)

    assert receive(pool) == [(number, WorkerLost("crashed", "the simulator's process was ended by SIGKILL", not late))]


def test_a_worker_that_dies_in_the_middle_of_a_reply_is_lost():
    """The engine reads half a message, and no exception ends its loop."""
    worker = ProcessWorker(SpawnStarter(), None, Deadlines(60, 60))
    worker.kill()
    worker.wire.close()
    ours, theirs = Pipe()
    worker.wire = Wire(ours)
    os.write(theirs.fileno(), b"\x00\x00\x00\x10half")
    theirs.close()

    assert worker.receive() == []
    assert worker.receive() == [WorkerLost("crashed", "the simulator's process was ended by SIGKILL")]

    worker.reap()


def test_sending_to_a_worker_that_is_gone_is_not_an_error(pool):
    """The next event is the loss."""
    number = pool.start_worker()
    receive(pool)
    process = pool._workers[number]._process
    process.signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL

    pool.send(number, Build(FakeBenchmark(FakeConfig(type="fake")).tasks()[0]))

    ((lost_number, event),) = receive(pool)
    assert lost_number == number
    assert isinstance(event, WorkerLost)


def test_a_worker_that_stands_still_while_it_is_sent_something_large_is_lost(pool):
    """Its buffer is full after a part of the request; the engine goes on until the worker's deadline."""
    number = pool.start_worker()
    receive(pool)
    worker = pool._workers[number]
    worker._process.signal(signal.SIGSTOP)

    pool.send(number, Act(ArrayBytes.pack(np.zeros((500_000, 2))), ()))

    assert pool.wait(0.1) == []
    assert monotonic() < worker._deadline
    worker._deadline = monotonic()
    assert receive(pool) == [(number, WorkerLost("hung", "the simulator gave no sign of life for 60 s"))]


def test_a_worker_whose_engine_is_gone_ends(pool):
    """Its connection is closed, so it closes its simulator and goes."""
    number = pool.start_worker()
    receive(pool)
    worker = pool._workers[number]
    pool._selector.unregister(worker.wire)
    worker.wire.close()

    assert worker._process.wait(60) == 0
    worker.arrays.close()
    del pool._workers[number]


def test_workers_have_their_own_session(pool):
    """Ctrl-C at the terminal reaches the engine only."""
    number = pool.start_worker()
    receive(pool)
    pid = pool._workers[number]._process.pid

    assert os.getsid(pid) == pid != os.getsid(0)


def test_an_engine_can_be_closed_twice_and_before_it_ran():
    """Whatever ended the run."""
    tasks = {(task.suite, task.task_id): task for task in FakeBenchmark(FakeConfig(type="fake")).tasks()}
    for in_process in (False, True):
        setup = EngineSetup(FAKE_BENCHMARK, {"type": "fake"}, tasks, None, EngineOptions(), 2, in_process=in_process)
        engine = Engine(setup, [], None)
        engine.close()
        engine.close()
