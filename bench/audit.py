"""Measure what the input audit costs: pairs of runs with and without it, and the time that its own code takes.

    python bench/audit.py [metaworld] [pusht] [--episodes 8] [--pairs 3]

metaworld: the bundled ACT, which looks at every tenth step. pusht: a small ACT that looks at every step. Of each pair
the ratio of wall times is printed, for which nothing else may run on the machine. The other number needs no quiet
machine: the CPU time of the audit's own code, as a share of the CPU time of the run and its workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any, NamedTuple

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import CACHE, loaded, machine

import proctor
from proctor.engine.input_sketch import InputRecorder
from proctor.evaluation import run as run_module

BUNDLED = Path(__file__).parents[1] / "examples" / "metaworld_act"


def metaworld() -> tuple[Any, dict[str, Any]]:
    policy = loaded({"path": str(BUNDLED), "n_action_steps": 10, "device": "cpu"})
    return policy, {"type": "metaworld", "task": "reach-v3", "episode_length": 200}


def pusht() -> tuple[Any, dict[str, Any]]:
    from checkpoint_makers.checkpoints import make_act

    folder = CACHE / "audit_act"
    if not folder.exists():
        make_act(folder, chunk_size=10, n_action_steps=1)
    return loaded({"path": str(folder), "device": "cpu"}), {"type": "pusht", "episode_length": 100}


class Stopwatch:
    """Adds up the CPU seconds of the thread that calls timed functions."""

    seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            began = thread_time()
            try:
                return function(*args, **named)
            finally:
                self.seconds += thread_time() - began

        return call


@contextmanager
def timing() -> Iterator[Stopwatch]:
    """Time everything that the audit does in this process."""
    watch = Stopwatch()
    names = vars(run_module)
    usual = InputRecorder.look, InputRecorder.arrays, names["keep_audit"]
    InputRecorder.look = watch.timed(InputRecorder.look)  # type: ignore[method-assign]
    InputRecorder.arrays = watch.timed(InputRecorder.arrays)  # type: ignore[method-assign]
    names["keep_audit"] = watch.timed(names["keep_audit"])
    try:
        yield watch
    finally:
        InputRecorder.look, InputRecorder.arrays = usual[:2]  # type: ignore[method-assign]
        names["keep_audit"] = usual[2]


class Cost(NamedTuple):
    """Seconds that passed, and seconds of CPU of this process and its workers."""

    wall: float
    cpu: float


def cost(policy: Any, env: dict[str, Any], n_episodes: int, *, audit: bool) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        began, before = perf_counter(), sum(os.times()[:4])
        proctor.evaluate(policy, env, n_episodes=n_episodes, output_dir=Path(folder) / "run", audit=audit)
        return Cost(perf_counter() - began, sum(os.times()[:4]) - before)


KINDS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {"metaworld": metaworld, "pusht": pusht}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"any of {', '.join(KINDS)}; the default is all")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    for kind in options.kinds or KINDS:
        policy, env = KINDS[kind]()
        ratios, shares = [], []
        for _ in range(options.pairs):
            without = cost(policy, env, options.episodes, audit=False)
            with timing() as watch:
                with_it = cost(policy, env, options.episodes, audit=True)
            ratios.append(with_it.wall / without.wall)
            shares.append(watch.seconds / with_it.cpu)
            print(f"{kind}: {with_it.wall:.2f} s with the audit, {without.wall:.2f} s without", flush=True)
        print(
            f"{kind}: ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}); "
            f"the audit's own code took {statistics.median(shares):.2%} of the CPU time "
            f"({min(shares):.2%}-{max(shares):.2%})",
            flush=True,
        )


if __name__ == "__main__":
    main()
