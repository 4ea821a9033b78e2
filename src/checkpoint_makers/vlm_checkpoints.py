"""Small real checkpoints of policies around a vision-language model, made offline: see :mod:`.checkpoints`.

The model, its tokenizer and its processor are made small, too, and are stored in the checkpoint's directory as ``vlm``.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from checkpoint_makers.checkpoints import PUSHT, Recipe, Robot, write_checkpoint
from checkpoint_makers.vla_checkpoints import make_tokenizer

_TURNS = ("<|im_start|>", "<|im_end|>")
_VISION = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_ROBOT = ("<|propri|>", "<|action|>")
_MOLMO_TOKENS = {
    "image_patch_id": "<im_patch>",
    "image_col_id": "<im_col>",
    "image_start_token_id": "<im_start>",
    "low_res_image_start_token_id": "<low_res_im_start>",
    "frame_start_token_id": "<frame_start>",
    "image_end_token_id": "<im_end>",
    "frame_end_token_id": "<frame_end>",
    "image_low_res_id": "<im_low>",
    "action_output_token_id": "<action_output>",
    "action_start_token_id": "<action_start>",
    "action_end_token_id": "<action_end>",
}
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}"
)
"""Qwen's chat template, without the parts that are not used here."""

_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 512,
    "max_position_embeddings": 512,
}
_VISION_TOWER: dict[str, Any] = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2}
_QWEN2_TEXT: dict[str, Any] = _TEXT | {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
_QWEN2_VISION: dict[str, Any] = _VISION_TOWER | {"out_hidden_size": 32, "fullatt_block_indexes": [0]}


def _write_qwen(directory: Path, model: Any, processor: Any, patch_size: int) -> None:
    """Write a Qwen with random weights and its processor; ``model`` makes it from special tokens' ids and tokenizer."""
    import torch
    from transformers import Qwen2VLImageProcessor

    tokenizer = make_tokenizer(directory)
    tokenizer.add_tokens([*_TURNS, *_VISION.values(), *_ROBOT], special_tokens=True)
    tokenizer.image_token, tokenizer.video_token = _VISION["image_token_id"], _VISION["video_token_id"]
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _VISION.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(ids, tokenizer).save_pretrained(directory)
    images = Qwen2VLImageProcessor(patch_size=patch_size, min_pixels=64 * 64, max_pixels=128 * 128)
    processor(image_processor=images, tokenizer=tokenizer, chat_template=_CHAT).save_pretrained(directory)


def _write_qwen2(directory: Path, model: Any) -> None:
    """Write a Qwen2.5-VL, or the model that ``model`` makes of one."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLVideoProcessor

    def processor(**parts: Any) -> Any:
        return Qwen2_5_VLProcessor(video_processor=Qwen2VLVideoProcessor(), **parts)

    _write_qwen(directory, model, processor, patch_size=14)


def _write_qwen3(directory: Path) -> None:
    """Write a Qwen3-VL."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor, Qwen3VLVideoProcessor

    def model(ids: dict[str, int], _: Any) -> Any:
        text: dict[str, Any] = _TEXT | {
            "rope_scaling": {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True}
        }
        vision: dict[str, Any] = _VISION_TOWER | {
            "out_hidden_size": 32,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
        }
        return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **ids))

    def processor(**parts: Any) -> Any:
        return Qwen3VLProcessor(video_processor=Qwen3VLVideoProcessor(), **parts)

    _write_qwen(directory, model, processor, patch_size=16)


