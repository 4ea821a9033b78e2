"""One evaluation after another with the same workers: the results of fresh runs, and nothing is left in the end."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

import proctor
from proctor.errors import ConfigError, ContractError, Interrupted, NoResultError
from proctor.evaluation.evaluator import Evaluator
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run import configure
from proctor.results.eval_info import canonical_info
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

ENV = {"type": FAKE_BENCHMARK, "max_steps": 12}
FIELDS = {"n_episodes": 3, "batch_size": 2}


def canonical(result):
    """The results as text, without how they were come by, and without the fingerprint."""
    return json.dumps({**canonical_info(result.info), "fingerprint": None}, indent=1)


def n_descriptors() -> int:
    """Those that this process has open, without those of garbage."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def children_of(parent: int) -> dict[int, int]:
    """The live descendants of a process, each with its parent."""
    found: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, rest = stat.read_text().rsplit(")", 1)
            state, ppid, *_ = rest.split()
            if state != "Z":
                found[int(pid.split()[0])] = int(ppid)
    ours = {parent}
    for _ in range(4):
        ours |= {pid for pid, ppid in found.items() if ppid in ours}
    return {pid: found[pid] for pid in ours - {parent}}


_OTHERS: set[int] = set()
"""Processes that other tests have left, which may end at any time."""


def processes() -> dict[int, int]:
    """The live descendants of this process that began in this test."""
    return {pid: parent for pid, parent in children_of(os.getpid()).items() if pid not in _OTHERS}


def wait_until(condition, seconds=60.0):
    """Wait for something that other processes do."""
    give_up = monotonic() + seconds
    while not condition():
        assert monotonic() < give_up, "in vain"
        sleep(0.02)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _OTHERS.clear()
    _OTHERS.update(children_of(os.getpid()))
    before = n_descriptors()
    yield
    wait_until(lambda: n_descriptors() <= before and not processes())


class Late(FakePolicy):
    """It is loaded once two workers have an episode, of which a worker that comes up late would have none."""

    NAPS = dict.fromkeys(["0/1000/0", "0/1001/0", "1/1000/0"], "nap")
    """Faults that strike in the first episode of each worker, and leave a mark in ``scratch``."""

    def __init__(self, scratch):
        super().__init__()
        self._scratch = scratch

    def open(self, n_threads):
        wait_until(lambda: len(list(self._scratch.iterdir())) > 1)
        return super().open(n_threads)


@pytest.fixture
def late(tmp_path):
    """A policy of the kind, and the fields of an environment that go with it."""
    (scratch := tmp_path / "naps").mkdir()
    return Late(scratch), {"faults": Late.NAPS, "scratch": str(scratch)}


def fresh(tmp_path, policy=None, **changes):
    """The results of a run that begins with nothing, as text."""
    arguments = {"env": ENV, **FIELDS, **changes}
    return canonical(proctor.evaluate(policy or FakePolicy(), output_dir=tmp_path / "fresh", **arguments))


def build_seconds(result):
    return [episode["timings"]["construct"] for episode in result.info["per_episode"]]


def test_the_second_evaluation_builds_nothing_and_has_the_results_of_a_fresh_run(tmp_path, late):
    """In the processes of the first one, each in a run directory of its own."""
    policy, naps = late
    env = ENV | {"n_tasks": 1}  # of several, a worker would build what it helps with at the end
    expected = fresh(tmp_path, env=env)

    with Evaluator(env | naps, output_dir=tmp_path / "runs", **FIELDS) as evaluator:
        one = evaluator(policy)
        there = processes()
        two = evaluator(FakePolicy())
        assert processes() == there

    assert canonical(one) == canonical(two) == expected
    assert max(build_seconds(one)) > 0
    assert max(build_seconds(two)) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["evaluation", "evaluation_2"]
    assert one.directory != two.directory


