"""Measure a sweep over checkpoints against a separate command for each of them.

    python bench/sweep.py [--pairs 2] [--checkpoints 4] [--episodes 10] [--steps 150]

The checkpoints are copies of the bundled one with a little noise in their weights; the benchmark is Meta-World's
reach-v3. Times are of whole commands, so they include the import of LeRobot and the construction of simulators.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from common import machine

os.environ.setdefault("MUJOCO_GL", "egl")

BUNDLED = Path(__file__).parents[1] / "examples" / "metaworld_act"


def make_training(folder: Path, n_checkpoints: int) -> list[Path]:
    """Write checkpoints as LeRobot's training lays them out; return their directories."""
    import torch
    from safetensors.torch import load_file, save_file

    weights, generator = load_file(BUNDLED / "model.safetensors"), torch.Generator().manual_seed(0)
    found = []
    for number in range(1, n_checkpoints + 1):
        directory = folder / "checkpoints" / f"{1000 * number:06d}" / "pretrained_model"
        shutil.copytree(BUNDLED, directory)
        noisy = {
            name: value + 0.01 * value.abs().mean() * torch.randn(value.shape, generator=generator)
            if value.is_floating_point()
            else value
            for name, value in weights.items()
        }
        noisy = {name: value.to(weights[name].dtype) for name, value in noisy.items()}
        save_file(noisy, directory / "model.safetensors", metadata={"format": "pt"})
        found.append(directory)
    return found


def seconds(*words: str) -> float:
    """Run a command of Proctor's; return how long it took."""
    started = perf_counter()
    command = [sys.executable, "-P", "-m", "proctor", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    return perf_counter() - started


def pairs(training: Path, checkpoints: list[Path], options: list[str], n_pairs: int) -> Iterator[tuple[float, float]]:
    """Yield the times of all separate commands together, and of the sweep."""
    for number in range(n_pairs):
        output = training / f"results-{number}"
        separate = sum(
            seconds("eval", f"--policy.path={each}", f"--output_dir={output / each.parent.name}", *options)
            for each in checkpoints
        )
        yield separate, seconds("sweep", str(training), f"--output_dir={output / 'sweep'}", *options)


def main() -> None:
    """Print each pair, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--checkpoints", type=int, default=4)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    print(machine())
    options = ["--env.type=metaworld", "--env.task=reach-v3", f"--env.episode_length={arguments.steps}"]
    options += [f"--eval.n_episodes={arguments.episodes}", "--eval.video=none", "--eval.display=none"]
    with TemporaryDirectory() as folder:
        training = Path(folder) / "training"
        checkpoints = make_training(training, arguments.checkpoints)
        ratios = []
        for separate, sweep in pairs(training, checkpoints, options, arguments.pairs):
            ratios.append(separate / sweep)
            print(f"{len(checkpoints)} commands {separate:.1f} s, sweep {sweep:.1f} s: {ratios[-1]:.2f}x", flush=True)
    print(f"median of {len(ratios)} pairs: {statistics.median(ratios):.2f}x")


if __name__ == "__main__":
    main()
