"""Measure how well simulators and an accelerator overlap: throughput relative to the limits of queueing theory.

    python bench/overlap.py [--devices seed vla] [--workers 4 16 128] [--chunks 1 10 50] [--seconds 2] [--batch 16]

Both are delays off the CPU (``bench/delays.py``): steps of 20 ms with 20 % spread in real worker processes, forward
passes of 5 ms ("seed") or 60 ms + 3 ms a row ("vla") on one slot. The engine is the real one.

N workers that simulate for Z (a chunk) and then need a pass form a closed queueing network. Its bounds, in chunks/s:

    simulators   N / Z           no worker ever waits
    device       B / S(B)        every pass is full; S(b) is the time of a pass of b rows, B the most rows of one
    at best      max over b in [1, min(B, N)] of min(N / (Z + S(b)), b / S(b)): a chunk takes its simulation and a pass,
                 and with b rows in the mean pass the device is used all the time at most. No rule can be faster.
    reachable    the best that a rule of the form "start a pass as soon as k wait" reaches, over every k, in an event
                 simulation without any overhead, over the same time and from the same start; a pass of fewer rows is
                 padded to B, as every pass of an evaluation has one shape ("unpadded": without this padding).

"bounded" is the lower of the first two. If "reachable" is less than 95 % of it, no batching rule can give 95 %.
Lockstep is computed optimistically: every step waits for the slowest of all N, one pass takes all N rows, without
overhead.
"""

from __future__ import annotations

import argparse
import heapq
import os
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import descendants, machine, proportional_mb
from delays import DELAY_BENCHMARK, DelayConfig, DelayPolicy, Device, Pass, step_seconds

from proctor.engine import Engine, EngineOptions, EngineSetup
from proctor.machine.resources import usable_cores
from proctor.types import EpisodeSpec, Task

DEVICES = {"seed": Device("seed", 5.0, 0.0), "vla": Device("vla", 60.0, 3.0)}
CONFIG = DelayConfig(type=DELAY_BENCHMARK)
ENV = asdict(CONFIG)
GOAL = 0.95
MIN_CHUNKS = 5
"""Minimum number of chunks per worker, so that a point does not end before it has settled."""
_STARTING_STEPS = 100
"""The length of the episodes during which the workers are started."""
WARM = 0.3
"""The fraction of a point's time that is left out as warm-up."""


@dataclass(frozen=True)
class Point:
    """One case: a device, the number of workers, the length of a chunk, the rows of a pass."""

    device: Device
    workers: int
    chunk: int
    batch: int

    @property
    def think_s(self) -> float:
        """The mean seconds of a chunk in the simulator, Z."""
        return self.chunk * CONFIG.step_ms / 1000

    @property
    def simulators(self) -> float:
        return self.workers / self.think_s

    @property
    def devices(self) -> float:
        return float(self.batch / self.device.seconds(self.batch))

    @property
    def at_best(self) -> float:
        rows = np.linspace(1, min(self.batch, self.workers), 1000)
        seconds = np.array([self.device.seconds(b) for b in rows])
        return float(np.minimum(self.workers / (self.think_s + seconds), rows / seconds).max())

    def chunks_each(self, seconds: float) -> int:
        """Return the number of chunks of every worker that takes about ``seconds``."""
        return max(MIN_CHUNKS, round(seconds * self.at_best / self.workers))


@dataclass(frozen=True)
class Found:
    """The measurement of a point: chunks per second, the fraction of the time the device computes, rows in a pass."""

    per_s: float
    device_use: float
    rows: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=list(DEVICES))
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    print(machine())
    print("device workers chunk   simulators  device  at best reachable unpadded     Proctor  of bounded  of reachable")
    points = [
        Point(DEVICES[name], workers, chunk, options.batch)
        for workers in sorted(options.workers)
        for name in options.devices
        for chunk in options.chunks
    ]
    with closing(Bench()) as bench:
        verdicts = [report(point, bench.measure(point, options.seconds), options.seconds) for point in points]
        memory = sum(map(proportional_mb, descendants(os.getpid())))
        print(f"memory of {bench.n_workers} workers: {memory / bench.n_workers:.0f} MB each, shared pages divided")
    in_reach = [verdict.of_bounded for verdict in verdicts if verdict.in_reach]
    if in_reach:
        print(
            f"{sum(share >= GOAL for share in in_reach)} of {len(in_reach)} points where {GOAL:.0%} of the bound is "
            f"in reach are there, the lowest at {min(in_reach):.1%};",
            end=" ",
        )
    print(f"of what is reachable, the lowest is {min(verdict.of_reachable for verdict in verdicts):.1%}")


class Verdict(NamedTuple):
    """The share of the bounds that a point reaches, and True if the goal is reachable there."""

    of_bounded: float
    of_reachable: float
    in_reach: bool


def report(point: Point, found: Found, seconds: float) -> Verdict:
    bounded = min(point.simulators, point.devices)
    padded, unpadded = (reachable(point, seconds, padded=padded) for padded in (True, False))
    lock = lockstep(point)
    verdict = Verdict(found.per_s / bounded, found.per_s / padded, padded >= GOAL * bounded)
    print(
        f"{point.device.name:>6} {point.workers:7} {point.chunk:5}   {point.simulators:8.1f}/s {point.devices:6.1f}/s "
        f"{point.at_best:6.1f}/s {padded:6.1f}/s {unpadded:6.1f}/s   {found.per_s:7.1f}/s  {verdict.of_bounded:9.1%}  "
        f"{verdict.of_reachable:11.1%}  {'' if verdict.in_reach else f'({GOAL:.0%} of bounded is out of reach)'}\n"
        f"{'':24} device used {found.device_use:.0%}, {found.rows:.1f} rows a pass; lockstep {lock.per_s:.1f}/s, "
        f"device used {lock.device_use:.0%}: Proctor is {found.per_s / lock.per_s:.1f}x",
        flush=True,
    )
    return verdict