@pytest.mark.parametrize("which", ["a worker", "the fork server"])
def test_what_was_killed_in_between_is_replaced(tmp_path, which):
    expected = fresh(tmp_path)

    with Evaluator(ENV, **FIELDS) as evaluator:
        evaluator(FakePolicy())
        before = processes()
        ours = [pid for pid, parent in before.items() if parent == os.getpid()]  # other tests may have left some, too
        server = next(pid for pid in ours if "fork_server" in Path(f"/proc/{pid}/cmdline").read_text())
        workers = [pid for pid, parent in before.items() if parent == server]
        os.kill(workers[0] if which == "a worker" else server, signal.SIGKILL)
        result = evaluator(FakePolicy())

    assert len(workers) == 2
    assert canonical(result) == expected
    assert not any(episode["errors"] for episode in result.info["per_episode"])


def test_another_policy_other_episodes_and_other_tasks_give_the_results_of_fresh_runs(tmp_path):
    """The benchmark that is configured otherwise has new workers; the one that comes back, too."""
    calls = [
        (FakePolicy(), {}),
        (FakePolicy(5), {"n_episodes": 5, "seed": 7}),
        (FakePolicy(noise=0.1), {}),
        (FakePolicy(), {"env": ENV | {"n_tasks": 3, "max_steps": 9}}),
        ({"type": "zero"}, {}),
        (FakePolicy(), {"batch_size": 1}),
        (FakePolicy(), {}),
    ]
    with Evaluator(ENV, **FIELDS) as evaluator:
        results = [evaluator(policy, **changes) for policy, changes in calls]

    for number, (result, (policy, changes)) in enumerate(zip(results, calls, strict=True)):
        assert canonical(result) == fresh(tmp_path / str(number), policy, **changes)


def test_videos_are_made_by_the_kept_workers_too(tmp_path, late):
    """They play what the run measured, and the workers go on afterwards."""
    policy, naps = late
    with Evaluator(ENV | naps, video="first", n_episodes_to_render=1, **FIELDS) as evaluator:
        results = [evaluator(policy) for _ in range(2)]
        there = processes()
        evaluator(FakePolicy(), video="none")
        assert processes() == there

    for result in results:
        assert len(list(result.directory.rglob("*.mp4"))) == 2
        assert not result.video_problems


