"""Compare Proctor with a lockstep loop over ``gymnasium.vector.AsyncVectorEnv``: same simulators, policy and seeds.

    python bench/vs_vector_env.py [CASE…] [--envs 2 4] [--episodes N] [--steps N] [--pairs 3]   (cases: bench/cases.py)

Times are from the first reset to the last result, with simulators built and the policy loaded on both sides. The loop
(``bench/lockstep.py``) infers for all environments in one pass on all cores; it is timed with each number of
environments, and compared at its fastest. Results are medians of alternating pairs; nothing else should run on the
machine.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # as in a worker
sys.path.insert(0, str(Path(__file__).parent))
from cases import Case, case_parser, chosen
from common import loaded, machine
from lockstep import Lockstep, evaluate_in_lockstep

PILOT_STEPS = 12
USUAL = ("pusht-act", "metaworld-10", "metaworld-50")


def in_lockstep(policy: Any, case: Case, n_envs: int) -> Lockstep:
    import torch

    env = {**case.env, "episode_length": case.steps}
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    run = evaluate_in_lockstep(policy, env, case.episodes, n_envs)
    torch.set_num_threads(1)
    return run


def proctor_seconds(policy: Any, case: Case) -> tuple[float, list[float]]:
    """Return the seconds of the measurement, and the sums of rewards."""
    from proctor import evaluate

    env = {**case.env, "episode_length": case.steps}
    with tempfile.TemporaryDirectory() as folder:
        info = evaluate(policy, env, n_episodes=case.episodes, output_dir=folder).info
    seconds = info["overall"]["eval_s"] - info["overall"]["startup_s"]
    return seconds, [episode["sum_reward"] for episode in info["per_episode"]]


def compare(case: Case, numbers: list[int], pairs: int) -> None:
    policy = loaded(case.policy_fields())
    pilot = replace(case, steps=min(PILOT_STEPS, case.steps))
    times = {n: in_lockstep(policy, pilot, n).seconds for n in numbers}
    n_envs = min(times, key=lambda n: times[n])
    ratios, ours, theirs = [], [], []
    for _ in range(pairs):
        lockstep, (seconds, rewards) = in_lockstep(policy, case, n_envs), proctor_seconds(policy, case)
        ratios.append(lockstep.seconds / seconds)
        ours.append(seconds)
        theirs.append(lockstep.seconds)
        equal = sum(abs(a - b) <= 1e-6 * max(1, abs(a)) for a, b in zip(rewards, lockstep.sum_rewards, strict=True))
    print(
        f"{case}; {n_envs} environments in lockstep (of {', '.join(map(str, numbers))} the fastest)\n"
        f"  {statistics.median(ratios):.1f}x ({min(ratios):.1f}-{max(ratios):.1f}) first reset to last result, medians "
        f"{statistics.median(theirs):.1f} s and {statistics.median(ours):.2f} s; "
        f"{equal} of {len(rewards)} sums of rewards equal to six digits",
        flush=True,
    )


def main() -> None:
    parser = case_parser(__doc__, USUAL)
    parser.add_argument("--envs", type=int, nargs="+", default=[2, 4])
    options = parser.parse_args()
    print(machine())
    for case in chosen(parser, options, USUAL):
        compare(case, options.envs, options.pairs)


if __name__ == "__main__":
    main()
