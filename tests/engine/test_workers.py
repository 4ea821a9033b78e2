"""More workers than cores are started only while cores are idle."""

import subprocess
import sys
from contextlib import ExitStack, closing
from time import monotonic

import pytest
from fake_runs import run_fake

from proctor.engine import Engine, EngineOptions, EngineSetup
from proctor.engine.core_use import CoreUse
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.evaluation import prepared_run
from proctor.results.summary import load_summary
from proctor.testing.fakes import FAKE_BENCHMARK, FakeBenchmark, FakeConfig

BUSY = """
import multiprocessing, signal, sys, time

def compute():
    until = time.monotonic() + 20
    while time.monotonic() < until:
        pass

others = [multiprocessing.Process(target=compute, daemon=True) for _ in range(int(sys.argv[1]))]
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
for other in others:
    other.start()
for other in others:
    other.join()
"""
"""Computes in so many processes until it is terminated, for 20 seconds at most."""


class EnoughSeenError(Exception):
    """Ends an evaluation."""


def n_started_of_32(seconds, cores, **fields):
    """How many of 32 workers were started after so many seconds, or as soon as all of them were."""
    env = {"type": "fake", "n_tasks": 1, **fields}
    benchmark = FakeBenchmark(FakeConfig(**env))
    tasks = plan_tasks(benchmark)
    source = "proctor.policies.local:Zero"
    setup = EngineSetup(FAKE_BENCHMARK, env, {tasks[0].key: tasks[0]}, source, EngineOptions(), 32, cores=cores)
    give_up = monotonic() + seconds

    def on_turn():
        if engine.workers.n_running == 32 or monotonic() > give_up:
            raise EnoughSeenError

    with closing(Engine(setup, plan_episodes(benchmark, tasks, 200, 1000), None)) as engine:
        with pytest.raises(EnoughSeenError):
            engine.run(lambda *_: None, on_turn=on_turn)
        return engine.workers.n_running


@pytest.mark.parametrize("n_other_programs", [0, 4])
def test_workers_that_keep_the_cores_busy_stay_few(n_other_programs):
    """Two of 32, give or take a few; also if others use the cores, so that the workers get less than both."""
    with ExitStack() as others:
        if n_other_programs:
            process = others.enter_context(subprocess.Popen([sys.executable, "-c", BUSY, str(n_other_programs)]))
            others.callback(process.terminate)

        assert n_started_of_32(2.0, cores=2, max_steps=10_000) <= 6


def test_workers_that_wait_are_all_started():
    """Steps that sleep leave two cores idle, although there are sixteen workers for each."""
    assert n_started_of_32(60.0, cores=2, max_steps=25, step_seconds=0.1) == 32


def test_the_journal_and_the_results_count_the_workers_that_were_there(tmp_path, monkeypatch):
    """One worker runs all episodes, as it is never clear that there is room for seven more."""
    monkeypatch.setattr(prepared_run, "usable_cores", lambda: 1)
    monkeypatch.setattr(CoreUse, "measure", lambda *_: None)

    result = run_fake(tmp_path / "run", {"type": "zero"}, env={"n_tasks": 1}, n_episodes=8, batch_size=8)

    assert result.summary.worker_s == pytest.approx(result.summary.wall_s)
    _, read_again = load_summary(tmp_path / "run")
    assert read_again.worker_s == pytest.approx(read_again.wall_s)
