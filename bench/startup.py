"""Measure what a user waits for at the beginning, relative to what cannot be avoided.

    python bench/startup.py [pass] [episode] [output] [--repeats 3] [--task reach-v3] [--steps 100]

The default is all three parts. Each compares in one run, and prints medians and ranges.

pass: from the command ``proctor eval`` until the first forward pass of a LeRobot checkpoint has ended, for ACT, VQ-BeT,
TD-MPC and Diffusion on PushT. The minimum is an interpreter that imports torch and torchvision (for Diffusion also
diffusers' schedulers) and reads the weights. Wall time is compared, and the CPU time of the main process, which other
work on the machine hardly changes.

episode: ``proctor eval`` with ACT on a Meta-World task until its journal contains an episode; loading that policy in an
interpreter of its own, imports included; and, with the policy already loaded, importing and constructing the simulator,
and one episode alone. An episode needs its policy and its simulator. So the ratio is the first time over the longer of
loading and constructing, plus the episode after it: 1 would mean that the shorter overlaps completely with the longer
and that nothing else takes time. If both need the same few cores, this is impossible. The script also prints the ratio
to the longer of loading, and constructing plus the episode, as if an episode could run while its policy loads.

output: the time to the first output of ``proctor --help``, ``runs``, ``show``, ``compare`` and ``view``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, sleep, time

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from cases import Case, metaworld, pusht_checkpoint
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


FIRST_PASS = """
import os, sys, time
import resource
began = float(sys.argv.pop(1))
from proctor.cli import main
from proctor.policies.lerobot.source import LeRobotSource
opened = LeRobotSource.open
def open_and_watch(source, n_threads):
    policy = opened(source, n_threads)
    predict = policy.predict
    def predict_and_report(*arguments):
        chunks = predict(*arguments)
        used = resource.getrusage(resource.RUSAGE_SELF)
        os.write(2, f"FIRST PASS {time.time() - began} {used.ru_utime + used.ru_stime}\\n".encode())
        os.killpg(0, 9)
    policy.predict = predict_and_report
    return policy
LeRobotSource.open = open_and_watch
main()
"""
"""Runs a command of Proctor until the first forward pass, reports wall and CPU seconds, and ends all processes."""

MINIMUM = """
import resource, sys, time
import torch, torchvision
if "diffusion" in sys.argv[2]:
    import diffusers.schedulers.scheduling_ddim, diffusers.schedulers.scheduling_ddpm
from safetensors.torch import load_file
tensors = [tensor.clone() for tensor in load_file(sys.argv[2] + "/model.safetensors").values()]
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.time() - float(sys.argv[1]), used.ru_utime + used.ru_stime)
"""

TYPES = ("act", "vqbet", "tdmpc", "diffusion")
OUTPUTS = {"--help": [], "runs": [], "show": ["a"], "compare": ["a", "b"], "view": [".", "--port=0"]}
"""The commands whose first output is awaited, and their arguments in a folder with two runs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; the default is all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", default="reach-v3", help="of episode")
    parser.add_argument("--steps", type=int, default=100, help="of episode")
    parser.add_argument("--n-action-steps", type=int, default=10, help="of episode")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    print(machine())
    for name, part in PARTS.items():
        if not options.parts or name in options.parts:
            part(options)


def first_pass(options: argparse.Namespace) -> None:
    for kind in TYPES:
        checkpoint = pusht_checkpoint(kind)
        pairs = [(until_first_pass(checkpoint), minimum(checkpoint)) for _ in range(options.repeats)]
        for number, what in enumerate(("wall", "CPU")):
            ratios = [ours[number] / least[number] for ours, least in pairs]
            ours, least = (statistics.median(pair[side][number] for pair in pairs) for side in (0, 1))
            print(
                f"{kind}: {what} time to the first pass {statistics.median(ratios):.2f} of the minimum "
                f"({min(ratios):.2f}-{max(ratios):.2f}; {ours:.2f} s of {least:.2f} s)",
                flush=True,
            )


def until_first_pass(checkpoint: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of the main process from the command to the end of the first forward pass."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--policy.path={checkpoint}", "--policy.device=cpu", "--env.type=pusht", f"--output_dir={folder}/run"]
        flags += ["--eval.n_episodes=2", "--eval.video=none", "--eval.display=none"]
        command = [sys.executable, "-P", "-c", FIRST_PASS, str(time()), "eval", *flags]
        run = subprocess.run(command, check=False, capture_output=True, text=True, start_new_session=True)
    for line in run.stderr.splitlines():
        if line.startswith("FIRST PASS "):
            wall, cpu = map(float, line.split()[-2:])
            return wall, cpu
    raise SystemExit(f"proctor eval ended with status {run.returncode}:\n{run.stderr}")


def minimum(checkpoint: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of importing what a policy needs in any case and of reading its weights."""
    command = [sys.executable, "-P", "-c", MINIMUM, str(time()), str(checkpoint)]
    wall, cpu = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    return wall, cpu


def first_output(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        proctor = [sys.executable, "-P", "-m", "proctor"]
        for number, name in enumerate("ab"):
            flags = ["--policy.type=random", "--env.type=pusht", f"--seed={number}", f"--output_dir={folder}/{name}"]
            flags += ["--eval.n_episodes=6", "--env.episode_length=10", "--eval.video=none"]
            subprocess.run([*proctor, "eval", *flags], check=True, capture_output=True)
        for name, arguments in OUTPUTS.items():
            waits = [until_output([*proctor, name, *arguments], folder) for _ in range(options.repeats)]
            print(f"{name}: first output after {statistics.median(waits):.2f} s ({min(waits):.2f}-{max(waits):.2f})")


def until_output(command: list[str], folder: str) -> float:
    """Return the seconds until a command writes its first byte to standard output, and end it."""
    began = perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder) as process:
        assert process.stdout is not None
        if not os.read(process.stdout.fileno(), 1):
            raise SystemExit(f"{' '.join(command)} printed nothing")
        waited = perf_counter() - began
        process.send_signal(signal.SIGTERM)
        process.communicate()
    return waited


def first_episode(options: argparse.Namespace) -> None:
    case = metaworld(options.n_action_steps, options.task, episodes=4, steps=options.steps)
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


PARTS = {"pass": first_pass, "episode": first_episode, "output": first_output}

if __name__ == "__main__":
    main()
