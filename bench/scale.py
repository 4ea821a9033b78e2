"""Predicts evaluations on up to a thousand GPUs: the real schedulers decide, on a simulated clock.

    python bench/scale.py [--gpus 1 10 100 1000] [--episodes 100000] [--plots docs/images]

Proctor's own code makes the decisions: ``engine/scheduler.py`` and ``engine/batching.py`` in each shard, and
``parallel/scheduler.py`` above them. Everything that takes time is simulated: workers step, look and reset, a GPU
infers, messages travel, and a driver handles one result after another.

Idle time is the time between a worker's readiness and the end of the run in which the worker neither runs an episode
nor constructs its first simulator. The script puts two figures beside it, for the same workers, episodes and
constructions (``bench/scale_bound.py``): a bound, as no schedule ends earlier, even one to which all lengths are known;
and a reference, which is list scheduling to which the tasks' means are known and in which only episodes and
constructions take time.
From the bound to the reference, the loss is mostly that lengths are unknown; from the reference on it is Proctor's.

Measured on this machine while the script runs, unless ``--driver-us`` gives it: what the driver does for a result
(``bench/driver.py`` with as many shards, the shard scheduler's decisions included).
Measured before: seconds of construction, resets and physics steps, and the lengths of Meta-World's episodes.
Assumed, as no H100 was at hand: forward passes, looks drawn by a GPU, start-up, the network, and LIBERO's lengths.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from time import thread_time

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import machine
from driver import DriverCost, driver_cost
from scale_bound import Idle, idle_share, least_idle, reference

from proctor.engine.batching import Batching
from proctor.engine.forecast import Forecast
from proctor.engine.scheduler import Limits, Phase, Scheduler
from proctor.parallel.scheduler import ShardScheduler
from proctor.parallel.shards import KEEPING_S
from proctor.types import EpisodeSpec, TaskKey, Timings

WORKERS_PER_GPU = 16
LATENCY_S = 0.001
"""Assumed: the time that a message between driver and shard takes."""
TICK_S = 1e-4
"""An engine does not check for work more often than that."""
STARTUP_S = (25.0, 35.0)
"""Assumed: each shard takes between so many seconds to start its process and to load the weights."""
LOOK_S = 0.006
"""Assumed: the time in which a GPU draws two small cameras."""
MEASURED_S = {"libero": (1.65, 0.059, 0.0041), "metaworld": (0.51, 0.0019, 0.00017)}
"""Construction, reset (LIBERO's includes ten steps in which objects settle) and a step without drawing, on one core of
an AMD EPYC (Zen 4): medians of task 0 by ``python bench/simulators.py libero metaworld``; of Meta-World's resets and
steps the mean over all 50 tasks (docs/lab-book.md).
"""
METAWORLD_LENGTHS = Path(__file__).parent / "metaworld_lengths.json"
"""The lengths of some episodes of each task, from ``proctor eval --policy.type=expert --env.type=metaworld
--env.task=MT50 --eval.n_episodes=4 --eval.video=none``."""


@dataclass(frozen=True)
class Policy:
    """A policy on an H100. Assumed: a forward pass takes ``pass_s``, whatever the number of its rows.

    A pass has ``rows`` at most, and ``n_action_steps`` are executed for each row.
    """

    name: str
    pass_s: float
    n_action_steps: int
    rows: int = WORKERS_PER_GPU


SMALL = Policy("5 ms a pass, 10 steps a chunk", 0.005, 10)
LARGE = Policy("108 ms a pass of 16 rows, 10 steps a chunk", 0.060 + 16 * 0.003, 10)


@dataclass(frozen=True)
class Workload:
    """A benchmark: seconds on one core, and how many steps an episode takes."""

    name: str
    n_tasks: int
    construct_s: float
    reset_s: float
    step_s: float
    look_s: float
    length: Callable[[EpisodeSpec], int]
    max_steps: Callable[[int], int]
    """The most steps of an episode of a task."""

    def plan(self, n_episodes: int) -> list[EpisodeSpec]:
        """Return a plan of so many episodes, spread evenly over the tasks."""
        per_task, more = divmod(n_episodes, self.n_tasks)
        return [
            EpisodeSpec("suite", task, index, 1000 + index)
            for task in range(self.n_tasks)
            for index in range(per_task + (task < more))
        ]


@dataclass(frozen=True)
class Case:
    """An evaluation on a number of GPUs."""

    work: Workload
    policy: Policy
    gpus: int
    n_episodes: int


def libero(failures: float = 0.1) -> Workload:
    """Return LIBERO's four suites of ten tasks.

    ``failures`` is the share of episodes that fail, and so reach the suite's limit. Assumed: the lengths of the others
    are spread evenly between 30 % and 80 % of it.
    """
    limits = (280, 280, 300, 520)

    def length(spec: EpisodeSpec) -> int:
        draw, limit = Random(f"{spec.task_id}/{spec.episode_index}"), limits[spec.task_id // 10]
        return limit if draw.random() < failures else round(limit * draw.uniform(0.3, 0.8))

    return Workload("LIBERO", 40, *MEASURED_S["libero"], LOOK_S, length, lambda task_id: limits[task_id // 10])


def metaworld() -> Workload:
    """Return Meta-World's fifty tasks, with episode lengths measured with its scripted expert."""
    lengths = json.loads(METAWORLD_LENGTHS.read_text())

    def length(spec: EpisodeSpec) -> int:
        return int(Random(f"{spec.task_id}/{spec.episode_index}").choice(lengths[spec.task_id]))

    return Workload("Meta-World", len(lengths), *MEASURED_S["metaworld"], LOOK_S, length, lambda _: 500)


# ----------------------------------------------------------------------------------------------------- the simulation


class Clock:
    """Simulated time, and the events to come in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Let an event happen so many seconds from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))

    def run(self) -> None:
        """Run until no event is left."""
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()


class Shard:
    """The workers and the GPU of a shard. The real scheduler decides what they do next."""

    def __init__(self, clock: Clock, case: Case, on_done: Callable[[EpisodeSpec], None]) -> None:
        self._clock, self._on_done = clock, on_done
        self._work, self._policy = case.work, case.policy
        self._forecast = Forecast()
        self.scheduler = Scheduler((), Limits(WORKERS_PER_GPU, max_attempts=1), self._forecast)
        self.scheduler.expects_more = True
        for worker_id in range(WORKERS_PER_GPU):
            self.scheduler.started(worker_id)
            self.scheduler.joined(worker_id)
        self._batching = Batching()
        self._steps_left: dict[int, int] = {}
        self._ready_at: dict[int, float] = {}
        self._gpu_is_free = True
        self._built_at: dict[int, float] = {}
        self.done_at = [0.0] * WORKERS_PER_GPU
        self.n_turns = self.n_built = 0
        self.turns_s = self.gpu_s = 0.0
        self.seconds_of: dict[EpisodeSpec, float] = {}
        """What each episode took, without construction."""
        self._built_s: dict[int, float] = {}
        self.timings: dict[EpisodeSpec, Timings] = {}
        """The timings of results that the driver has not seen yet."""

    def run_episodes(self, specs: Sequence[EpisodeSpec], simulators: Mapping[TaskKey, int] | None = None) -> None:
        self.scheduler.add(specs, simulators)
        for worker_id, spec in self.scheduler.assign():
            self._steps_left[worker_id] = self._work.length(spec)
            builds = self.scheduler.phase_of(worker_id) is Phase.BUILDING
            self._clock.after(self._work.construct_s if builds else 0.0, partial(self._start, worker_id, builds))

    def _start(self, worker_id: int, builds: bool) -> None:  # noqa: FBT001 - called through partial
        if builds:
            spec = self.scheduler.built(worker_id)
            self._forecast.learn_build(spec.task, self._work.construct_s)
            self.n_built += 1
            self._built_s[worker_id] = self._work.construct_s
        self._built_at[worker_id] = self._clock.now
        self._simulate(worker_id, 0, self._work.reset_s + self._work.look_s)

    def _simulate(self, worker_id: int, n_steps: int, seconds: float) -> None:
        spec = self.scheduler.episode_of(worker_id)
        assert spec is not None
        self._steps_left[worker_id] -= n_steps
        if self._steps_left[worker_id]:
            self._batching.left(worker_id, spec.task, n_steps, self._clock.now)
        self._clock.after(seconds, partial(self._observed if self._steps_left[worker_id] else self._done, worker_id))

    def _observed(self, worker_id: int) -> None:
        self._ready_at[worker_id] = self._clock.now
        self._batching.came(worker_id, self._clock.now)
        self.scheduler.observed(worker_id)
        self._infer()

    def _infer(self) -> None:
        n_ready, rows, now = self.scheduler.n_ready(), self._policy.rows, self._clock.now
        if not self._gpu_is_free or not n_ready:
            return
        if wait := self._batching.seconds_to_wait(n_ready, rows, now):
            self._clock.after(max(wait, TICK_S), self._infer)
            return
        batch = self.scheduler.ready()[:rows]
        self.scheduler.mark_inferring(batch)
        self._batching.closed(n_ready - len(batch), now)
        self._gpu_is_free = False
        self.gpu_s += self._policy.pass_s
        self._clock.after(self._policy.pass_s, partial(self._inferred, batch))

    def _inferred(self, batch: Sequence[int]) -> None:
        self._gpu_is_free = True
        self._batching.passed(self._policy.pass_s)
        for worker_id in batch:
            self.turns_s += self._clock.now - self._ready_at[worker_id]
            self.n_turns += 1
            self.scheduler.acted(worker_id)
            n_steps = min(self._policy.n_action_steps, self._steps_left[worker_id])
            looks = self._steps_left[worker_id] > n_steps
            self._simulate(worker_id, n_steps, n_steps * self._work.step_s + looks * self._work.look_s)
        self._infer()

    def _done(self, worker_id: int) -> None:
        spec = self.scheduler.episode_of(worker_id)
        assert spec is not None
        self._forecast.learn_episode(spec.task, self._clock.now - self._built_at[worker_id])
        self.scheduler.finished(worker_id)
        self.done_at[worker_id] = self._clock.now
        self.seconds_of[spec] = seconds = self._clock.now - self._built_at[worker_id]
        self.timings[spec] = Timings(construct=self._built_s.pop(worker_id, 0.0), step=seconds)
        self._on_done(spec)
        self.run_episodes(())


class Driver:
    """One thread that takes turns as the shard pool does: it handles all that has arrived and assigns episodes, then
    it keeps results for a while.

    The real scheduler decides here. Its decisions are timed for the table, and are part of ``cost``.
    """

    def __init__(self, clock: Clock, scheduler: ShardScheduler, cost: DriverCost) -> None:
        self._clock, self._scheduler, self._cost = clock, scheduler, cost
        self.shards: list[Shard] = []
        self._arrived: list[tuple[int, EpisodeSpec | None]] = []
        self._n_to_keep, self._sleeps = 0, True
        self.busy_s = self.decisions_s = self.assigned_at = 0.0
        self.n_results = self.n_orders = 0

    def ready(self, shard_id: int) -> None:
        """A shard is ready."""
        self._receive(shard_id, None)

    def done(self, shard_id: int, spec: EpisodeSpec) -> None:
        """A shard has sent a result."""
        self._clock.after(LATENCY_S, partial(self._receive, shard_id, spec))

    @property
    def decision_s(self) -> float:
        """The mean seconds that the scheduler takes for a result, until now."""
        return self.decisions_s / max(1, self.n_results)

    def _receive(self, shard_id: int, spec: EpisodeSpec | None) -> None:
        self._arrived.append((shard_id, spec))
        if self._sleeps:
            self._sleeps = False
            self._turn()

    def _turn(self) -> None:
        if not self._arrived and not self._n_to_keep:
            self._sleeps = True
            return
        arrived, self._arrived = self._arrived, []
        self._spend(len(arrived) * self._cost.handle_s, partial(self._decide, arrived))

    def _decide(self, arrived: Sequence[tuple[int, EpisodeSpec | None]]) -> None:
        start = thread_time()  # for the table only: the cost that was measured contains the decision
        for shard_id, spec in arrived:
            if spec is None:
                self._scheduler.joined(shard_id, WORKERS_PER_GPU)
            else:
                self._scheduler.finished(shard_id, spec, self.shards[shard_id].timings.pop(spec))
                self.n_results += 1
                self._n_to_keep += 1
        orders = {shard_id: self._scheduler.assign(shard_id) for shard_id in dict(arrived)}
        self.decisions_s += thread_time() - start
        for shard_id, specs in orders.items():
            if specs:
                self.n_orders += 1
                self.assigned_at = self._clock.now
                simulators = dict(self._scheduler.simulators_of(shard_id) or {})
                self._clock.after(LATENCY_S, partial(self.shards[shard_id].run_episodes, specs, simulators))
        n = min(self._n_to_keep, int(KEEPING_S / self._cost.keep_s) + 1)
        self._n_to_keep -= n
        self._spend(n * self._cost.keep_s, self._turn)

    def _spend(self, seconds: float, then: Callable[[], None]) -> None:
        self.busy_s += seconds
        self._clock.after(seconds, then)


@dataclass(frozen=True)
class Found:
    """The result of a simulation.

    ``idle`` and ``tail`` are shares of the workers' time, which is counted from the moment at which their shard is
    ready to the end of the run. ``idle`` is the time in which a worker neither runs an episode nor constructs its first
    simulator, and ``tail`` the part of it after the last episode was assigned.
    """

    gpus: int
    seconds: float
    episodes_per_s: float
    idle: float
    tail: float
    driver_busy: float
    decision_us: float
    turn_s: float
    gpu_busy: float
    builds: int
    orders: int
    reference: Idle
    least: Idle


def simulate(case: Case, cost: DriverCost, seed: int = 0) -> Found:
    clock, random = Clock(), Random(seed)
    plan = case.work.plan(case.n_episodes)
    max_steps = {spec.task: case.work.max_steps(spec.task_id) for spec in plan}
    driver = Driver(clock, ShardScheduler(plan, case.gpus, max_steps=max_steps), cost)
    driver.shards = [Shard(clock, case, partial(driver.done, shard_id)) for shard_id in range(case.gpus)]
    starts = [random.uniform(*STARTUP_S) for _ in range(case.gpus)]
    for shard_id, start in enumerate(starts):
        clock.after(start, partial(driver.ready, shard_id))
    clock.run()
    end = max(done for shard in driver.shards for done in shard.done_at)
    ready = [start for start in starts for _ in range(WORKERS_PER_GPU)]
    had = sum(max(0.0, end - start) for start in ready)
    by_task: dict[TaskKey, list[float]] = {}
    for shard in driver.shards:
        for spec, seconds in shard.seconds_of.items():
            by_task.setdefault(spec.task, []).append(seconds)
    n_constructing = sum(done > 0 for shard in driver.shards for done in shard.done_at)
    tail = sum(
        max(0.0, end - max(done, driver.assigned_at, start))
        for shard, start in zip(driver.shards, starts, strict=True)
        for done in shard.done_at
    )
    return Found(
        case.gpus,
        end,
        case.n_episodes / end,
        idle_share(ready, end, sum(map(sum, by_task.values())), n_constructing * case.work.construct_s),
        tail / had,
        driver.busy_s / end,
        1e6 * driver.decision_s,
        sum(shard.turns_s for shard in driver.shards) / sum(shard.n_turns for shard in driver.shards),
        sum(shard.gpu_s for shard in driver.shards) * WORKERS_PER_GPU / had,
        sum(shard.n_built for shard in driver.shards),
        driver.n_orders,
        reference(ready, case.work.construct_s, by_task),
        least_idle(ready, case.work.construct_s, by_task),
    )


# ------------------------------------------------------------------------------------------------------------- reports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--plots", type=Path, help="a folder for scale.svg")
    parser.add_argument(
        "--driver-us",
        type=float,
        nargs=2,
        metavar=("HANDLE", "KEEP"),
        help="take these times of a result in the driver, if the machine is too busy to measure them",
    )
    options = parser.parse_args()
    print(machine())
    if options.driver_us:
        handle_s, keep_s = (us / 1e6 for us in options.driver_us)
        costs = dict.fromkeys(options.gpus, DriverCost(handle_s + keep_s, handle_s + keep_s, keep_s))
    else:
        costs = {n: driver_cost(max(20_000, 100 * n), n) for n in options.gpus}
    for n, cost in costs.items():
        handle_us, keep_us = 1e6 * cost.handle_s, 1e6 * cost.keep_s
        print(f"driver of {n} shards, per result: {handle_us:.0f} us to handle, {keep_us:.0f} us to keep")
    for policy in (SMALL, LARGE):
        one_h100(libero(), policy, costs[min(costs)])
        print("  if no episode succeeds, so that no length is assumed:")
        one_h100(libero(failures=1.0), policy, costs[min(costs)])
    found = {work.name: many_gpus(work, options.episodes, costs) for work in (libero(), metaworld())}
    if options.plots:
        plot(found, options.plots / "scale.svg")


def one_h100(work: Workload, policy: Policy, cost: DriverCost) -> None:
    """Simulate 2 000 LIBERO episodes on 16 cores and one GPU."""
    start = thread_time()
    found = simulate(Case(work, policy, 1, 2000), cost)
    print(
        f"LIBERO, 2000 episodes, {WORKERS_PER_GPU} cores, 1 GPU, {policy.name}: {found.seconds / 60:.1f} min; GPU busy "
        f"{found.gpu_busy:.0%}, a chunk waits {1000 * found.turn_s:.0f} ms for it, workers idle {found.idle:.1%} "
        f"(simulated in {thread_time() - start:.0f} s)",
        flush=True,
    )


def many_gpus(work: Workload, n_episodes: int, costs: Mapping[int, DriverCost]) -> list[Found]:
    """Simulate one evaluation on more and more GPUs."""
    print(f"{work.name}, {n_episodes} episodes, {SMALL.name}")
    print(
        "  GPUs  ends after  reference   bound  episodes/s  idle  reference  bound  tail  driver busy  decision  built"
    )
    found = []
    for n, cost in costs.items():
        found.append(simulate(Case(work, SMALL, n, n_episodes), cost))
        f = found[-1]
        print(
            f"{f.gpus:6d} {f.seconds:9.1f} s {f.reference.end_s:8.1f} s {f.least.end_s:5.1f} s "
            f"{f.episodes_per_s:11.1f} {f.idle:5.1%} {f.reference.share:10.1%} {abs(f.least.share):6.1%} {f.tail:5.1%} "
            f"{f.driver_busy:12.1%} {f.decision_us:6.0f} us {f.builds:6d}",
            flush=True,
        )
    return found


def plot(found: Mapping[str, Sequence[Found]], path: Path) -> None:
    """Plot the throughput over the number of GPUs, and where workers' time is lost."""
    from matplotlib import pyplot as plt

    figure, (speed, lost) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (name, points), colour in zip(found.items(), ("tab:blue", "tab:orange"), strict=True):
        gpus = [point.gpus for point in points]
        speed.loglog(gpus, [point.episodes_per_s for point in points], "o-", color=colour, label=name)
        speed.loglog(gpus, [points[0].episodes_per_s * n / gpus[0] for n in gpus], ":", color=colour, linewidth=1)
        lost.semilogx(gpus, [100 * point.idle for point in points], "o-", color=colour, label=f"{name}: workers idle")
        lost.semilogx(gpus, [100 * point.reference.share for point in points], ":", color=colour, label="the reference")
        lost.semilogx(
            gpus, [100 * point.driver_busy for point in points], "s--", color=colour, label=f"{name}: driver busy"
        )
    speed.set(xlabel="GPUs, 16 workers each", ylabel="episodes per second, start-up included")
    lost.set(xlabel="GPUs, 16 workers each", ylabel="%")
    for axes in (speed, lost):
        axes.legend(fontsize=8)
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
