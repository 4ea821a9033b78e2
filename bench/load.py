"""Measure what more workers than cores cost: no number of workers should be slower than the best smaller one.

    python bench/load.py [cartpole] [pusht] [few] [libero] [--workers 2 4 8 16 32 64 128] [--repeats 3]

cartpole: many short episodes of a random policy. pusht: episodes of 300 steps of one. few: ten episodes, whatever the
number of workers. libero: episodes of 100 steps of the ten tasks of libero_spatial, if LIBERO is installed; a number of
workers that does not fit into the memory is refused. Start-up counts. Each number of workers runs once in each repeat,
in turn. The ratio is the time divided by that of the best smaller number in the same repeat. The median over the
repeats is shown, and the same of the CPU time of all processes, which hardly depends on what else runs. Fewer workers
than are allowed may have been started; the largest number in any repeat is shown.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import CACHE, machine

from proctor import evaluate

CARTPOLE: dict[str, Any] = {"type": "gymnasium", "task": "CartPole-v1"}
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "cartpole": (CARTPOLE, 10_000),
    "pusht": ({"type": "pusht"}, 200),
    "few": (CARTPOLE, 10),
    "libero": ({"type": "libero", "task": "libero_spatial", "episode_length": 100}, 8),
}


class Cost(NamedTuple):
    """Seconds that passed, and seconds of the CPU of this process and its workers, of which so many were started."""

    wall: float
    cpu: float
    n_started: int = 0


def cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def cost(env: dict[str, Any], n_episodes: int, workers: int) -> Cost:
    """Return the cost of a whole evaluation, start-up included."""
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        began, cpu = perf_counter(), cpu_seconds()
        done = evaluate(
            {"type": "random"}, env, n_episodes=n_episodes, batch_size=workers, output_dir=f"{directory}/run"
        )
        seconds = perf_counter() - began, cpu_seconds() - cpu
        return Cost(*seconds, round((done.summary.worker_s or 0.0) / (done.summary.wall_s or 1.0)))


def against_best_smaller(costs: list[Cost]) -> list[Cost]:
    """Divide each cost by the least of those before it."""
    ratios = [Cost(1.0, 1.0)]
    for position, each in enumerate(costs[1:], start=1):
        best = (min(column) for column in zip(*costs[:position], strict=True))
        ratios.append(Cost(*(value / least for value, least in zip(each[:2], best, strict=False))))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"any of {', '.join(CASES)}; the default is all")
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the episodes")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"there is no case {', '.join(unknown)}; choose from {', '.join(CASES)}")
    CACHE.mkdir(exist_ok=True)
    print(machine())
    for name in options.cases or CASES:
        env, n = CASES[name]
        n_episodes = n if name == "few" else int(n * options.scale)
        cost(env, 4, 2)  # imports
        repeats = [[cost(env, n_episodes, workers) for workers in options.workers] for _ in range(options.repeats)]
        ratios = [against_best_smaller(costs) for costs in repeats]
        for position, workers in enumerate(options.workers):
            wall, cpu = (statistics.median(each[position][part] for each in ratios) for part in (0, 1))
            seconds = statistics.median(costs[position].wall for costs in repeats)
            n_started = max(costs[position].n_started for costs in repeats)
            print(
                f"{name}: {n_episodes} episodes, {workers:3} workers, {n_started:3} started: {seconds:6.2f} s, "
                f"{wall:.2f} x the best smaller number (CPU {cpu:.2f} x)",
                flush=True,
            )


if __name__ == "__main__":
    main()
