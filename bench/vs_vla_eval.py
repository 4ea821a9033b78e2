"""Compare Proctor with ``vla-eval`` on PushT: the same ACT checkpoint, simulator and seeds.

    pip install vla-eval        (this script was written for 0.8.0; nothing else here needs it)
    python bench/vs_vla_eval.py [--episodes 20] [--steps 300] [--pairs 3]

vla-eval has no PushT, so the benchmark and the model server below are Proctor's, as short as its interfaces allow, with
Proctor's own simulator and policy. vla-eval runs in one process, in its synchronous mode and without its recording; the
server returns a chunk, which it executes action by action, and each time it sends an observation to the server. Times
are from the first episode to the last result, with the policy loaded and the simulator built on both sides. Results are
medians of alternating pairs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
from cases import CASES, Case
from common import loaded, machine
from vla_eval.api import evaluate
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.model_servers.predict import PredictModelServer
from vs_vector_env import proctor_seconds

from proctor.compat.vector_env import SimGymEnv
from proctor.engine.plan import plan_tasks
from proctor.evaluation.components import make_benchmark
from proctor.policies.base import EpisodeMemory, Policy
from proctor.streams import RandomStream
from proctor.types import EpisodeSpec, Observation

KEYS = {"image": "observation.image", "state": "observation.state"}


class PushT(StepBenchmark):  # type: ignore[misc]
    """PushT, rendered at every step; ``finished`` has the sum of rewards and the end time of each episode."""

    finished: list[tuple[float, float]]
    began: float

    def __init__(self, steps: int) -> None:
        super().__init__()
        benchmark, _ = make_benchmark({"type": "pusht", "episode_length": steps})
        (task,) = plan_tasks(benchmark)
        self._env = SimGymEnv(benchmark, task)
        self._sum = 0.0
        PushT.finished, PushT.began = [], perf_counter()

    def get_tasks(self) -> list[dict[str, Any]]:
        return [{"name": "pusht"}]

    def reset(self, task: dict[str, Any]) -> Any:
        self._sum = 0.0
        return self._env.reset(seed=1000 + task["episode_idx"])[0]

    def step(self, action: dict[str, Any]) -> StepResult:
        seen, reward, terminated, truncated, info = self._env.step(np.asarray(action["actions"], np.float32))
        self._sum += reward
        return StepResult(seen, reward, terminated or truncated, info)

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        return {"images": {"image": raw_obs[KEYS["image"]]}, "states": raw_obs[KEYS["state"]], "task_description": ""}

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        PushT.finished.append((self._sum, perf_counter()))
        return {"success": bool(step_result.info["is_success"])}

    def get_action_spec(self) -> dict[str, Any]:
        return {}

    def get_observation_spec(self) -> dict[str, Any]:
        return {}


class Server(PredictModelServer):  # type: ignore[misc]
    """A model server with the policy, which receives one observation at a time."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(chunk_size=policy.n_action_steps)
        self._policy = policy

    def get_action_spec(self) -> dict[str, Any]:
        return {}

    def get_observation_spec(self) -> dict[str, Any]:
        return {}

    def predict(self, obs: dict[str, Any], ctx: Any) -> dict[str, Any]:
        arrays = {KEYS["image"]: obs["images"]["image"], KEYS["state"]: obs["states"]}
        seen = Observation({key: np.asarray(array)[np.newaxis] for key, array in arrays.items()})
        memory = EpisodeMemory(RandomStream(EpisodeSpec("pusht", 0, 0, 0)))
        (chunk,) = self._policy.predict([seen], [memory])
        return {"actions": chunk[: self._policy.n_action_steps]}


def peer_seconds(policy: Policy, case: Case) -> tuple[float, list[float]]:
    """Return the seconds of the measurement, and the sums of rewards."""
    import torch

    entry: dict[str, Any] = {"benchmark": f"{__name__}:PushT", "mode": "sync", "params": {"steps": case.steps}}
    entry |= {"episodes_per_task": case.episodes, "max_steps": case.steps}
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    evaluate(Server(policy), {"benchmarks": [entry]}, no_save=True)
    torch.set_num_threads(1)
    return PushT.finished[-1][1] - PushT.began, [rewards for rewards, _ in PushT.finished]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    case = replace(CASES["pusht-act"], episodes=options.episodes, steps=options.steps)
    policy = loaded(case.policy_fields())
    ratios = []
    for _ in range(options.pairs):
        (theirs, expected), (ours, rewards) = peer_seconds(policy, case), proctor_seconds(policy, case)
        ratios.append(theirs / ours)
        equal = sum(np.isclose(a, b, rtol=1e-6) for a, b in zip(rewards, expected, strict=True))
        print(
            f"  vla-eval {theirs:.1f} s, Proctor {ours:.2f} s; {equal} of {len(rewards)} sums of rewards equal",
            flush=True,
        )
    print(f"{case}: {statistics.median(ratios):.1f}x ({min(ratios):.1f}-{max(ratios):.1f})")


if __name__ == "__main__":
    main()