def test_what_a_worker_prints_goes_into_the_log_of_the_evaluation_that_it_works_for(tmp_path, monkeypatch):
    """Also after it was taken over."""
    module = tmp_path / "chatty.py"
    module.write_text(
        "from proctor.testing import fakes\n"
        "class Env(fakes.FakeEnv):\n"
        "    def reset(self, seed, *rest, look):\n"
        "        print('seed', seed, flush=True)\n"
        "        return super().reset(seed, *rest, look=look)\n"
        "class Chatty(fakes.FakeBenchmark):\n"
        "    def make_env(self, task):\n"
        "        return Env(task, self.config)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Evaluator({"type": "chatty:Chatty", "max_steps": 3, "n_tasks": 1}, **FIELDS) as evaluator:
        logs = [(evaluator(FakePolicy(), seed=seed).directory / "worker.log").read_text().split() for seed in (10, 20)]

    assert [sorted(log) for log in logs] == [sorted([*["seed"] * 3, *map(str, range(s, s + 3))]) for s in (10, 20)]


def test_a_policy_that_does_not_fit_is_refused_although_the_simulator_was_built_for_another():
    class Fussy(FakePolicy):
        def check_contract(self, features):
            raise ContractError("no")

    with Evaluator(ENV | {"n_tasks": 1}, **FIELDS) as evaluator:
        evaluator(FakePolicy())
        with pytest.raises(ContractError, match="no"):
            evaluator(Fussy())
        assert evaluator(FakePolicy()).n_errors == 0


def test_after_an_evaluation_that_ended_early_the_next_one_is_as_if_it_were_the_first(tmp_path):
    """A worker that is in the midst of something is not used again."""

    class Failing(FakePolicy):
        def predict(self, observations, memories):
            raise RuntimeError("broken")

    with Evaluator(ENV, **FIELDS) as evaluator:
        evaluator(FakePolicy())
        before = processes()
        with pytest.raises(NoResultError):
            evaluator(Failing())
        result = evaluator(FakePolicy())
        assert not set(before) & set(processes())

    assert canonical(result) == fresh(tmp_path)


def test_what_workers_take_from_this_process_is_compared(monkeypatch, tmp_path):
    """A variable of the environment and the working directory may change what a simulator does."""
    with Evaluator(ENV, **FIELDS) as evaluator:
        pids = []
        for change in (lambda: None, lambda: monkeypatch.setenv("MUJOCO_GL", "none"), lambda: os.chdir("/tmp")):
            change()
            evaluator(FakePolicy(), output_dir=tmp_path / str(len(pids)))
            pids.append(set(processes()))

    assert not pids[0] & pids[1]
    assert not pids[1] & pids[2]


# ------------------------------------------------------------------------------------------------------------ the end


def test_a_dropped_evaluator_ends_its_workers():
    """The fixture looks for them."""
    evaluator = Evaluator(ENV, **FIELDS)
    evaluator(FakePolicy())
    assert processes()
    del evaluator
    gc.collect()
    assert not processes()


def test_a_closed_evaluator_says_so_and_can_be_closed_again():
    evaluator = Evaluator(ENV, **FIELDS)
    evaluator(FakePolicy())
    evaluator.close()
    evaluator.close()
    with pytest.raises(ConfigError, match="closed"):
        evaluator(FakePolicy())


PROGRAM = f"""
import os, sys
import proctor
from proctor.testing.fakes import FakePolicy
evaluator = proctor.Evaluator({ENV!r}, n_episodes=3, batch_size=2)
evaluator(FakePolicy(), output_dir=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_the_workers_end_with_the_process(tmp_path, end):
    """However it ends; None is the end of its program."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        workers = children_of(process.pid)
        assert len(workers) == 3
        if end is None:
            process.stdin.close()
        else:
            process.send_signal(end)
        assert process.wait(60) == (0 if end is None else -end)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_ends_no_workers_of_its_parents(tmp_path, late):
    """As those of a data loader are, which may collect the copy of the evaluator that they have."""
    policy, naps = late
    with Evaluator(ENV | naps, **FIELDS) as evaluator:
        evaluator(policy)
        there = processes()
        if not (child := os.fork()):
            with suppress(BaseException):
                evaluator.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert processes() == there
        evaluator(FakePolicy())
        assert processes() == there


@pytest.mark.parametrize("n_drawn", [0, 1])
def test_the_random_generators_of_this_process_go_on_as_if_nothing_had_happened(n_drawn):
    """Also after an exception, and with a simulator in this process. Normal numbers are made in pairs."""

    class Drawing(FakePolicy):
        """Draws on the main thread, where no episode's generators are swapped in."""

        def check_contract(self, features):
            random.random()
            np.random.normal(size=3)

    class Failing(Drawing):
        def predict(self, observations, memories):
            raise RuntimeError

    with Evaluator(ENV, n_episodes=1) as evaluator:
        random.seed(1)
        np.random.seed(1)
        np.random.normal(size=n_drawn)
        state = random.getstate(), np.random.get_state()
        for policy in (Drawing(), Failing()):
            with suppress(NoResultError):
                evaluator(policy, batch_size=1)
            assert random.getstate() == state[0]
            assert [*map(str, np.random.get_state())] == [*map(str, state[1])]
            assert np.array_equal(np.random.get_state()[1], state[1][1])


# ----------------------------------------------------------------------------------------------------- the background


def test_what_runs_in_the_background_has_the_same_result(tmp_path):
    """It is asked for without waiting, or waited for with or without a limit."""
    expected = fresh(tmp_path)
    slow = {"env": ENV | {"step_seconds": 0.05}}

    with Evaluator(ENV, **FIELDS) as evaluator:
        running = evaluator(FakePolicy(), wait=False, **slow)
        assert running.poll() is None
        with pytest.raises(TimeoutError):
            running.result(0.01)
        result = running.result(60)
        assert running.poll() is result
        there = processes()
        again = evaluator(FakePolicy(), wait=False, **slow).result()
        assert processes() == there
        waited = evaluator(FakePolicy(), **slow)
        assert processes() == there

    assert {canonical(each) for each in (result, again, waited)} == {expected}


def test_workers_outlive_the_thread_of_the_caller_that_needed_them_first(tmp_path):
    """Linux would end them with the thread that started them."""
    found = []
    with Evaluator(ENV, **FIELDS) as evaluator:
        for _ in range(2):
            thread = threading.Thread(target=lambda: found.append(evaluator(FakePolicy())))
            thread.start()
            thread.join()
            wait_until(lambda: len(processes()) >= 2)  # the fork server, and at least one worker
            there = processes()
        sleep(0.2)
        assert there.items() <= processes().items()
    assert [canonical(each) for each in found] == [fresh(tmp_path)] * 2


def test_an_error_in_the_background_is_raised_where_the_result_is_asked_for():
    with Evaluator(ENV, **FIELDS) as evaluator:

        class Failing(FakePolicy):
            def predict(self, observations, memories):
                raise RuntimeError("broken")

        running = evaluator(Failing(), wait=False)
        with pytest.raises(NoResultError):
            running.result()
        with pytest.raises(NoResultError):
            running.poll()


def test_what_belongs_to_this_process_is_refused_in_the_background():
    """Random generators, the terminal, and simulators beside the training."""
    with Evaluator(ENV, **FIELDS) as evaluator:
        with pytest.raises(ConfigError, match="draws from the global random generators"):
            evaluator(lambda observation: np.zeros(2), wait=False)
        with pytest.raises(ConfigError, match="shows nothing"):
            evaluator(FakePolicy(), wait=False, display="plain")
        with pytest.raises(ConfigError, match="batch_size=2 or more"):
            evaluator(FakePolicy(), wait=False, batch_size=1)


def test_closing_ends_what_runs_in_the_background_and_keeps_what_has_finished():
    evaluator = Evaluator(ENV | {"step_seconds": 0.05}, **FIELDS)
    running = evaluator(FakePolicy(), wait=False, n_episodes=50)
    waiting = evaluator(FakePolicy(), wait=False, n_episodes=50)
    wait_until(lambda: any(path.stat().st_size for path in Path("outputs").rglob("journal.actions.bin")))

    evaluator.close()

    for each in (running, waiting):
        with pytest.raises(Interrupted):
            each.result(0)
    assert any(path.stat().st_size for path in Path("outputs").rglob("journal.actions.bin"))


def test_a_block_waits_for_what_runs_in_the_background_unless_it_raises():
    env = ENV | {"step_seconds": 0.02}
    with Evaluator(env, **FIELDS) as evaluator:
        running = evaluator(FakePolicy(), wait=False)
    assert running.poll().n_errors == 0

    with suppress(KeyError), Evaluator(env, **FIELDS) as evaluator:
        running = evaluator(FakePolicy(), wait=False, n_episodes=1000)
        raise KeyError
    with pytest.raises(Interrupted):
        running.poll()


# ------------------------------------------------------------------------------------------------------------- in turn


class Source:
    """A policy that still has to be loaded."""

    def __init__(self, name, log, *, fails):
        self._policy, self._name, self._log, self._fails = FakePolicy(), name, log, fails

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def fingerprint(self):
        return {"type": "fake", "name": self._name}

    @property
    def per_device(self):
        return (self,)

    def open(self, n_threads):
        self._log.append(f"{self._name} loads on {threading.current_thread().name.partition('_')[0]}")
        if self._fails:
            raise ConfigError("it cannot be loaded")
        return self._policy


def test_prepared_evaluations_run_in_turn_and_the_next_policy_is_loaded_meanwhile(tmp_path):
    """One that cannot be loaded does not concern the others."""
    log: list[str] = []
    expected = fresh(tmp_path)
    with Evaluator(ENV, **FIELDS) as evaluator:
        runs = [prepare(*configure(Source(name, log, fails=name == "b"), ENV, **FIELDS)) for name in "abc"]
        found = []
        for number, run in enumerate(evaluator.in_turn(runs)):
            if number == 1:
                with pytest.raises(ConfigError, match="cannot be loaded"):
                    run()
            else:
                found.append(run())

    assert log == ["a loads on loading", "b loads on loading-ahead", "c loads on loading-ahead"]
    assert [canonical(each) for each in found] == [expected] * 2
