"""Plan for more machines than are available: the real schedulers, on simulated clocks, with up to a thousand GPUs.

    python bench/scale.py [--gpus 1 10 100 1000] [--episodes 100000] [--plots docs/images]

Proctor's own code makes the decisions: in each shard ``engine/scheduler.py`` and ``engine/batching.py``, above them
``parallel/scheduler.py``. Everything that takes time is simulated: workers step, look and reset, a GPU infers, messages
travel, and a driver processes one result after another.

Measured on this machine while the script runs: the driver's time for a result (decoding its message, appending to the
journal with its sync, the shard scheduler's decisions for that number of shards).
Measured before: seconds of construction, resets and physics steps, and the lengths of Meta-World's episodes.
Assumed, because no H100 was available: forward passes, looks rendered by a GPU, start-up, the network, and LIBERO's
lengths.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from time import perf_counter, thread_time

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import machine

from proctor.engine.batching import Batching
from proctor.engine.forecast import Forecast
from proctor.engine.scheduler import Limits, Phase, Scheduler
from proctor.engine.worker.messages import ArrayBytes
from proctor.parallel.launchers.base import EpisodeDone, decode_report, encode
from proctor.parallel.scheduler import ShardScheduler
from proctor.results.journal import JournalWriter
from proctor.types import EpisodeResult, EpisodeSpec, Outcome, Timings

WORKERS_PER_GPU = 16
LATENCY_S = 0.001
"""Assumed time of a message between driver and shard."""
TICK_S = 1e-4
"""Shortest time between two turns of an engine."""
STARTUP_S = (25.0, 35.0)
"""Assumed times between which shards become ready, each a process with its weights."""
LOOK_S = 0.006
"""Assumed time in which a GPU renders two small cameras."""
MEASURED_S = {"libero": (3.7, 0.11, 0.0076), "metaworld": (0.7, 0.0082, 0.00029)}
"""Construction, reset (LIBERO's with the ten steps in which objects settle) and step without rendering: medians on one
core of an AMD EPYC (Zen 4) without other load. ``python bench/simulators.py libero metaworld`` measures them again.
"""
METAWORLD_LENGTHS = Path(__file__).parent / "metaworld_lengths.json"
"""Lengths of some episodes of each task, from ``proctor eval --policy.type=expert --env.type=metaworld --env.task=MT50
--eval.n_episodes=4 --eval.video=none``."""


@dataclass(frozen=True)
class Policy:
    """An assumed policy on an H100: a forward pass takes ``pass_s`` for any number of rows up to ``rows``.

    ``n_action_steps`` are executed for each row.
    """

    name: str
    pass_s: float
    n_action_steps: int
    rows: int = WORKERS_PER_GPU


SMALL = Policy("5 ms a pass, 10 steps a chunk", 0.005, 10)
LARGE = Policy("108 ms a pass of 16 rows, 10 steps a chunk", 0.060 + 16 * 0.003, 10)


@dataclass(frozen=True)
class Workload:
    """A benchmark: seconds on one core, and the number of steps of an episode."""

    name: str
    n_tasks: int
    construct_s: float
    reset_s: float
    step_s: float
    look_s: float
    length: Callable[[EpisodeSpec], int]

    def plan(self, n_episodes: int) -> list[EpisodeSpec]:
        """Return ``n_episodes`` episodes, spread evenly over the tasks."""
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
    """Return four suites of ten tasks. Failed episodes, a fraction ``failures`` of all, reach the suite's limit. The
    others are assumed to end evenly spread between 30 % and 80 % of it.
    """
    limits = (280, 280, 300, 520)

    def length(spec: EpisodeSpec) -> int:
        draw, limit = Random(f"{spec.task_id}/{spec.episode_index}"), limits[spec.task_id // 10]
        return limit if draw.random() < failures else round(limit * draw.uniform(0.3, 0.8))

    return Workload("LIBERO", 40, *MEASURED_S["libero"], LOOK_S, length)


def metaworld() -> Workload:
    """Return fifty tasks, each with the measured lengths of its scripted expert."""
    lengths = json.loads(METAWORLD_LENGTHS.read_text())

    def length(spec: EpisodeSpec) -> int:
        return int(Random(f"{spec.task_id}/{spec.episode_index}").choice(lengths[spec.task_id]))

    return Workload("Meta-World", len(lengths), *MEASURED_S["metaworld"], LOOK_S, length)


# ----------------------------------------------------------------------------------------------------- the simulation


class Clock:
    """Simulated time: the future events, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, seconds: float, happening: Callable[[], None]) -> None:
        """Schedule an event in ``seconds`` from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), happening))

    def run(self) -> None:
        """Run until no event is left."""
        while self._events:
            self.now, _, happening = heapq.heappop(self._events)
            happening()


class Shard:
    """Workers and a GPU; the real scheduler decides their next work."""

    def __init__(self, clock: Clock, case: Case, on_over: Callable[[EpisodeSpec], None]) -> None:
        self._clock, self._on_over = clock, on_over
        self._work, self._policy = case.work, case.policy
        self._forecast = Forecast()
        self.scheduler = Scheduler((), Limits(WORKERS_PER_GPU, max_attempts=1), forecast=self._forecast)
        for number in range(WORKERS_PER_GPU):
            self.scheduler.started(number)
            self.scheduler.joined(number)
        self._batching = Batching()
        self._steps_left: dict[int, int] = {}
        self._ready_at: dict[int, float] = {}
        self._gpu_is_free = True
        self._began_at: dict[int, float] = {}
        self._stands_since: dict[int, float] = {}
        self.over_at = [0.0] * WORKERS_PER_GPU
        self.n_turns = self.n_built = 0
        self.turns_s = self.worked_s = self.gpu_s = 0.0

    def take(self, specs: Sequence[EpisodeSpec]) -> None:
        self.scheduler.add(specs)
        for number, spec in self.scheduler.assign():
            self._steps_left[number], self._began_at[number] = self._work.length(spec), self._clock.now
            builds = self.scheduler.workers[number].phase is Phase.BUILDING
            self._clock.after(self._work.construct_s if builds else 0.0, partial(self._begin, number, builds))

    def _begin(self, number: int, builds: bool) -> None:  # noqa: FBT001 - what happened
        if builds:
            spec = self.scheduler.built(number)
            self._forecast.built(spec.task, self._work.construct_s)
            self.n_built += 1
        self._stands_since[number] = self._clock.now
        self._simulate(number, 0, self._work.reset_s + self._work.look_s)

    def _simulate(self, number: int, n_steps: int, seconds: float) -> None:
        spec = self.scheduler.workers[number].spec
        assert spec is not None
        self._steps_left[number] -= n_steps
        if self._steps_left[number]:
            self._batching.left(number, spec.task, n_steps, self._clock.now)
        self._clock.after(seconds, partial(self._observed if self._steps_left[number] else self._over, number))

    def _observed(self, number: int) -> None:
        self._ready_at[number] = self._clock.now
        self._batching.came(number, self._clock.now)
        self.scheduler.observed(number)
        self._infer()

    def _infer(self) -> None:
        n_ready, rows, now = self.scheduler.n_ready(), self._policy.rows, self._clock.now
        if not self._gpu_is_free or not n_ready:
            return
        if wait := self._batching.seconds_to_wait(n_ready, rows, now):
            self._clock.after(max(wait, TICK_S), self._infer)
            return
        batch = self.scheduler.ready()[:rows]
        self.scheduler.think(batch)
        self._batching.closed(n_ready - len(batch), now)
        self._gpu_is_free = False
        self.gpu_s += self._policy.pass_s
        self._clock.after(self._policy.pass_s, partial(self._inferred, batch))

    def _inferred(self, batch: Sequence[int]) -> None:
        self._gpu_is_free = True
        self._batching.passed(self._policy.pass_s)
        for number in batch:
            self.turns_s += self._clock.now - self._ready_at[number]
            self.n_turns += 1
            self.scheduler.acted(number)
            n_steps = min(self._policy.n_action_steps, self._steps_left[number])
            looks = self._steps_left[number] > n_steps
            self._simulate(number, n_steps, n_steps * self._work.step_s + looks * self._work.look_s)
        self._infer()

    def _over(self, number: int) -> None:
        spec = self.scheduler.workers[number].spec
        assert spec is not None
        self._forecast.finished(spec.task, self._clock.now - self._stands_since[number])
        self.scheduler.finished(number)
        self.over_at[number] = self._clock.now
        self.worked_s += self._clock.now - self._began_at[number]
        self._on_over(spec)
        self.take(())


class Driver:
    """One thread that processes results one after another and assigns episodes. ``result_s`` is its time for a result
    without the shard scheduler's decision, which is really made and timed.
    """

    def __init__(self, clock: Clock, dealer: ShardScheduler, result_s: float) -> None:
        self._clock, self._dealer, self._result_s = clock, dealer, result_s
        self._free_at = 0.0
        self.shards: list[Shard] = []
        self.busy_s = self.decisions_s = self.dealt_at = 0.0
        self.n_results = 0

    def up(self, shard: int) -> None:
        """Handle a shard that is ready."""
        self._dealer.joined(shard, WORKERS_PER_GPU)
        self._deal(shard)

    def over(self, shard: int, spec: EpisodeSpec) -> None:
        """Receive a result that was sent to the driver."""
        self._clock.after(LATENCY_S, partial(self._arrived, shard, spec))

    @property
    def decision_s(self) -> float:
        """The mean time of a decision so far."""
        return self.decisions_s / max(1, self.n_results)

    def _arrived(self, shard: int, spec: EpisodeSpec) -> None:
        seconds = self._result_s + self.decision_s
        self.busy_s += seconds
        self._free_at = max(self._free_at, self._clock.now) + seconds
        self._clock.after(self._free_at - self._clock.now, partial(self._decide, shard, spec))

    def _decide(self, shard: int, spec: EpisodeSpec) -> None:
        began = thread_time()
        self._dealer.finished(shard, spec)
        self._deal(shard)
        self.decisions_s += thread_time() - began
        self.n_results += 1

    def _deal(self, shard: int) -> None:
        if specs := self._dealer.deal(shard):
            self.dealt_at = self._clock.now
            self._clock.after(LATENCY_S, partial(self.shards[shard].take, specs))


@dataclass(frozen=True)
class Found:
    """The outcome of a simulation. ``idle`` and ``tail`` are shares of the workers' time from their shard's start to
    the end: the time without an episode, and the part of it after the last episode was assigned.
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


