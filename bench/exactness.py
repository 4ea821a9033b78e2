"""Test if an episode's rewards depend on how the evaluation was run, with Proctor and with lerobot-eval.

    python bench/exactness.py [--episodes 4] [act diffusion ddpm vqbet smolvla tdmpc]

The checkpoints are small and untrained. With Proctor the same episodes run with 1, 2, 3, 8 and 16 workers, with a
worker killed in between, and each task alone; lerobot-eval runs as shipped, at batch sizes 1, 2 and 4. The script
counts the episodes whose sum of rewards equals that of the first way to the last bit (with Proctor also their length
and final state). It prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import loaded, machine

from checkpoint_makers import checkpoints, vla_checkpoints
from checkpoint_makers.checkpoints import METAWORLD, PUSHT
from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.determinism import Results, Variant, compare, run_way
from proctor.evaluation.prepared_run import prepare
from proctor.policies.base import PolicySource

WAYS = [Variant(str(n), n) for n in (1, 2, 3, 8, 16)] + [Variant("one killed", 3, kill=True)]
PEER_BATCH_SIZES = (1, 2, 4)


@dataclass(frozen=True)
class Case:
    """A checkpoint, and its evaluation: tasks, and the steps of an episode."""

    make: Callable[[Path], Path]
    env_type: str
    tasks: tuple[str, ...]
    steps: int

    def flags(self, task: str) -> dict[str, Any]:
        return {"type": self.env_type, "task": task, "episode_length": self.steps}


ON_PUSHT: dict[str, Any] = {"env_type": "pusht", "tasks": ("PushT-v0",), "steps": 24}
ON_METAWORLD: dict[str, Any] = {"env_type": "metaworld", "tasks": ("reach-v3", "push-v3"), "steps": 8}
CASES = {
    "act": Case(partial(checkpoints.make_act, robot=METAWORLD, chunk_size=10, n_action_steps=6), **ON_METAWORLD),
    "diffusion": Case(partial(checkpoints.make_diffusion, robot=PUSHT), **ON_PUSHT),
    "ddpm": Case(
        partial(checkpoints.make_diffusion, robot=PUSHT, noise_scheduler_type="DDPM", num_train_timesteps=4), **ON_PUSHT
    ),
    "vqbet": Case(partial(checkpoints.make_vqbet, robot=PUSHT), **ON_PUSHT),
    "tdmpc": Case(partial(checkpoints.make_tdmpc, robot=PUSHT), **ON_PUSHT),
    "smolvla": Case(partial(vla_checkpoints.make_smolvla, robot=METAWORLD), **ON_METAWORLD),
}


def episodes_of(case: Case, policy: PolicySource, n_episodes: int, folder: Path) -> dict[str, Results]:
    """Return the results of every way, by its name."""

    def run(task: str, variant: Variant) -> Results:
        config = RunConfig(env=case.flags(task), eval=EvalConfig(n_episodes=n_episodes), output_dir=str(folder / "run"))
        job = prepare(config, policy)
        return run_way(job.engine_setup(), job.specs, policy, variant)

    (folder / "run").mkdir()
    found = {variant.name: run(",".join(case.tasks), variant) for variant in WAYS}
    if len(case.tasks) > 1:
        found["alone"] = {spec: result for task in case.tasks for spec, result in run(task, WAYS[1]).items()}
    return found


def peer_rewards(case: Case, directory: Path, n_episodes: int) -> list[list[float]]:
    """Return each episode's sum of rewards in lerobot-eval, at each of its batch sizes; it runs in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--policy.path={directory}", "--policy.device=cpu", f"--env.type={case.env_type}"]
        flags += [f"--env.task={','.join(case.tasks)}", f"--eval.n_episodes={n_episodes}"]
        flags += ["--eval.use_async_envs=false", f"--output_dir={folder}/out"]
        command = [sys.executable, __file__, "--peer", f"{folder}/record.json", str(case.steps), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        rewards: list[list[float]] = json.loads(Path(folder, "record.json").read_text())
        return rewards


def be_the_peer(record: str, max_steps: str, *flags: str) -> None:
    """Run lerobot-eval at each batch size, and write the rewards to a file."""
    import lerobot.scripts.lerobot_eval as peer
    import lerobot_peer

    lerobot_peer.limit_steps(int(max_steps))
    rewards = []
    for size in PEER_BATCH_SIZES:
        found: dict[str, Any] = {"episodes": []}
        lerobot_peer.record_rollouts(found)
        sys.argv = ["lerobot-eval", *flags, f"--eval.batch_size={size}"]
        peer.eval_main()
        rewards.append([episode["sum_reward"] for episode in found["episodes"]])
    Path(record).write_text(json.dumps(rewards))


def row(name: str, n_episodes: int) -> list[str]:
    """Return one row of the table."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        directory = case.make(Path(folder) / name)
        policy = loaded({"path": str(directory), "device": "cpu"})
        found = episodes_of(case, policy, n_episodes, Path(folder))
        reference = found[WAYS[0].name]
        agreed = {variant.name: compare(variant, found[variant.name], reference) for variant in WAYS[1:]}
        if "alone" in found:
            agreed["alone"] = compare(Variant("alone", 2), found["alone"], reference)
        ours = [
            f"{agreed[variant].n_equal} of {agreed[variant].n_episodes}" if variant in agreed else ""
            for variant in COLUMNS
        ]
        first, *others = peer_rewards(case, directory, n_episodes)
    theirs = [f"{sum(a == b for a, b in zip(first, other, strict=True))} of {len(first)}" for other in others]
    return [name, case.env_type, *ours, *theirs]


COLUMNS = [variant.name for variant in WAYS[1:]] + ["alone"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="policies to run; the default is all", metavar="policy")
    parser.add_argument("--episodes", type=int, default=4, help="of each task")
    options = parser.parse_args()
    print(machine())
    workers = ["2 workers", "3", "8", "16", "3, one killed", "each task alone"]
    print("| policy | on |", " | ".join([*workers, "lerobot-eval 2", "4"]), "|")
    print("|---" * (4 + len(workers)) + "|")
    for name in options.names or CASES:
        print("|", " | ".join(row(name, options.episodes)), "|", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        be_the_peer(*sys.argv[2:])
    else:
        main()
