"""Measure building LIBERO's simulators: what each worker does anew, and what it finds done by another one.

    python bench/construction.py [scenes] [run] [--before CHECKOUT] [--pairs 3] [--suites libero_spatial libero_object]
                                 [--steps 50] [--workers 2]

``scenes``: a process is forked from one that has built the first task of a suite, as Proctor's workers are, and builds
the second and the third task, with an empty cache of scenes and then with the filled one. The script prints CPU seconds
of building, of the GL context and of a first look, and the private memory in MB after that look.

``run``: ``proctor eval`` of a small SmolVLA on the ten tasks of libero_spatial, one episode of ``--steps`` steps each.
The script prints the share of the workers' time that goes into building simulators, with no cache of scenes, with an
empty and with a filled one.

``--before`` names a checkout of Proctor that is measured in the same pairs, such as the version before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import CACHE, machine

HERE = Path(__file__).parents[1]
CACHE_VARIABLE = "PROCTOR_SCENE_CACHE"
COLUMNS = {"build s": "build", "GL s": "context", "look s": "look", "private MB": "private_mb"}


def libero_smolvla() -> Path:
    """Return a small SmolVLA for LIBERO, made once."""
    from checkpoint_makers.checkpoints import Robot
    from checkpoint_makers.vla_checkpoints import make_smolvla

    directory = CACHE / "smolvla_libero"
    if not (directory / "config.json").exists():
        cameras = dict.fromkeys(("observation.images.image", "observation.images.image2"), (256, 256))
        span = (-1.0, 1.0)
        make_smolvla(directory, Robot(cameras=cameras, state_dim=8, state=span, action_dim=7, action=span))
    return directory


def environment(source: Path, scenes: str) -> dict[str, str]:
    """Return the environment in which a checkout of Proctor runs with a cache of scenes."""
    threads = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "0"}  # as in Proctor's workers
    return {**os.environ, **threads, "PYTHONPATH": str(source / "src"), CACHE_VARIABLE: scenes}


@contextmanager
def caches() -> Iterator[str]:
    """Make an empty folder that only the user can enter, and remove it."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def built_here(suite: str) -> list[dict[str, float]]:
    """Build the first task in this process, and the next two in a fork of it; return the costs of those two."""
    from proctor.evaluation.components import make_benchmark

    benchmark, _ = make_benchmark({"type": "libero", "task": suite, "task_ids": [0, 1, 2]})
    benchmark.preload()
    reading, writing = os.pipe()
    if not os.fork():
        costs, env = [], None
        for task in benchmark.tasks()[1:]:
            cost, env = built_after(env, benchmark, task)
            costs.append(cost)
        os.write(writing, json.dumps(costs).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as costs_of_fork:
        found: list[dict[str, float]] = json.load(costs_of_fork)
    return found


def built_after(env: Any, benchmark: Any, task: Any) -> tuple[dict[str, float], Any]:
    """Build a task's simulator in place of ``env``, as a worker does; return its costs and the simulator."""
    from proctor.testing.episodes import private_memory_mb

    began = process_time()
    if env is not None:
        getattr(benchmark, "keep_parts", lambda _: None)(env)  # versions before had no such method
        env.close()
    env = benchmark.make_env(task)
    built = process_time()
    env.prepare_to_look()
    ready = process_time()
    env.reset(0, 0, look=True)
    cost = {"build": built - began, "context": ready - built, "look": process_time() - ready}
    return {**cost, "private_mb": float(private_memory_mb() or 0)}, env


def measure_scenes(source: Path, suite: str, scenes: str) -> list[dict[str, float]]:
    """Return what :func:`built_here` returns, from a process of a checkout."""
    command = [sys.executable, __file__, "--here", suite]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment(source, scenes))
    found: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_scenes(options: argparse.Namespace) -> None:
    print(f"\n{'':44}", *(f"{head:>10}" for head in COLUMNS))
    for suite in options.suites:
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(options.pairs):
            if options.before:
                add(found, f"{suite}, before", measure_scenes(options.before, suite, "off"))
            with caches() as scenes:
                for state in ("empty cache", "filled cache"):
                    add(found, f"{suite}, {state}", measure_scenes(HERE, suite, scenes))
        for name, costs in found.items():
            medians = [statistics.median(cost[key] for cost in costs) for key in COLUMNS.values()]
            print(f"{name:44}", *(f"{value:10.2f}" for value in medians), flush=True)


def add(found: dict[str, list[dict[str, float]]], name: str, costs: list[dict[str, float]]) -> None:
    for place, cost in zip(("second", "third"), costs, strict=True):
        found.setdefault(f"{name}, {place} task", []).append(cost)


def share_of_construction(source: Path, options: argparse.Namespace, scenes: str) -> float:
    """Return the share of the workers' time that a run spends on building simulators."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "policy.path": libero_smolvla(),
            "policy.device": "cpu",
            "env.type": "libero",
            "env.task": "libero_spatial",
            "env.episode_length": options.steps,
            "eval.n_episodes": 1,
            "eval.batch_size": options.workers,
            "eval.video": "none",
            "eval.display": "none",
            "output_dir": f"{folder}/run",
        }
        run = [sys.executable, "-P", "-m", "proctor"]
        command = [*run, "eval", *(f"--{name}={value}" for name, value in flags.items())]
        surroundings = environment(source, scenes)
        subprocess.run(command, check=True, capture_output=True, env=surroundings)
        shown = subprocess.run(
            [*run, "profile", f"{folder}/run", "--json"], check=True, capture_output=True, text=True, env=surroundings
        )
    profile = json.loads(shown.stdout)
    share: float = profile["total"]["construct"] / profile["worker_s"]
    print(f"    {source.name}, {scenes}: {share:.1%} of {profile['worker_s']:.1f} s", flush=True)
    return share


def print_run(options: argparse.Namespace) -> None:
    shares: dict[str, list[float]] = {}
    for _ in range(options.pairs):
        if options.before:
            shares.setdefault("before", []).append(share_of_construction(options.before, options, "off"))
        shares.setdefault("no cache", []).append(share_of_construction(HERE, options, "off"))
        with caches() as scenes:
            for state in ("empty cache", "filled cache"):
                shares.setdefault(state, []).append(share_of_construction(HERE, options, scenes))
    print("\nshare of the workers' time that goes into building simulators")
    for name, values in shares.items():
        print(f"{name:14} {statistics.median(values):6.1%} ({min(values):.1%} to {max(values):.1%})")


PARTS = {"scenes": print_scenes, "run": print_run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; the default is all")
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--suites", nargs="+", default=["libero_spatial", "libero_object"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print("\n" + json.dumps(built_here(options.here)))
        return
    print(machine())
    for part in options.parts or PARTS:
        PARTS[part](options)


if __name__ == "__main__":
    main()
