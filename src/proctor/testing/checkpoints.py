"""Small real LeRobot checkpoints, made offline from a fixed seed: for tests, benchmarks and the documentation.

They are untrained, and real in every other respect: lerobot's own classes, weights in safetensors, processors with
statistics. Actions come out in the range the environment takes, and depend on what the policy sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Robot:
    """What a checkpoint is made for: an environment's cameras (``(height, width)``), state and actions.

    ``state`` and ``action`` are the lowest and highest values, the same for every one of ``…_dim`` elements.
    """

    cameras: dict[str, tuple[int, int]]
    state_dim: int
    state: tuple[float, float]
    action_dim: int
    action: tuple[float, float]


PUSHT = Robot(
    cameras={"observation.image": (96, 96)}, state_dim=2, state=(0.0, 512.0), action_dim=2, action=(0.0, 512.0)
)
METAWORLD = Robot(
    cameras={"observation.image": (480, 480)}, state_dim=4, state=(-1.0, 1.0), action_dim=4, action=(-1.0, 1.0)
)

_SMALL_ACT = {
    "dim_model": 64,
    "n_heads": 4,
    "dim_feedforward": 128,
    "n_encoder_layers": 1,
    "n_vae_encoder_layers": 1,
    "latent_dim": 8,
}
_SMALL_DIFFUSION = {
    "crop_shape": (84, 84),
    "use_group_norm": True,
    "use_separate_rgb_encoder_per_camera": False,
    "spatial_softmax_num_keypoints": 8,
    "down_dims": (32, 64),
    "n_groups": 4,
    "diffusion_step_embed_dim": 32,
    "noise_scheduler_type": "DDIM",
    "num_inference_steps": 4,
    "horizon": 16,
    "n_action_steps": 8,
}


def make_act(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small ACT checkpoint (45 MB, most of it the ResNet-18) and return its directory.

    ``fields`` go to ``ACTConfig``: ``n_action_steps``, ``chunk_size``, ``temporal_ensemble_coeff``,
    ``vision_backbone``, …
    """
    from lerobot.policies.act.modeling_act import ACTConfig, ACTPolicy

    return _make(directory, robot, seed, (ACTConfig, ACTPolicy), _SMALL_ACT | fields)


def make_diffusion(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small Diffusion Policy checkpoint (DDIM in four steps) and return its directory.

    ``fields`` go to ``DiffusionConfig``.
    """
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionConfig, DiffusionPolicy

    return _make(directory, robot, seed, (DiffusionConfig, DiffusionPolicy), _SMALL_DIFFUSION | fields)


def _make(directory: Path, robot: Robot, seed: int, classes: tuple[Any, Any], fields: dict[str, Any]) -> Path:
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors

    config_class, policy_class = classes
    inputs = {key: PolicyFeature(FeatureType.VISUAL, (3, *size)) for key, size in robot.cameras.items()}
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (robot.state_dim,))
    config = config_class(
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (robot.action_dim,))},
        pretrained_backbone_weights=None,
        device="cpu",
        push_to_hub=False,
        **fields,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = policy_class(config)
    policy.save_pretrained(directory)
    for processor in make_pre_post_processors(config, dataset_stats=_statistics(robot)):
        processor.save_pretrained(directory)
    return directory


def _statistics(robot: Robot) -> dict[str, dict[str, Any]]:
    """As a data set would have them whose values fill the ranges evenly."""
    import torch

    ranges = {
        "observation.state": (*robot.state, (robot.state_dim,)),
        "action": (*robot.action, (robot.action_dim,)),
        **dict.fromkeys(robot.cameras, (0.0, 1.0, (3, 1, 1))),
    }
    return {
        key: {
            name: torch.full(shape, float(value))
            for name, value in (
                ("min", low),
                ("max", high),
                ("mean", (low + high) / 2),
                ("std", (high - low) / np.sqrt(12)),
            )
        }
        for key, (low, high, shape) in ranges.items()
    }
