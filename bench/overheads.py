"""What the engine itself costs: simulators and a policy that cost nothing, so every microsecond is ours.

    python bench/overheads.py [--workers 4] [--chunks 20000] [--repeats 5]

Two chunk lengths on the same plan; the difference of their times gives the cost of a step inside a chunk, the rest is
the cost of a chunk: an observation to the policy, a chunk of actions to the simulator. A share of the machine's time,
so nothing else should be running; medians of repeats in turn.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
from contextlib import closing
from pathlib import Path
from time import perf_counter

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import machine
from null import NULL_BENCHMARK, NullPolicy

from proctor.config import EvalConfig
from proctor.engine import Engine, EngineSetup
from proctor.engine.plan import plan_episodes, plan_tasks
from proctor.job import make_benchmark
from proctor.types import EpisodeSpec

CHUNKS_PER_EPISODE = 10


def plan(n_chunks: int, n_action_steps: int, workers: int, image_size: int) -> tuple[EngineSetup, list[EpisodeSpec]]:
    env = {"type": NULL_BENCHMARK, "steps": CHUNKS_PER_EPISODE * n_action_steps, "image_size": image_size}
    benchmark, address = make_benchmark(env)
    tasks = plan_tasks(benchmark)
    setup = EngineSetup(address, env, {task.key: task for task in tasks}, None, EvalConfig(), workers)
    return setup, plan_episodes(benchmark, tasks, n_chunks // CHUNKS_PER_EPISODE, 0)


def seconds(n_chunks: int, n_action_steps: int, workers: int, image_size: int = 0) -> float:
    """From the first result, when all workers are up, to the last."""
    setup, specs = plan(n_chunks, n_action_steps, workers, image_size)
    times: list[float] = []
    with closing(Engine(setup, specs, NullPolicy(n_action_steps, batch_size=workers))) as engine:
        engine.run(lambda *_: times.append(perf_counter()))
    skipped = len(times) // 10
    return (times[-1] - times[skipped]) * len(times) / (len(times) - 1 - skipped)


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--chunks", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    chunks, per_chunk, per_step, with_image = options.chunks, [], [], []
    for _ in range(options.repeats):
        short = seconds(chunks, 1, options.workers) / chunks
        long = seconds(chunks // 5, 101, options.workers) / (chunks // 5)
        image = seconds(chunks // 5, 1, options.workers, image_size=224) / (chunks // 5)
        per_step.append((long - short) / 100)
        per_chunk.append(short - per_step[-1])
        with_image.append(image - short)
    for name, found in (
        ("per chunk", per_chunk),
        ("per step inside a chunk", per_step),
        ("more per chunk with an image of 224x224", with_image),
    ):
        low, middle, high = (1e6 * value for value in (min(found), statistics.median(found), max(found)))
        print(f"{name}: {middle:.1f} us ({low:.1f}-{high:.1f})")
    print(f"{1 / statistics.median(per_chunk):.0f} chunks/s with {options.workers} workers; {memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
