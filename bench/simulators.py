"""Measure the cost of each simulator: construct, reset, step, look, and memory, each in a process of its own.

    python bench/simulators.py [--steps 50] [--looks 10] [--resets 5] [pusht aloha metaworld libero maniskill …]

Results are medians. Steps have random actions and are not rendered. "engine" is the part of a reset or of a step that
the physics engine's own functions take: MuJoCo's, and in PushT ``Space.step`` of pymunk. It is measured with a clock
around each call, in further resets and steps; what is left is Python (for LIBERO: ``libero_step.py``). A look is the
additional time of a step with an observation: rendering the policy's cameras. LIBERO's reset includes the ten steps in
which objects settle; ``libero (its own code)`` is LIBERO's own reset and step without rendering that is not requested:
Proctor uses it with versions for which its fast simulator was not compared. ManiSkill's construction includes its first
image, for which it compiles its shaders. Memory is private to the process, after a look: once for a process that
imported and built everything itself, and once for a worker, which was forked from one that had.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from pkgutil import resolve_name
from time import perf_counter
from typing import Any
from unittest.mock import patch

os.environ.setdefault("MUJOCO_GL", "egl")

from proctor.benchmarks.base import Benchmark

VULKAN = Path(__file__).parents[1] / ".cache" / "vulkan" / "lvp_icd.json"
"""What ``tools/vulkan_driver`` has put there."""

OWN_CODE = "libero (its own code)"
FIELDS: dict[str, dict[str, Any]] = {
    "pusht": {"type": "pusht"},
    "aloha": {"type": "aloha"},
    "metaworld": {"type": "metaworld", "task": "reach-v3"},
    "metaworld push-v3": {"type": "metaworld", "task": "push-v3"},
    "metaworld door-open-v3": {"type": "metaworld", "task": "door-open-v3"},
    "libero": {"type": "libero", "task": "libero_spatial", "task_ids": [0]},
    "robosuite Lift": {"type": "robosuite", "task": "Lift"},
    "robosuite PickPlaceCan": {"type": "robosuite", "task": "PickPlaceCan"},
    "maniskill": {"type": "maniskill", "task": "PickCube-v1"},
    OWN_CODE: {"type": "libero", "task": "libero_spatial", "task_ids": [0]},
}
_MUJOCO = tuple(f"mujoco.mj_{name}" for name in ("step", "step1", "step2", "forward", "rnePostConstraint", "resetData"))
ENGINE = {"metaworld": _MUJOCO, "aloha": _MUJOCO, "pusht": ("pymunk.Space.step",)}
"""The functions of the physics engine that each type of benchmark calls by these names."""
COLUMNS = (
    ("construct s", "construct", 1, 2),
    ("  GL s", "context", 1, 2),
    ("reset ms", "reset", 1000, 2),
    ("engine", "reset_engine", 1000, 2),
    ("step ms", "step", 1000, 3),
    ("engine", "step_engine", 1000, 3),
    ("look ms", "look", 1000, 1),
    ("private MB", "private_mb", 1, 0),
    ("a worker", "worker_mb", 1, 0),
)
"""The heading of each column, the cost that it shows, its factor and its digits."""


def seconds(work: Callable[[], Any]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


@contextmanager
def clocked(functions: Sequence[str]) -> Iterator[list[float]]:
    """Append the seconds of each call of these functions to a list."""
    spent: list[float] = []

    def with_clock(function: Callable[..., Any]) -> Callable[..., Any]:
        def clocked_call(*arguments: Any, **options: Any) -> Any:
            started = perf_counter()
            result = function(*arguments, **options)
            spent.append(perf_counter() - started)
            return result

        return clocked_call

    with ExitStack() as patches:
        for name in functions:
            patches.enter_context(patch(name, with_clock(resolve_name(name))))
        yield spent


def median_in_engine(functions: Sequence[str], works: Sequence[Callable[[], Any]]) -> float:
    """Return the median of the seconds that each work spends in the engine's functions; NaN if they are not known."""
    found = []
    for work in works:
        with clocked(functions) as spent:
            work()
        found.append(sum(spent))
    return statistics.median(found) if functions else math.nan


