"""Measure the time from the command to the first finished episode, relative to the minimum.

    python bench/startup.py [--repeats 3] [--task reach-v3] [--steps 100]

The script measures in turn: ``proctor eval`` with ACT on a Meta-World task until its journal contains an episode;
loading that policy in an interpreter of its own, imports included; and, with the policy already loaded, importing and
constructing the simulator, and one episode alone. An episode needs its policy and its simulator. So the ratio is the
first time over the longer of loading and constructing, plus the episode after it: 1 would mean that the shorter
overlaps completely with the longer and that nothing else takes time. If both need the same few cores, this is
impossible. The script also prints the ratio to the longer of loading, and constructing plus the episode, as if an
episode could run while its policy loads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, sleep

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from cases import Case, metaworld
from common import machine
from ideal import LOAD, elapsed

EPISODE = """
import json, sys
from time import perf_counter
from proctor import evaluate
from proctor.compat import make_policy
policy, env = make_policy(json.loads(sys.argv[1])), json.loads(sys.argv[2])
began = perf_counter()
info = evaluate(policy, env, n_episodes=1, batch_size=1, output_dir=sys.argv[3]).info
timings = info["per_episode"][0]["timings"]
episode = sum(timings[part] for part in ("reset", "step", "look", "inference", "wait", "other"))
print(perf_counter() - began - episode, episode)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", default="reach-v3")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--n-action-steps", type=int, default=10)
    options = parser.parse_args()
    case = metaworld(options.n_action_steps, options.task, episodes=4, steps=options.steps)
    print(machine())
    ratios, impossible = [], []
    for _ in range(options.repeats):
        first = until_first_episode(case)
        load = elapsed([sys.executable, "-P", "-c", LOAD, json.dumps(case.policy_fields())])
        construct, episode = construct_and_run(case)
        ratios.append(first / (max(load, construct) + episode))
        impossible.append(first / max(load, construct + episode))
        print(
            f"first episode after {first:.1f} s; loading the policy {load:.1f} s, constructing {construct:.1f} s, an "
            f"episode {episode:.1f} s",
            flush=True,
        )
    print(f"{statistics.median(ratios):.2f} of the longer and an episode ({min(ratios):.2f}-{max(ratios):.2f})")
    print(f"{statistics.median(impossible):.2f} if episodes ran while the policy loads")


def until_first_episode(case: Case) -> float:
    """Return the seconds from the command until an episode is on disk."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [*case.flags(), f"--env.episode_length={case.steps}", f"--output_dir={folder}/run"]
        command = [sys.executable, "-P", "-m", "proctor", "eval", *flags, "--eval.video=none", "--eval.display=none"]
        journal = Path(folder) / "run/journal.jsonl"
        began = perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while not (journal.exists() and b'"kind":"episode"' in journal.read_bytes()):
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
                sleep(0.01)
            return perf_counter() - began


def construct_and_run(case: Case) -> tuple[float, float]:
    """Return the seconds of importing and constructing a simulator, and of one episode with a loaded policy."""
    env = {**case.env, "episode_length": case.steps}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [json.dumps(case.policy_fields()), json.dumps(env), f"{folder}/run"]
        run = subprocess.run(
            [sys.executable, "-P", "-c", EPISODE, *arguments], check=True, capture_output=True, text=True
        )
    construct, episode = map(float, run.stdout.split()[-2:])
    return construct, episode


if __name__ == "__main__":
    main()
