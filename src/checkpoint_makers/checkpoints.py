"""Small real LeRobot checkpoints for tests, benchmarks and the documentation, made offline from a fixed seed.

They are untrained, but real in every other respect: they use LeRobot's own classes, weights in safetensors, and
processors with statistics. Actions are in the range that the environment accepts, and depend on the observation.
:mod:`.vla_checkpoints` makes policies that read an instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Robot:
    """The robot that a checkpoint is made for: an environment's cameras (``(height, width)``), state and actions.

    ``state`` and ``action`` are the minimum and maximum, the same for every one of ``…_dim`` elements.
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
_SMALL_VQBET = {
    "n_obs_steps": 3,
    "n_action_pred_token": 2,
    "use_group_norm": True,
    "spatial_softmax_num_keypoints": 8,
    "vqvae_n_embed": 8,
    "vqvae_embedding_dim": 16,
    "vqvae_enc_hidden_dim": 16,
    "gpt_input_dim": 32,
    "gpt_output_dim": 32,
    "gpt_hidden_dim": 32,
    "gpt_n_layer": 1,
    "gpt_n_head": 2,
    "bet_softmax_temperature": 1.0,
}
_SMALL_TDMPC = {
    "image_encoder_hidden_dim": 8,
    "state_encoder_hidden_dim": 16,
    "latent_dim": 16,
    "mlp_dim": 16,
    "cem_iterations": 2,
    "n_gaussian_samples": 32,
    "n_pi_samples": 4,
    "n_elites": 8,
}
_SMALL_ACTOR = {"image_encoder_hidden_dim": 8, "state_encoder_hidden_dim": 16, "latent_dim": 16}


def make_act(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small ACT checkpoint (45 MB, most of it the ResNet-18) and return its directory.

    ``fields`` are passed to ``ACTConfig``: ``n_action_steps``, ``chunk_size``, ``temporal_ensemble_coeff``,
    ``vision_backbone``, …
    """
    from lerobot.policies.act.modeling_act import ACTConfig, ACTPolicy

    without_download = {"pretrained_backbone_weights": None} | _SMALL_ACT | fields
    return write_checkpoint(directory, robot, Recipe(ACTConfig, ACTPolicy, without_download), seed)


def make_diffusion(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small Diffusion Policy checkpoint (DDIM in four steps) and return its directory.

    ``fields`` are passed to ``DiffusionConfig``.
    """
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionConfig, DiffusionPolicy

    without_download = {"pretrained_backbone_weights": None} | _SMALL_DIFFUSION | fields
    return write_checkpoint(directory, robot, Recipe(DiffusionConfig, DiffusionPolicy, without_download), seed)


def make_vqbet(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small VQ-BeT checkpoint (45 MB), with a code book like that of a trained one, and return its directory.

    ``fields`` are passed to ``VQBeTConfig``.
    """
    from lerobot.policies.vqbet.modeling_vqbet import VQBeTConfig, VQBeTPolicy

    def fill_code_book(policy: Any) -> None:
        quantiser = policy.vqbet.action_head.vqvae_model
        quantiser.discretized.fill_(True)
        quantiser.vq_layer.freeze_codebook.fill_(True)
        for name, codes in quantiser.vq_layer.named_buffers():
            if name.endswith("embed"):
                codes.normal_()

    without_download = {"pretrained_backbone_weights": None} | _SMALL_VQBET | fields
    return write_checkpoint(directory, robot, Recipe(VQBeTConfig, VQBeTPolicy, without_download, fill_code_book), seed)


def make_tdmpc(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small TD-MPC checkpoint and return its directory. ``fields`` are passed to ``TDMPCConfig``."""
    from lerobot.policies.tdmpc.modeling_tdmpc import TDMPCConfig, TDMPCPolicy

    return write_checkpoint(directory, robot, Recipe(TDMPCConfig, TDMPCPolicy, _SMALL_TDMPC | fields), seed)


def make_actor(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small SAC actor (``gaussian_actor``, or ``sac`` in LeRobot 0.4) and return its directory."""
    try:
        from lerobot.policies.gaussian_actor.modeling_gaussian_actor import GaussianActorConfig, GaussianActorPolicy

        classes = GaussianActorConfig, GaussianActorPolicy
    except ImportError:
        from lerobot.policies.sac.modeling_sac import SACConfig, SACPolicy

        classes = SACConfig, SACPolicy
    return write_checkpoint(directory, robot, Recipe(*classes, _SMALL_ACTOR | fields), seed)


@dataclass(frozen=True)
class Recipe:
    """A recipe for a policy: its classes, the arguments of its configuration, and changes that use the seed."""

    config_class: Any
    policy_class: Any
    fields: dict[str, Any]
    finish: Callable[[Any], None] = lambda _: None


def write_checkpoint(directory: Path, robot: Robot, recipe: Recipe, seed: int) -> Path:
    """Write a checkpoint of a policy with random weights and return its directory."""
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.factory import make_pre_post_processors

    inputs = {key: PolicyFeature(FeatureType.VISUAL, (3, *size)) for key, size in robot.cameras.items()}
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (robot.state_dim,))
    config = recipe.config_class(
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (robot.action_dim,))},
        device="cpu",
        push_to_hub=False,
        **recipe.fields,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        policy = recipe.policy_class(config)
        recipe.finish(policy)
    policy.save_pretrained(directory)
    for processor in make_pre_post_processors(config, dataset_stats=_statistics(robot)):
        processor.save_pretrained(directory)
    return directory


def _statistics(robot: Robot) -> dict[str, dict[str, Any]]:
    """Return statistics like those of a dataset whose values are spread evenly over the ranges."""
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
                ("q01", low),
                ("q99", high),
                ("mean", (low + high) / 2),
                ("std", (high - low) / np.sqrt(12)),
            )
        }
        for key, (low, high, shape) in ranges.items()
    }