def simulate(case: Case, driver: DriverCost) -> Found:
    clock, random = Clock(), Random(0)
    office = Driver(clock, ShardScheduler(case.work.plan(case.n_episodes), case.gpus), driver.result_s)
    office.shards = [Shard(clock, case, partial(office.over, number)) for number in range(case.gpus)]
    starts = [random.uniform(*STARTUP_S) for _ in range(case.gpus)]
    for number, start in enumerate(starts):
        clock.after(start, partial(office.up, number))
    clock.run()
    end = max(over for shard in office.shards for over in shard.over_at)
    had = sum(end - start for start in starts) * WORKERS_PER_GPU
    tail = sum(
        end - max(over, office.dealt_at, start)
        for shard, start in zip(office.shards, starts, strict=True)
        for over in shard.over_at
    )
    return Found(
        case.gpus,
        end,
        case.n_episodes / end,
        1 - sum(shard.worked_s for shard in office.shards) / had,
        tail / had,
        office.busy_s / end,
        1e6 * office.decision_s,
        sum(shard.turns_s for shard in office.shards) / sum(shard.n_turns for shard in office.shards),
        sum(shard.gpu_s for shard in office.shards) / sum(end - start for start in starts),
        sum(shard.n_built for shard in office.shards),
    )


# ------------------------------------------------------------------------------------------------ what is measured now


