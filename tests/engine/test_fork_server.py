"""Workers forked from a process that has imported their simulator."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from time import monotonic

import pytest

from proctor.child.other_python import Companions
from proctor.engine.worker.messages import Build, Built, Ready, Setup
from proctor.engine.worker.pool import Deadlines, Pool, WorkerLost
from proctor.testing.fakes import FakeBenchmark, FakeConfig

if sys.platform != "linux":
    pytest.skip("workers are forked on Linux only", allow_module_level=True)

MODULE = """
import os
import subprocess
from pathlib import Path
import numpy
from proctor.testing.fakes import FakeBenchmark

class Colleague(FakeBenchmark):
    def preload(self):
        (Path(self.config.scratch) / "preloaded").open("a").write(f"{os.getpid()}\\n")

    def make_env(self, task):
        (Path(self.config.scratch) / f"drawn-{os.getpid()}").write_text(str(numpy.random.random()))
        return super().make_env(task)

class Starting(FakeBenchmark):
    def make_env(self, task):
        mate = subprocess.Popen(["sleep", "600"])
        (Path(self.config.scratch) / "mate").write_text(str(mate.pid))
        return super().make_env(task)

class Broken(FakeBenchmark):
    def preload(self):
        raise RuntimeError("cannot be imported here")
"""


@pytest.fixture
def make_pool(tmp_path):
    (tmp_path / "colleague.py").write_text(MODULE)
    pools = []

    def make(benchmark: str) -> Pool:
        env = {"type": "fake", "scratch": str(tmp_path)}
        setup = Setup(f"colleague:{benchmark}", env, None, Companions([*sys.path, str(tmp_path)]))
        pools.append(Pool(setup, in_process=False, log=tmp_path / "log", deadlines=Deadlines(60, 60)))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def receive(pool: Pool, n: int) -> list:
    """The next so many events."""
    events, until = [], monotonic() + 50
    while len(events) < n:
        assert monotonic() < until, f"received only {events}"
        events += [event for _, event in pool.wait(0.1)]
    return events


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_simulator_is_imported_once_and_every_worker_draws_its_own_random_numbers(make_pool, tmp_path):
    """What a simulator draws that nobody can seed is not the same in all of them."""
    pool = make_pool("Colleague")
    numbers = [pool.start_worker() for _ in range(3)]
    assert receive(pool, 3) == [Ready()] * 3
    for number in numbers:
        pool.send(number, Build(FakeBenchmark(FakeConfig(type="fake")).tasks()[0]))
    assert all(isinstance(event, Built) for event in receive(pool, 3))

    pids = [pool._workers[number]._process.pid for number in numbers]
    (server,) = map(int, (tmp_path / "preloaded").read_text().split())
    assert {parent_of(pid) for pid in pids} == {server}
    assert len({(tmp_path / f"drawn-{pid}").read_text() for pid in pids}) == 3


def test_what_cannot_be_preloaded_is_left_to_the_workers(make_pool, tmp_path):
    """They say themselves what is wrong, if anything is; the log has the reason."""
    pool = make_pool("Broken")
    pool.start_worker()

    assert receive(pool, 1) == [Ready()]
    assert "cannot be imported here" in (tmp_path / "log").read_text()


def test_a_dead_fork_server_takes_its_workers_along_and_the_next_worker_has_a_new_one(make_pool, tmp_path):
    """Each of them is lost, and that is known soon."""
    pool = make_pool("Colleague")
    for _ in range(2):
        pool.start_worker()
    receive(pool, 2)

    os.kill(int((tmp_path / "preloaded").read_text()), signal.SIGKILL)
    began = monotonic()
    assert [type(event) for event in receive(pool, 2)] == [WorkerLost, WorkerLost]
    assert monotonic() - began < 50  # so it was not the deadline of 60 seconds

    pool.start_worker()
    assert receive(pool, 1) == [Ready()]
    assert len((tmp_path / "preloaded").read_text().split()) == 2


def test_nothing_is_left_of_a_closed_pool(make_pool, tmp_path):
    """Neither workers nor the fork server."""
    pool = make_pool("Colleague")
    numbers = [pool.start_worker() for _ in range(2)]
    receive(pool, 2)
    pids = [pool._workers[number]._process.pid for number in numbers]

    pool.close()

    assert not any(Path(f"/proc/{pid}").exists() for pid in [*pids, int((tmp_path / "preloaded").read_text())])


def test_what_a_simulator_has_started_ends_with_it(make_pool, tmp_path):
    """Although its own process ended in good order."""
    pool = make_pool("Starting")
    number = pool.start_worker()
    receive(pool, 1)
    pool.send(number, Build(FakeBenchmark(FakeConfig(type="fake")).tasks()[0]))
    receive(pool, 1)
    mate = Path(f"/proc/{(tmp_path / 'mate').read_text()}")
    assert mate.exists()

    pool.close()

    until = monotonic() + 60
    while mate.exists() and "Z" not in (mate / "stat").read_text().rpartition(")")[2].split()[0]:
        assert monotonic() < until, "it is still there"