class Bench:
    """Points that are measured one after another on the same workers, as long as these are enough."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self.n_workers = 0

    def measure(self, point: Point, seconds: float) -> Found:
        """Measure a point: every worker runs one episode with as many chunks as take about ``seconds``."""
        if self.n_workers < point.workers:
            self._start_workers(point)
        n_chunks = point.chunks_each(seconds)
        policy = DelayPolicy(point.device, point.chunk, point.batch)
        self._run(point.workers, n_chunks * point.chunk, policy).close_inference()
        return _steady(policy.passes)

    def _start_workers(self, point: Point) -> None:
        """Start new workers in an evaluation that is long enough for all of them to be started."""
        self.close()
        self._engine = None
        engine = self._run(point.workers, _STARTING_STEPS, DelayPolicy(DEVICES["seed"], 10, point.batch))
        engine.close_inference()
        self.n_workers = engine.workers.n_running
        if self.n_workers < point.workers:
            raise RuntimeError(f"{self.n_workers} workers were started, not {point.workers}: they keep the cores busy.")

    def _run(self, workers: int, n_steps: int, policy: DelayPolicy) -> Engine:
        task = Task("delays", 0, "wait", "", n_steps)
        setup = EngineSetup(
            DELAY_BENCHMARK, ENV, {task.key: task}, None, EngineOptions(), workers, cores=usable_cores()
        )
        specs = [EpisodeSpec("delays", 0, index, index) for index in range(workers)]
        self._engine = Engine(setup, specs, policy, workers=self._engine.workers if self._engine is not None else None)
        self._engine.run(lambda *_: None)
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


# --------------------------------------------------------------------------------------- from passes to a throughput


def _steady(passes: Sequence[Pass]) -> Found:
    """Return the measurement from the passes after the warm-up and before the first worker has no work left.

    Chunks per second are the sum of the workers' own rates, each between its first and its last chunk in that time, so
    that the position of the time's begin and end within a chunk does not matter.
    """
    ended: dict[EpisodeSpec, list[float]] = {}
    for one in passes:
        for episode in one.episodes:
            ended.setdefault(episode, []).append(one.ended)
    last = min(times[-1] for times in ended.values())
    first = max(times[0] for times in ended.values())
    since = first + WARM * (last - first)
    looked_at = [one for one in passes if since <= one.began and one.ended <= last]
    busy = sum(one.ended - one.began for one in looked_at)
    rows = sum(len(one.episodes) for one in looked_at)
    within = ([t for t in times if since <= t <= last] for times in ended.values())
    per_s = sum((len(times) - 1) / (times[-1] - times[0]) for times in within)
    return Found(per_s, busy / (last - since), rows / len(looked_at))


# ------------------------------------------------------------------------------------------------ without any overhead


def reachable(point: Point, seconds: float, *, padded: bool) -> float:
    """Return the chunks per second of the best rule "start a pass as soon as k wait"."""
    ks = {round(k) for k in np.geomspace(1, min(point.batch, point.workers), 8)}
    return max(_steady(simulate(point, k, point.chunks_each(seconds), padded=padded)).per_s for k in ks)


def simulate(point: Point, k: int, n_chunks: int, *, padded: bool) -> list[Pass]:
    """Return the passes of a run in which only steps and passes take time; a pass starts as soon as ``k`` wait.

    A pass starts with fewer if no other observation is to come.
    """
    generator = np.random.default_rng(0)
    thinks = [
        step_seconds(CONFIG, generator, (n_chunks, point.chunk)).sum(axis=1).tolist() for _ in range(point.workers)
    ]
    specs = [EpisodeSpec("delays", 0, index, index) for index in range(point.workers)]
    arrivals = [(0.0, index) for index in range(point.workers)]
    waiting: deque[int] = deque()
    passes: list[Pass] = []
    free_at = 0.0
    while arrivals or waiting:
        now = free_at
        while arrivals and (arrivals[0][0] <= now or len(waiting) < k):
            moment, index = heapq.heappop(arrivals)
            now = max(now, moment)
            waiting.append(index)
        rows = [waiting.popleft() for _ in range(min(point.batch, len(waiting)))]
        free_at = now + point.device.seconds(point.batch if padded else len(rows))
        passes.append(Pass(now, free_at, tuple(specs[index] for index in rows)))
        for index in rows:
            if thinks[index]:
                heapq.heappush(arrivals, (free_at + thinks[index].pop(), index))
    return passes


def lockstep(point: Point) -> Found:
    """Return the rate of a loop in which every step waits for all environments, and one pass infers for all."""
    steps = step_seconds(CONFIG, np.random.default_rng(0), (10_000, point.workers)).max(axis=1)
    infers = point.device.seconds(point.workers)
    cycle = infers + point.chunk * float(steps.mean())
    return Found(point.workers / cycle, infers / cycle, point.workers)


if __name__ == "__main__":
    main()