@dataclass(frozen=True)
class DriverCost:
    """Median seconds of the driver for a result, without the shard scheduler's decision."""

    decode_s: float
    append_s: float

    @property
    def result_s(self) -> float:
        return self.decode_s + self.append_s


def driver_cost(n: int = 500) -> DriverCost:
    """Measure with results that contain the actions of 200 steps, on the disk of the temporary folder."""
    random = np.random.default_rng(0)
    actions = random.normal(size=(200, 7)).astype(np.float32)
    times: dict[str, list[float]] = {"decode": [], "append": []}
    with tempfile.TemporaryDirectory() as folder, JournalWriter(Path(folder), {}) as journal:
        for index in range(n):
            spec = EpisodeSpec("suite", 0, index, index)
            result = EpisodeResult(spec, Outcome.SUCCESS, 1.0, 1.0, 200, 20, "0" * 32, timings=Timings(step=1.0))
            message = encode(EpisodeDone(result, ArrayBytes.pack(actions)))
            began = perf_counter()
            kept = decode_report(message)
            decoded = perf_counter()
            assert isinstance(kept, EpisodeDone)
            assert kept.actions is not None
            journal.append(kept.result, kept.actions.unpack())
            times["decode"].append(decoded - began)
            times["append"].append(perf_counter() - decoded)
    return DriverCost(*(statistics.median(values) for values in times.values()))


