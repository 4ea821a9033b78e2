"""From the command to the first finished episode, against what cannot be avoided.

    python bench/startup.py [--repeats 3] [--task reach-v3] [--steps 100]

Measured in turn: ``proctor eval`` with ACT on a Meta-World task until its journal holds an episode; loading that policy
in an interpreter of its own, imports included; and, with the policy loaded already, importing the simulator,
constructing it and running one episode alone. The ratio is of the first to the longer of the others: 1 would mean that
the shorter one hides behind it and that nothing else takes time. Where both want the same few cores it cannot.
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
evaluate(policy, env, n_episodes=1, batch_size=1, output_dir=sys.argv[3])
print(perf_counter() - began)
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
    ratios = []
    for _ in range(options.repeats):
        first = until_first_episode(case)
        load = elapsed([sys.executable, "-c", LOAD, json.dumps(case.policy_fields())])
        episode = construct_and_run(case)
        ratios.append(first / max(load, episode))
        print(
            f"first episode after {first:.1f} s; loading the policy {load:.1f} s, constructing and one episode "
            f"{episode:.1f} s: {ratios[-1]:.2f} of the longer, {first / (load + episode):.2f} of both",
            flush=True,
        )
    print(f"{statistics.median(ratios):.2f} of the longer ({min(ratios):.2f}-{max(ratios):.2f})")


def until_first_episode(case: Case) -> float:
    """Seconds from the command until an episode is on disk."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [*case.flags(), f"--env.episode_length={case.steps}", f"--output_dir={folder}/run"]
        command = [sys.executable, "-m", "proctor", "eval", *flags, "--eval.video=none", "--eval.display=none"]
        journal = Path(folder) / "run/journal.jsonl"
        began = perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while not (journal.exists() and b'"kind":"episode"' in journal.read_bytes()):
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
                sleep(0.01)
            return perf_counter() - began


def construct_and_run(case: Case) -> float:
    """Seconds of importing and constructing a simulator and of one episode, the policy being there."""
    env = {**case.env, "episode_length": case.steps}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [json.dumps(case.policy_fields()), json.dumps(env), f"{folder}/run"]
        run = subprocess.run([sys.executable, "-c", EPISODE, *arguments], check=True, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


if __name__ == "__main__":
    main()
