"""The share of the ideal that the engine reaches: only necessary work, on all cores, without a gap.

    python bench/ideal.py [--task reach-v3] [--n-action-steps 10] [--episodes 12] [--steps 100]

First the bare cost of a reset, a physics step, a look and an inference is measured here, one at a time on one core.
Then the engine runs the evaluation with its defaults, the policy loaded and a simulator built beforehand. The ideal is
the sum of the necessary work divided by the cores. A share, not a time: both sides are measured in the same minute on
the same machine, which nothing else should be using.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # as in a worker
sys.path.insert(0, str(Path(__file__).parent))
from cases import metaworld_act
from common import loaded, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="reach-v3")
    parser.add_argument("--n-action-steps", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    policy = loaded({"path": str(metaworld_act()), "n_action_steps": options.n_action_steps, "device": "cpu"})
    print(machine())
    shares = [share(policy, options) for _ in range(options.repeats)]
    print(f"share of the ideal: median {statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})")


def share(policy: Any, options: argparse.Namespace) -> float:
    from proctor import evaluate

    cost = bare_costs(policy, options.task)
    env = {"type": "metaworld", "task": options.task, "episode_length": options.steps}
    with tempfile.TemporaryDirectory() as folder:
        info = evaluate(policy, env, n_episodes=options.episodes, output_dir=folder).info
    episodes = info["per_episode"]
    n_steps, n_looks = sum(e["length"] for e in episodes), sum(e["n_looks"] for e in episodes)
    needed = sum(-(-e["length"] // options.n_action_steps) for e in episodes)
    if n_looks != needed:
        raise SystemExit(f"{n_looks} looks were made, {needed} were needed")
    cores = len(os.sched_getaffinity(0))
    workers = sum(e["timings"]["construct"] > 0 for e in episodes)
    work = len(episodes) * cost["reset"] + n_steps * cost["step"] + n_looks * (cost["look"] + cost["inference"])
    took: float = info["overall"]["eval_s"] - info["overall"]["startup_s"]
    print(
        f"bare ms: {', '.join(f'{name} {1000 * s:.2f}' for name, s in cost.items())};  {len(episodes)} resets, "
        f"{n_steps} steps, {n_looks} looks (all needed), {workers} workers;  ideal {work / cores:.2f} s, "
        f"engine {took:.2f} s, share {work / cores / took:.1%}",
        flush=True,
    )
    return float(work / cores / took)


def bare_costs(policy: Any, task_name: str) -> dict[str, float]:
    """Median seconds of each kind of work, alone on one core."""
    import numpy as np

    from proctor.job import make_benchmark
    from proctor.policies.base import EpisodeMemory
    from proctor.streams import RandomStream
    from proctor.types import EpisodeSpec, Observation

    benchmark, _ = make_benchmark({"type": "metaworld", "task": task_name})
    (task,) = benchmark.tasks()
    env = benchmark.make_env(task)
    action = np.zeros(4, np.float32)
    reset = _median(lambda: env.reset(1, None, look=False), 20)
    step = _median(lambda: env.step(action, look=False), 100)
    seen = env.reset(1, None, look=True)
    look = _median(lambda: env.step(action, look=True), 10) - step
    assert seen is not None
    observation = Observation({key: array[np.newaxis] for key, array in seen.items()}, task.instruction)
    memory = EpisodeMemory(RandomStream(EpisodeSpec("bench", 0, 0, 0)))
    inference = _median(lambda: policy.predict([observation], [memory]), 10)
    env.close()
    return {"reset": reset, "step": step, "look": look, "inference": inference}


def _median(work: Callable[[], Any], times: int) -> float:
    work()
    seconds = []
    for _ in range(times):
        began = perf_counter()
        work()
        seconds.append(perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