# ------------------------------------------------------------------------------------------------------------- reports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--plots", type=Path, help="a folder for scale.svg")
    parser.add_argument(
        "--append-us", type=float, help="microseconds of the journal, if the disk is too busy to measure"
    )
    options = parser.parse_args()
    print(machine())
    driver = driver_cost()
    print(f"driver, per result: decoded in {1e6 * driver.decode_s:.0f} us, journal {1e6 * driver.append_s:.0f} us")
    if options.append_us:
        driver = replace(driver, append_s=options.append_us / 1e6)
        print(f"  simulated with {options.append_us:.0f} us for the journal")
    for policy in (SMALL, LARGE):
        one_h100(libero(), policy, driver)
        print("  if no episode succeeds, so that no length is assumed:")
        one_h100(libero(failures=1.0), policy, driver)
    found = {work.name: many_gpus(work, options.gpus, options.episodes, driver) for work in (libero(), metaworld())}
    if options.plots:
        plot(found, driver, options.plots / "scale.svg")


def one_h100(work: Workload, policy: Policy, driver: DriverCost) -> None:
    """Simulate 2 000 LIBERO episodes on 16 cores and one GPU."""
    began = thread_time()
    found = simulate(Case(work, policy, 1, 2000), driver)
    print(
        f"LIBERO, 2000 episodes, {WORKERS_PER_GPU} cores, 1 GPU, {policy.name}: {found.seconds / 60:.1f} min; GPU busy "
        f"{found.gpu_busy:.0%}, a chunk waits {1000 * found.turn_s:.0f} ms for it, workers idle {found.idle:.1%} "
        f"(simulated in {thread_time() - began:.0f} s)",
        flush=True,
    )


def many_gpus(work: Workload, gpus: Sequence[int], n_episodes: int, driver: DriverCost) -> list[Found]:
    """Simulate one evaluation on increasing numbers of GPUs."""
    print(f"{work.name}, {n_episodes} episodes, {SMALL.name}")
    print("  GPUs      time  episodes/s  per GPU  workers idle  of it tail  driver busy  decision  simulators built")
    found = []
    for n in gpus:
        found.append(simulate(Case(work, SMALL, n, n_episodes), driver))
        f = found[-1]
        print(
            f"{f.gpus:6d} {f.seconds:8.0f} s {f.episodes_per_s:11.1f} {f.episodes_per_s / f.gpus:8.2f} {f.idle:13.1%} "
            f"{f.tail:11.1%} {f.driver_busy:12.1%} {f.decision_us:6.0f} us {f.builds:17d}",
            flush=True,
        )
    return found


def plot(found: Mapping[str, Sequence[Found]], driver: DriverCost, path: Path) -> None:
    """Plot throughput over GPUs, and the causes of the workers' lost time."""
    from matplotlib import pyplot as plt

    figure, (speed, lost) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (name, points), colour in zip(found.items(), ("tab:blue", "tab:orange"), strict=True):
        gpus = [point.gpus for point in points]
        speed.loglog(gpus, [point.episodes_per_s for point in points], "o-", color=colour, label=name)
        speed.loglog(gpus, [points[0].episodes_per_s * n / gpus[0] for n in gpus], ":", color=colour, linewidth=1)
        lost.semilogx(gpus, [100 * point.idle for point in points], "o-", color=colour, label=f"{name}: workers idle")
        lost.semilogx(
            gpus, [100 * point.driver_busy for point in points], "s--", color=colour, label=f"{name}: driver busy"
        )
    speed.axhline(1 / driver.result_s, color="grey", linewidth=1)
    speed.annotate(
        "one journal, synced at every episode", (gpus[0], 1 / driver.result_s), (0, 3), textcoords="offset points"
    )
    speed.set(xlabel="GPUs, 16 workers each", ylabel="episodes per second, start-up included")
    lost.set(xlabel="GPUs, 16 workers each", ylabel="%")
    for axes in (speed, lost):
        axes.legend(fontsize=8)
        axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
