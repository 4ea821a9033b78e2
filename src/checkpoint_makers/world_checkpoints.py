"""Small real checkpoints of world models, made offline: see :mod:`.checkpoints`.

Both are built around Wan 2.2, a video model. Its autoencoder, text encoder and tokenizer are not part of a checkpoint;
they are made small, too, and are stored in the checkpoint's directory as ``wan``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from string import ascii_letters
from typing import Any
from unittest.mock import patch

from checkpoint_makers.checkpoints import PUSHT, Recipe, Robot, write_checkpoint

_TEXT_DIM = 32


def _write_wan(directory: Path) -> None:
    """Write Wan's frozen parts with random weights; LeRobot fixes the latents' 48 channels and 16 pixels per side."""
    import torch
    from diffusers import AutoencoderKLWan
    from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

    pieces = ["<pad>", "</s>", "<unk>", "▁", *ascii_letters]
    tokenizer = T5TokenizerFast(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0)
    tokenizer.save_pretrained(directory / "tokenizer")
    text: dict[str, Any] = {"d_model": _TEXT_DIM, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    video: dict[str, Any] = {"base_dim": 8, "z_dim": 48, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
    video |= {"in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16, "is_residual": True}
    video |= {"latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        UMT5EncoderModel(UMT5Config(**text, vocab_size=len(tokenizer))).save_pretrained(directory / "text_encoder")
        AutoencoderKLWan(**video).save_pretrained(directory / "vae")


def make_lingbot_va(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small LingBot-VA checkpoint and return its directory. ``fields`` are passed to ``LingBotVAConfig``."""
    from lerobot.policies.lingbot_va.modeling_lingbot_va import LingBotVAConfig, LingBotVAPolicy

    _write_wan(directory / "wan")
    small: dict[str, Any] = {"wan_pretrained_path": str(directory / "wan"), "dtype": "float32"}
    small |= {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 64, "num_layers": 1, "freq_dim": 32}
    small |= {"text_dim": _TEXT_DIM, "max_sequence_length": 32, "attn_window": 8, "height": 32, "width": 32}
    small |= {"obs_cam_keys": [*robot.cameras], "used_action_channel_ids": [*range(robot.action_dim)]}
    small |= {"frame_chunk_size": 2, "num_inference_steps": 2, "action_num_inference_steps": 2}
    return write_checkpoint(directory, robot, Recipe(LingBotVAConfig, LingBotVAPolicy, small | fields), seed)


def make_fastwam(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small FastWAM checkpoint and return its directory. ``fields`` are passed to ``FastWAMConfig``.

    It can only be opened within :func:`small_wan`. Its cameras have the names that FastWAM requires, and its
    preprocessor renames the robot's cameras.
    """
    from lerobot.policies.fastwam.modeling_fastwam import FastWAMConfig, FastWAMPolicy

    wan = directory / "wan"
    _write_wan(wan)
    names = {key: f"observation.images.{key.rpartition('.')[2]}" for key in robot.cameras}
    seen = replace(robot, cameras=dict.fromkeys(names.values(), (32, 32)))
    expert: dict[str, Any] = {"hidden_dim": 32, "ffn_dim": 64, "num_heads": 2, "attn_head_dim": 16, "num_layers": 1}
    expert |= {"text_dim": _TEXT_DIM, "freq_dim": 32, "eps": 1e-6}
    video = expert | {"patch_size": [1, 2, 2], "in_dim": 48, "out_dim": 48, "action_dim": robot.action_dim}
    video |= {"seperated_timestep": True, "video_attention_mask_mode": "first_frame_causal"}
    small: dict[str, Any] = {"video_dit_config": video, "action_dit_config": expert | {"action_dim": robot.action_dim}}
    small |= {"tokenizer_model_id": str(wan / "tokenizer"), "text_encoder_model_id": str(wan), "tokenizer_max_len": 32}
    small |= {"action_dim": robot.action_dim, "proprio_dim": robot.state_dim, "image_size": (32, 32 * len(names))}
    small |= {"action_horizon": 8, "n_action_steps": 4, "num_video_frames": 5, "action_video_freq_ratio": 1}
    small |= {"torch_dtype": "float32", "num_inference_steps": 3}
    with small_wan(directory):
        write_checkpoint(directory, seen, Recipe(FastWAMConfig, FastWAMPolicy, small | fields), seed)
    file = directory / "policy_preprocessor.json"
    processor = json.loads(file.read_text())
    processor["steps"][0]["config"]["rename_map"] = names
    file.write_text(json.dumps(processor))
    return directory


@contextmanager
def small_wan(directory: Path) -> Iterator[None]:
    """Make FastWAM read its video autoencoder from a checkpoint's directory, which no field of its can name."""
    from lerobot.policies.fastwam.wan import components

    with patch.object(components, "WAN22_DIFFUSERS_MODEL_ID", str(directory / "wan")):
        yield
