"""A small dataset to train on, and the command that trains on it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SMALL = {"dim_model": 32, "n_heads": 2, "dim_feedforward": 32, "n_encoder_layers": 1, "n_vae_encoder_layers": 1}
"""Fields of a small ACT."""


def make_dataset(root: Path, images: Sequence[np.ndarray] = ()) -> Path:
    """Write two short episodes of noise with PushT's features; or an episode for each of ``images``, which it shows."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    generator = np.random.default_rng(0)
    features = {
        "observation.image": {"dtype": "image", "shape": (96, 96, 3), "names": ["height", "width", "channel"]},
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    }
    made = LeRobotDataset.create("nobody/pusht", 10, features, root=root, use_videos=False)
    for image in images or (None, None):
        for _ in range(12):
            made.add_frame(
                {
                    "observation.image": generator.integers(0, 256, (96, 96, 3), np.uint8) if image is None else image,
                    "observation.state": generator.uniform(0, 512, 2).astype(np.float32),
                    "action": generator.uniform(0, 512, 2).astype(np.float32),
                    "task": "push",
                }
            )
        made.save_episode()
    if hasattr(made, "finalize"):
        made.finalize()
    return root


def training_command(dataset: Path, output: Path, steps: int, save_freq: int, *options: str) -> list[str]:
    """Give the command that runs ``lerobot-train`` on a small ACT, without an evaluation in its loop."""
    from lerobot.configs.train import TrainPipelineConfig

    evaluation = "env_eval_freq" if hasattr(TrainPipelineConfig, "env_eval_freq") else "eval_freq"
    return [
        *(sys.executable, "-m", "lerobot.scripts.lerobot_train"),
        *("--dataset.repo_id=nobody/pusht", f"--dataset.root={dataset}", "--dataset.video_backend=pyav"),
        *("--policy.type=act", "--policy.device=cpu", "--policy.push_to_hub=false", "--policy.use_vae=false"),
        *("--policy.chunk_size=8", "--policy.n_action_steps=4", "--policy.pretrained_backbone_weights=null"),
        *(f"--policy.{name}={value}" for name, value in SMALL.items()),
        *(f"--output_dir={output}", "--seed=1000", "--num_workers=0", "--batch_size=2", "--log_freq=1"),
        *(f"--steps={steps}", f"--save_freq={save_freq}", f"--{evaluation}=0", *options),
    ]
