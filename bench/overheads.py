"""Measure the cost of the engine itself, with simulators and a policy that cost nothing.

    python bench/overheads.py [chunks] [growth] [journal] [trace] [short] [--workers 4] [--chunks 20000]

chunks: two chunk lengths run on the same plan. The difference of their times gives the cost of a step inside a chunk;
the rest is the cost of a chunk, that is an observation to the policy and a chunk of actions to the simulator. growth:
memory, descriptors and the time of an episode are measured over many episodes. journal: the cost of storing an episode
on disk, one by one and in groups of a hundred. trace: the additional cost of a chunk with ``--eval.trace``. short: the
time of a CartPole episode in a whole evaluation with two workers, and the share of the workers' time in which they do
not simulate. Results are shares of the machine's time, so nothing else should run; they are medians of repeats in turn.
The script runs with an older Proctor too (``PYTHONPATH``), so that two versions can be compared.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from common import CACHE, descendants, machine, proportional_mb
from null import NULL_BENCHMARK, NullPolicy

from proctor import evaluate
from proctor.engine import Engine, EngineOptions, EngineSetup
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.evaluation.components import make_benchmark
from proctor.results.journal_writer import JournalWriter
from proctor.results.run_dir import RunDirectory
from proctor.types import Array, EpisodeResult, EpisodeSpec, Outcome, pack_arrays

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
    if hasattr(JournalWriter, "sync"):
        groups = [group_seconds(CACHE, actions) for _ in range(options.repeats)]
        spread("journal, per episode, on this disk in groups of 100", groups)


def append_seconds(folder: Path, actions: Array, n: int = 1000) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as directory, RunDirectory(Path(directory)).open_journal({}) as writer:
        results = [EpisodeResult(EpisodeSpec("null", 0, i, i), Outcome.FAILURE, 0.0, 0.0, 100, 10) for i in range(n)]
        began = perf_counter()
        for result in results:
            writer.append(result, pack_arrays({"actions": actions}))
        return (perf_counter() - began) / n


def group_seconds(folder: Path, actions: Array, n: int = 20_000, size: int = 100) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as directory, RunDirectory(Path(directory)).open_journal({}) as writer:
        results = [EpisodeResult(EpisodeSpec("null", 0, i, i), Outcome.FAILURE, 0.0, 0.0, 100, 10) for i in range(n)]
        began = perf_counter()
        for first in range(0, n, size):
            for result in results[first : first + size]:
                writer.add(result, pack_arrays({"actions": actions}))
            writer.sync()
        return (perf_counter() - began) / n


class Short(NamedTuple):
    """An evaluation of short episodes: the seconds from the first reset to the last result, those of the CPU in this
    process and in its workers, and those in which workers simulated.
    """

    wall: float
    cpu: float
    busy: float


def short_episodes(policy: Any, n_episodes: int, workers: int = 2) -> Short:
    def cpu() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    env = {"type": "gymnasium", "task": "CartPole-v1"}
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        before = cpu()
        result = evaluate(policy, env, n_episodes=n_episodes, batch_size=workers, output_dir=f"{directory}/run")
        summary = result.summary
        timings = [episode.timings for episode in summary.episodes]
        busy = sum(each.reset + each.step + each.look for each in timings)
        return Short((summary.wall_s or 0.0) - (summary.startup_s or 0.0), cpu() - before, busy)


def lean(observation: dict[str, Any]) -> Any:
    """Push the cart to the side to which the pole leans."""
    return np.int64(observation["observation.state"].ravel()[2] > 0)


def short(options: argparse.Namespace) -> None:
    """Measure CartPole's episodes: with a policy in the workers, and with one in this process."""
    CACHE.mkdir(exist_ok=True)
    cases: list[tuple[str, Any, int]] = [("random", {"type": "random"}, 20_000), ("a function", lean, 500)]
    for name, policy, n in cases:
        short_episodes(policy, 20)  # imports
        found = []
        for _ in range(options.repeats):
            few, many = short_episodes(policy, n // 10), short_episodes(policy, n)
            found.append(Short(*((last - first) / (n - n // 10) for first, last in zip(few, many, strict=True))))
        spread(f"a CartPole episode, policy: {name}", [each.wall for each in found])
        spread("  its CPU time, all processes", [each.cpu for each in found])
        idle = statistics.median(1 - each.busy / (2 * each.wall) for each in found)
        print(f"  share of the two workers' time in which they do not simulate: {100 * idle:.0f} %", flush=True)


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


PARTS = {"chunks": chunks, "growth": growth, "journal": journal, "trace": trace, "short": short}


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