def make_eo1(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small EO-1 checkpoint and return its directory. ``fields`` are passed to ``EO1Config``."""
    from lerobot.policies.eo1.modeling_eo1 import EO1Config, EO1Policy
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    def model(ids: dict[str, int], _: Any) -> Any:
        config = Qwen2_5_VLConfig(text_config=_QWEN2_TEXT, vision_config=_QWEN2_VISION, **ids)
        return Qwen2_5_VLForConditionalGeneration(config)

    _write_qwen2(directory / "vlm", model)
    small: dict[str, Any] = {
        "vlm_base": str(directory / "vlm"),
        "dtype": "float32",
        "chunk_size": 8,
        "n_action_steps": 4,
    }
    small |= {"max_state_dim": 8, "max_action_dim": 8, "num_denoise_steps": 3}
    small |= {"image_min_pixels": 28 * 28, "image_max_pixels": 4 * 28 * 28}
    return write_checkpoint(directory, robot, Recipe(EO1Config, EO1Policy, small | fields), seed)


def make_vla_jepa(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small VLA-JEPA checkpoint and return its directory. ``fields`` are passed to ``VLAJEPAConfig``.

    It has no world model, which only training uses.
    """
    from lerobot.policies.vla_jepa.modeling_vla_jepa import VLAJEPAConfig, VLAJEPAPolicy

    _write_qwen3(directory / "vlm")
    small: dict[str, Any] = {
        "qwen_model_name": str(directory / "vlm"),
        "torch_dtype": "float32",
        "enable_world_model": False,
    }
    small |= {"chunk_size": 7, "n_action_steps": 4, "action_model_type": "DiT-test", "action_num_layers": 1}
    small |= {"action_hidden_size": 16, "num_action_tokens_per_timestep": 2, "resize_images_to": (64, 64)}
    small |= {"num_embodied_action_tokens_per_instruction": 4, "num_inference_timesteps": 3}
    return write_checkpoint(directory, robot, Recipe(VLAJEPAConfig, VLAJEPAPolicy, small | fields), seed)


def make_evo1(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small EVO-1 checkpoint and return its directory. ``fields`` are passed to ``Evo1Config``."""
    import torch
    from lerobot.policies.evo1.modeling_evo1 import Evo1Config, Evo1Policy
    from transformers import InternVLConfig, InternVLModel

    tokenizer = make_tokenizer(directory / "vlm")
    tokenizer.add_tokens(["<img>", "</img>", "<IMG_CONTEXT>"], special_tokens=True)
    tokenizer.save_pretrained(directory / "vlm")
    vision: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": (56, 56), "patch_size": (14, 14)}
    image_token = {"image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), "image_seq_length": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text: dict[str, Any] = _TEXT | {"model_type": "qwen2"}
        InternVLModel(InternVLConfig(vision_config=vision, text_config=text, **image_token)).save_pretrained(
            directory / "vlm"
        )
    small: dict[str, Any] = {
        "vlm_model_name": str(directory / "vlm"),
        "vlm_dtype": "float32",
        "image_resolution": (56, 56),
    }
    small |= {"vlm_num_layers": 1, "use_flash_attn": False, "use_amp": False, "chunk_size": 8, "n_action_steps": 4}
    small |= {"max_state_dim": 8, "max_action_dim": 8, "embed_dim": 32, "hidden_dim": 32, "state_hidden_dim": 32}
    small |= {"num_heads": 2, "num_layers": 1, "num_inference_timesteps": 3, "max_text_length": 128}
    return write_checkpoint(directory, robot, Recipe(Evo1Config, Evo1Policy, small | fields), seed)


def _fill(policy: Any, part: str) -> None:
    """Replace a part's initial weights by larger ones; the initial ones would hardly change the noise."""
    for name, parameter in policy.named_parameters():
        if part in name and parameter.dim() > 1:
            parameter.normal_(std=0.1)


def make_groot(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small GR00T N1.7 checkpoint and return its directory. ``fields`` are passed to ``GrootConfig``.

    The model that it was fine-tuned from, which is loaded first, is stored in its directory as ``base``.
    """
    import torch
    from lerobot.policies.groot import processor_groot
    from lerobot.policies.groot.groot_n1_7 import GR00TN17, GR00TN17Config
    from lerobot.policies.groot.modeling_groot import GrootConfig, GrootPolicy

    _write_qwen3(directory / "vlm")
    sizes: dict[str, Any] = {"backbone_embedding_dim": 32, "select_layer": 1, "max_state_dim": 8, "max_action_dim": 8}
    sizes |= {"action_horizon": 8, "hidden_size": 32, "input_embedding_dim": 32, "max_seq_len": 32}
    attention = {"num_attention_heads": 2, "attention_head_dim": 16, "positional_embeddings": None}
    blocks: dict[str, Any] = attention | {"num_layers": 2, "norm_type": "ada_norm", "output_dim": 32}
    config = GR00TN17Config(
        model_name=str(directory / "vlm"),
        diffusion_model_cfg=blocks | {"interleave_self_attention": True},
        vl_self_attention_cfg=attention | {"num_layers": 1},
        num_inference_timesteps=3,
        **sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GR00TN17(config, load_backbone_weights=False).save_pretrained(directory / "base")
    small: dict[str, Any] = {"base_model_path": str(directory / "base"), "chunk_size": 8, "n_action_steps": 4}
    small |= {"max_state_dim": 8, "max_action_dim": 8}
    finish = partial(_fill, part="action_head")
    with patch.object(processor_groot, "GROOT_N1_7_BACKBONE_MODEL", str(directory / "vlm")):
        return write_checkpoint(directory, robot, Recipe(GrootConfig, GrootPolicy, small | fields, finish), seed)


def make_wall_x(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small Wall-X checkpoint and return its directory. ``fields`` are passed to ``WallXConfig``.

    The model that it was fine-tuned from, which is loaded first, is stored in its directory as ``vlm``.
    """
    from lerobot.policies.wall_x.modeling_wall_x import Qwen2_5_VLMoEForAction, WallXConfig, WallXPolicy
    from lerobot.policies.wall_x.qwen_model import Qwen2_5_VLConfig

    experts = [{"hidden_size": 32, "intermediate_size": 64, "hidden_act": "silu"}] * 2
    moe = {"num_experts": 2, "experts": experts, "dim_inputs": (32, 32), "mlp_moe": True}

    def model(ids: dict[str, int], tokenizer: Any) -> Any:
        text: dict[str, Any] = _QWEN2_TEXT | moe | {"vocab_size": len(tokenizer), "dof_config": {"arm": 8}}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=_QWEN2_VISION, agent_pos_config={"arm": 8}, **ids)
        return Qwen2_5_VLMoEForAction(config, processor=SimpleNamespace(tokenizer=tokenizer))

    _write_qwen2(directory / "vlm", model)
    small: dict[str, Any] = {"pretrained_name_or_path": str(directory / "vlm"), "chunk_size": 8, "n_action_steps": 4}
    small |= {"max_state_dim": 8, "max_action_dim": 8}
    finish = partial(_fill, part="action_preprocessor")
    return write_checkpoint(directory, robot, Recipe(WallXConfig, WallXPolicy, small | fields, finish), seed)


def make_molmoact2(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small MolmoAct2 checkpoint with continuous actions and return its directory.

    ``fields`` are passed to ``MolmoAct2Config``.
    """
    from lerobot.policies.molmoact2.modeling_molmoact2 import MolmoAct2Config, MolmoAct2Policy

    _write_molmo(directory / "vlm")
    small: dict[str, Any] = {"checkpoint_path": str(directory / "vlm"), "model_dtype": "float32"}
    small |= {"action_mode": "continuous", "inference_action_mode": "continuous"}
    small |= {"chunk_size": 8, "n_action_steps": 4, "num_inference_steps": 3, "num_state_tokens": 16}
    return write_checkpoint(directory, robot, Recipe(MolmoAct2Config, MolmoAct2Policy, small | fields), seed)


def _write_molmo(directory: Path) -> None:
    """Write a Molmo with random weights, its tokenizer and its processor."""
    import torch
    from lerobot.policies.molmoact2.molmoact2_hf_model import configuration_molmoact2 as configuration
    from lerobot.policies.molmoact2.molmoact2_hf_model.modeling_molmoact2 import MolmoAct2ForConditionalGeneration

    image_size, patch_size = 56, 14
    tokenizer = make_tokenizer(directory)
    tokenizer.add_tokens([*_MOLMO_TOKENS.values()], special_tokens=True)
    tokenizer.save_pretrained(directory)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _MOLMO_TOKENS.items()}
    sizes: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    sizes |= {"intermediate_size": 64, "initializer_range": 0.2}
    vision = sizes | {"num_hidden_layers": 1, "image_default_input_size": (image_size, image_size)}
    vision |= {"image_patch_size": patch_size, "image_num_pos": (image_size // patch_size) ** 2}
    text = sizes | {"num_hidden_layers": 1, "vocab_size": len(tokenizer), "max_position_embeddings": 512}
    expert: dict[str, Any] = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "ffn_multiple_of": 32}
    config = configuration.MolmoAct2Config(
        vit_config=configuration.MolmoAct2VitConfig(**vision),
        adapter_config=configuration.MolmoAct2AdapterConfig(**sizes, vit_layers=(-1,), text_hidden_size=32),
        text_config=configuration.MolmoAct2TextConfig(**text, additional_vocab_size=8),
        action_expert_config=configuration.MolmoAct2ActionExpertConfig(**expert, timestep_embed_dim=32),
        initializer_range=0.2,
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MolmoAct2ForConditionalGeneration(config).save_pretrained(directory)
    images = {"size": {"height": image_size, "width": image_size}, "patch_size": patch_size, "crop_mode": "resize"}
    (directory / "processor_config.json").write_text(json.dumps({"image_processor": images}))