def private_mb() -> float:
    """Return the memory in MB that no other process shares."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def in_a_fork(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return a function's result from a process forked from this one, so that this process does not touch GL."""
    fork = get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=lambda: theirs.send(work()))
    process.start()
    theirs.close()
    try:
        found: dict[str, float] = ours.recv()
    finally:
        process.join()
    return found


def measure(name: str, n_steps: int, n_looks: int, n_resets: int) -> dict[str, float]:
    """Return one benchmark's costs in seconds and MB."""
    from proctor.benchmarks.libero import simulator as libero_simulator
    from proctor.evaluation.components import make_benchmark

    if name == OWN_CODE:
        libero_simulator.COMPARED.clear()
    benchmark, _ = make_benchmark(FIELDS[name])
    costs = in_a_fork(partial(costs_alone, benchmark, n_steps, n_looks, n_resets))
    benchmark.preload()
    return costs | in_a_fork(partial(memory_of_a_worker, benchmark))


def memory_of_a_worker(benchmark: Benchmark) -> dict[str, float]:
    """Return a worker's memory in MB, measured in this process."""
    task = benchmark.tasks()[0]
    env = benchmark.make_env(task)
    env.prepare_to_look()
    env.reset(0, benchmark.init_state_id(task, 0), look=True)
    return {"worker_mb": private_mb()}


def costs_alone(benchmark: Benchmark, n_steps: int, n_looks: int, n_resets: int) -> dict[str, float]:
    """Return all other costs, measured in this process."""
    task = benchmark.tasks()[0]
    started = perf_counter()
    env = benchmark.make_env(task)
    construct = perf_counter() - started
    context = seconds(env.prepare_to_look)
    init_state = benchmark.init_state_id(task, 0)
    env.reset(0, init_state, look=True)  # the first reset compiles and caches
    env.action_space.seed(0)
    resets = [partial(env.reset, seed, init_state, look=False) for seed in range(n_resets)]
    steps = [partial(env.step, env.action_space.sample(), look=False) for _ in range(n_steps)]
    reset, step = (statistics.median(map(seconds, works)) for works in (resets, steps))
    functions = ENGINE.get(benchmark.name, ())
    in_engine = [median_in_engine(functions, works) for works in (resets, steps)]
    env.reset(0, init_state, look=True)  # an episode that has reached its limit is not drawn any more
    looks = [seconds(lambda: env.step(env.action_space.sample(), look=True)) for _ in range(n_looks)]
    return {
        "construct": construct,
        "context": context,
        "reset": reset,
        "reset_engine": in_engine[0],
        "step": step,
        "step_engine": in_engine[1],
        "look": statistics.median(looks) - step,
        "private_mb": private_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="simulators to measure; the default is all", metavar="name")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--looks", type=int, default=10)
    parser.add_argument("--resets", type=int, default=5)
    parser.add_argument("--here", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args()
    if options.here:
        print("\n" + json.dumps(measure(options.names[0], options.steps, options.looks, options.resets)))
        return
    from common import machine

    print(machine())
    print(" " * 22, *(head for head, *_ in COLUMNS))
    for name in options.names or FIELDS:
        counts = [f"--{what}={getattr(options, what)}" for what in ("steps", "looks", "resets")]
        command = [sys.executable, __file__, name, *counts, "--here"]
        environment = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "0", **os.environ}  # as in Proctor's workers
        if VULKAN.exists():
            environment.setdefault("VK_DRIVER_FILES", str(VULKAN))
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        cost = json.loads(done.stdout.splitlines()[-1])
        values = (f"{cost[key] * factor:{len(head)}.{n}f}" for head, key, factor, n in COLUMNS)
        print(f"{name:22}", *values, flush=True)


if __name__ == "__main__":
    main()
