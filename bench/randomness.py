"""Measure the cost of separate random streams for each episode: a forward pass with and without them, by policy.

    python bench/randomness.py [--pairs 200] [--batch-size 4] [ddpm diffusion eo1 smolvla tdmpc vqbet xvla …]

Without them, the policy draws from torch's global generator, once for a whole batch, and its episodes cannot be
repeated. The checkpoints are small and untrained, which exaggerates the share: a larger network takes longer but draws
equally often. A pass has its default number of rows on a CPU, or the given number. It uses one thread, and only this
thread's own CPU time counts, so that other load has little effect; results are medians of pairs in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any
from unittest.mock import patch

import numpy as np

os.environ.setdefault("MUJOCO_GL", "egl")
sys.path.insert(0, str(Path(__file__).parent))
from common import loaded, machine

from checkpoint_makers import checkpoints, vla_checkpoints, vlm_checkpoints
from proctor.policies.base import EpisodeMemory, Policy
from proctor.streams import RandomStream
from proctor.types import EpisodeSpec, Observation

MAKERS: dict[str, Callable[[Path], Path]] = {
    "diffusion": checkpoints.make_diffusion,
    "ddpm": partial(checkpoints.make_diffusion, noise_scheduler_type="DDPM", num_train_timesteps=10),
    "vqbet": checkpoints.make_vqbet,
    "tdmpc": checkpoints.make_tdmpc,
    "actor": checkpoints.make_actor,
    "smolvla": vla_checkpoints.make_smolvla,
    "pi05": partial(vla_checkpoints.make_pi, version="pi05"),
    "pi0_fast": vla_checkpoints.make_pi0_fast,
    "xvla": vla_checkpoints.make_xvla,
    "dit": vla_checkpoints.make_multi_task_dit,
    "eo1": vlm_checkpoints.make_eo1,
    "evo1": vlm_checkpoints.make_evo1,
    "groot": vlm_checkpoints.make_groot,
    "molmoact2": vlm_checkpoints.make_molmoact2,
    "vla_jepa": vlm_checkpoints.make_vla_jepa,
    "wall_x": vlm_checkpoints.make_wall_x,
}


def observation(policy: Policy) -> Observation:
    """Return an observation of noise, with as many steps as the policy looks back."""
    n, generator = len(policy.look_offsets), np.random.default_rng(0)
    image = generator.integers(0, 256, (n, 96, 96, 3), np.uint8)
    return Observation({"observation.image": image, "observation.state": generator.uniform(0, 512, (n, 2))}, "push")


@contextmanager
def drawing_for_all() -> Iterator[None]:
    """Let policies draw as LeRobot does, within a block."""
    import torch

    from proctor.policies.lerobot import randomness

    def noise(memories: Sequence[EpisodeMemory], shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        return torch.randn(len(memories), *shape, device=device)

    with ExitStack() as patches:
        patches.enter_context(patch.object(randomness, "row_draws", lambda _: nullcontext()))
        patches.enter_context(patch.object(randomness, "noise", noise))
        patches.enter_context(patch.object(RandomStream, "rewound_on_error", nullcontext))
        yield


def one_pass(policy: Policy, memories: list[EpisodeMemory], *, of_its_own: bool) -> float:
    """Return the seconds of a forward pass, with each episode's own random numbers or with torch's global ones."""
    seen = [observation(policy)] * len(memories)
    swapped = memories[0].stream.swapped_in() if policy.runs_alone else nullcontext()
    with nullcontext() if of_its_own else drawing_for_all():
        began = thread_time()
        with swapped if of_its_own else nullcontext():
            policy.predict(seen, memories)
        return thread_time() - began


def measure(policy: Policy, batch_size: int, pairs: int) -> tuple[float, list[float]]:
    """Return the median of a pass in seconds, and for each pair the streams' additional cost as a share of it."""
    memories = [EpisodeMemory(RandomStream(EpisodeSpec("pusht", 0, i, i))) for i in range(batch_size)]
    found: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(pairs + 5):
        for own in (True, False) if pair % 2 else (False, True):
            found[own].append(one_pass(policy, memories, of_its_own=own))
    ours, theirs = found[True][5:], found[False][5:]  # the first passes are a warm-up
    middle = statistics.median(theirs)
    return middle, [(a - b) / middle for a, b in zip(ours, theirs, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="policies to run; the default is all", metavar="policy")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=0)
    options = parser.parse_args()
    print(machine())
    print(f"{'policy':10} {'rows':>4} {'pass ms':>8} {'streams add':>11}   quartiles")
    for name in options.names or MAKERS:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as small_networks:
            directory = MAKERS[name](Path(folder) / name)
            if name.startswith("pi0"):
                small_networks.enter_context(vla_checkpoints.small_gemma(name))
            policy: Any = loaded({"path": str(directory), "device": "cpu"})
            policy = policy.open(1)
            rows = 1 if policy.runs_alone else options.batch_size or policy.batch_size
            seconds, shares = measure(policy, rows, options.pairs)
        low, middle, high = (100 * share for share in statistics.quantiles(shares, n=4))
        print(f"{name:10} {rows:4} {seconds * 1000:8.2f} {middle:10.2f} %   {low:.2f} to {high:.2f}", flush=True)


if __name__ == "__main__":
    main()
