"""Measure the cost of the engine itself, with simulators and a policy that cost nothing.

    python bench/overheads.py [chunks] [growth] [journal] [trace] [--workers 4] [--chunks 20000] [--episodes 100000]

chunks: two chunk lengths run on the same plan. The difference of their times gives the cost of a step inside a chunk;
the rest is the cost of a chunk, that is an observation to the policy and a chunk of actions to the simulator. growth:
memory, descriptors and the time of an episode are measured over many episodes. journal: the cost of storing an episode
on disk. trace: the additional cost of a chunk with ``--eval.trace``. Results are shares of the machine's time, so
nothing else should run; they are medians of repeats in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import CACHE, descendants, machine, proportional_mb
from null import NULL_BENCHMARK, NullPolicy

from proctor.engine import Engine, EngineOptions, EngineSetup
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.evaluation.components import make_benchmark
from proctor.results.run_dir import RunDirectory
from proctor.types import Array, EpisodeResult, EpisodeSpec, Outcome

CHUNKS_PER_EPISODE = 10
SAMPLES = 10


def plan(n_episodes: int, n_steps: int, workers: int, image_size: int = 0) -> tuple[EngineSetup, list[EpisodeSpec]]:
    env = {"type": NULL_BENCHMARK, "steps": n_steps, "image_size": image_size}
    benchmark, address = make_benchmark(env)
    tasks = plan_tasks(benchmark)
    setup = EngineSetup(address, env, {task.key: task for task in tasks}, None, EngineOptions(), workers)
    return setup, plan_episodes(benchmark, tasks, n_episodes, 0)


class Cost(NamedTuple):
    """Seconds that passed, and seconds of the main process's CPU."""

    wall: float
    cpu: float


def cost(n_chunks: int, n_action_steps: int, workers: int, image_size: int = 0, trace: Path | None = None) -> Cost:
    """Return the cost per chunk, from the first tenth of the results, when all workers are ready, to the last."""
    setup, specs = plan(n_chunks // CHUNKS_PER_EPISODE, CHUNKS_PER_EPISODE * n_action_steps, workers, image_size)
    times: list[Cost] = []
    with closing(Engine(replace(setup, trace=trace), specs, NullPolicy(n_action_steps, batch_size=workers))) as engine:
        engine.run(lambda *_: times.append(Cost(perf_counter(), process_time())))
    skipped = len(times) // 10
    n = CHUNKS_PER_EPISODE * (len(times) - 1 - skipped)
    return Cost(*((last - first) / n for first, last in zip(times[skipped], times[-1], strict=True)))


def chunks(options: argparse.Namespace) -> None:
    """Measure the cost of a chunk, of a step inside it, and of an image in an observation."""
    n, per_chunk, cpu, per_step, with_image = options.chunks, [], [], [], []
    for _ in range(options.repeats):
        short = cost(n, 1, options.workers)
        long = cost(n // 5, 101, options.workers)
        image = cost(n // 5, 1, options.workers, image_size=224)
        per_step.append((long.wall - short.wall) / 100)
        per_chunk.append(short.wall - per_step[-1])
        cpu.append(short.cpu)
        with_image.append(image.wall - short.wall)
    spread("per chunk", per_chunk)
    spread("of the main process's CPU, per chunk", cpu)
    spread("per step inside a chunk", per_step)
    spread("more per chunk with an image of 224x224", with_image)
    print(f"{1 / statistics.median(per_chunk):.0f} chunks/s with {options.workers} workers")


class Sample(NamedTuple):
    """Memory, descriptors and time after a part of the episodes."""

    at: float
    main_mb: float
    workers_mb: float
    descriptors: int

    @classmethod
    def now(cls) -> Sample:
        workers = sum(map(proportional_mb, descendants(os.getpid())))
        return cls(
            perf_counter(), proportional_mb(os.getpid()), workers, sum(1 for _ in Path("/proc/self/fd").iterdir())
        )


def growth(options: argparse.Namespace) -> None:
    """Measure memory, descriptors and time per episode for every tenth of many episodes of one step."""
    setup, specs = plan(options.episodes, 1, options.workers)
    each = options.episodes // SAMPLES
    samples: list[Sample] = []
    n_done = 0

    def on_result(*_: object) -> None:
        nonlocal n_done
        n_done += 1
        if n_done % each == 0:
            samples.append(Sample.now())

    with closing(Engine(setup, specs, NullPolicy(1, batch_size=options.workers))) as engine:
        began = perf_counter()
        engine.run(on_result)
    ends = [began, *(sample.at for sample in samples)]
    print(f"{options.episodes} episodes of one step, a line for each tenth:")
    for sample, before in zip(samples, ends, strict=False):
        print(
            f"  {1e6 * (sample.at - before) / each:6.1f} us an episode, {sample.main_mb:6.1f} MB in the main process, "
            f"{sample.workers_mb:6.1f} MB in the workers, {sample.descriptors} descriptors"
        )


def journal(options: argparse.Namespace) -> None:
    """Measure the cost of storing an episode of 100 steps with its actions: encoded, written, synced."""
    CACHE.mkdir(exist_ok=True)
    actions = np.zeros((100, 4), np.float32)
    found, encoded = [], []
    for _ in range(options.repeats):
        found.append(append_seconds(CACHE, actions))
        encoded.append(append_seconds(Path("/dev/shm"), actions))
    spread("journal, per episode, on this disk", found)
    spread("journal, per episode, in memory", encoded)


def append_seconds(folder: Path, actions: Array, n: int = 1000) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as directory, RunDirectory(Path(directory)).open_journal({}) as writer:
        results = [EpisodeResult(EpisodeSpec("null", 0, i, i), Outcome.FAILURE, 0.0, 0.0, 100, 10) for i in range(n)]
        began = perf_counter()
        for result in results:
            writer.append(result, {"actions": actions})
        return (perf_counter() - began) / n


def trace(options: argparse.Namespace) -> None:
    """Measure the additional cost of a chunk with a trace."""
    n, added = options.chunks // 2, list[float]()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            without = cost(n, 1, options.workers)
            added.append(cost(n, 1, options.workers, trace=Path(folder) / "trace.json").cpu - without.cpu)
    spread("more of the main process's CPU per chunk with a trace", added)


def spread(name: str, found: Sequence[float]) -> None:
    low, middle, high = (1e6 * value for value in (min(found), statistics.median(found), max(found)))
    print(f"{name}: {middle:.1f} us ({low:.1f}-{high:.1f})", flush=True)


PARTS = {"chunks": chunks, "growth": growth, "journal": journal, "trace": trace}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; the default is all")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--chunks", type=int, default=20000)
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    print(machine())
    for name, part in PARTS.items():
        if not options.parts or name in options.parts:
            part(options)


if __name__ == "__main__":
    main()
