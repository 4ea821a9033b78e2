"""Measure the cost of videos: total wall time of ``lerobot-eval`` and of Proctor with the same videos; and memory.

    python bench/videos.py [--task reach-v3] [--n-action-steps 50] [--episodes 10] [--steps 100] [--pairs 3]

Both sides record all episodes at 480x480. lerobot-eval takes a frame at every step; Proctor runs once with as many
frames, and once at its default frame rate. Start-up is included on both sides. Then the script measures the main
process's peak memory while PushT episodes are recorded, with few frames and with ten times as many: it does not grow
with them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile

from cases import metaworld
from common import machine
from vs_lerobot import fastest_modes, run_peer, time_proctor

EVERY_STEP = ["--eval.video=all", "--eval.video_fps=80", "--eval.video_size=480x480"]
DEFAULT_RATE = ["--eval.video=all", "--eval.video_size=480x480"]
PEAK = """
import resource, sys
from proctor.cli import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def peak_mb(episode_length: int, video_fps: float) -> float:
    """Return the peak memory in MB of Proctor's main process while it records ten PushT episodes of 480x480."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--policy.type=random", "--env.type=pusht", f"--env.episode_length={episode_length}"]
        flags += ["--eval.n_episodes=10", "--eval.video=all"]
        flags += [f"--eval.video_fps={video_fps}", "--eval.video_size=480x480"]
        command = [sys.executable, "-P", "-c", PEAK, "eval", *flags, f"--output_dir={folder}/out"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="reach-v3")
    parser.add_argument("--n-action-steps", type=int, default=50)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(f"{options.task}, {options.episodes} episodes of at most {options.steps} steps, all recorded", flush=True)
    case = metaworld(options.n_action_steps, options.task, episodes=options.episodes, steps=options.steps)
    mode, *_ = fastest_modes(case)
    ratios: dict[str, list[float]] = {"a frame per step": [], "the default frame rate": []}
    for _ in range(options.pairs):
        peer = run_peer(case, mode, videos=True).total
        for name, flags in zip(ratios, (EVERY_STEP, DEFAULT_RATE), strict=True):
            ours = time_proctor(case, *flags)
            ratios[name].append(peer / ours)
            print(f"  lerobot-eval {peer:.1f} s, Proctor with {name} {ours:.1f} s", flush=True)
    for name, found in ratios.items():
        print(f"with {name}: {statistics.median(found):.1f}x ({min(found):.1f}-{max(found):.1f}) in total")
    few, many = peak_mb(30, 10), peak_mb(300, 10)
    print(f"peak memory of the main process: {few:.0f} MB with 310 frames, {many:.0f} MB with 3010")


if __name__ == "__main__":
    main()
