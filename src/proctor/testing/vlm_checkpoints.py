"""Small real checkpoints of policies around a vision-language model, made offline: see :mod:`.checkpoints`.

The model, its tokenizer and its processor are made too, small, and lie in the checkpoint's directory as ``vlm``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proctor.testing.checkpoints import PUSHT, Recipe, Robot, write_checkpoint
from proctor.testing.vla_checkpoints import make_tokenizer

_TURNS = ("<|im_start|>", "<|im_end|>")
_VISION = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}"
)
"""Qwen's, without what nobody uses here."""

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


def _write_qwen(directory: Path, model: Any, processor: Any, patch_size: int) -> None:
    """A Qwen with random weights, and its processor; ``model`` makes it of the ids of its special tokens."""
    import torch
    from transformers import Qwen2VLImageProcessor

    tokenizer = make_tokenizer(directory)
    tokenizer.add_tokens([*_TURNS, *_VISION.values()], special_tokens=True)
    tokenizer.image_token, tokenizer.video_token = _VISION["image_token_id"], _VISION["video_token_id"]
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _VISION.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(ids).save_pretrained(directory)
    images = Qwen2VLImageProcessor(patch_size=patch_size, min_pixels=64 * 64, max_pixels=128 * 128)
    processor(image_processor=images, tokenizer=tokenizer, chat_template=_CHAT).save_pretrained(directory)


def make_eo1(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small EO-1 checkpoint and return its directory. ``fields`` go to ``EO1Config``."""
    from lerobot.policies.eo1.modeling_eo1 import EO1Config, EO1Policy
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLVideoProcessor,
    )

    def model(ids: dict[str, int]) -> Any:
        text: dict[str, Any] = _TEXT | {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
        vision: dict[str, Any] = _VISION_TOWER | {"out_hidden_size": 32, "fullatt_block_indexes": [0]}
        return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))

    def processor(**parts: Any) -> Any:
        return Qwen2_5_VLProcessor(video_processor=Qwen2VLVideoProcessor(), **parts)

    _write_qwen(directory / "vlm", model, processor, patch_size=14)
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
    """Write a small VLA-JEPA checkpoint, without its world model, which only training uses, and return its directory.

    ``fields`` go to ``VLAJEPAConfig``.
    """
    from lerobot.policies.vla_jepa.modeling_vla_jepa import VLAJEPAConfig, VLAJEPAPolicy
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor, Qwen3VLVideoProcessor

    def model(ids: dict[str, int]) -> Any:
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

    _write_qwen(directory / "vlm", model, processor, patch_size=16)
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
    """Write a small EVO-1 checkpoint and return its directory. ``fields`` go to ``Evo1Config``."""
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
