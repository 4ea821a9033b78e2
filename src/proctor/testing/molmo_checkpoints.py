"""A small real checkpoint of MolmoAct2, made offline: see :mod:`.checkpoints`.

The model it is trained from, with its tokenizer and processor, is made too, small, and lies in the checkpoint's
directory as ``vlm``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proctor.testing.checkpoints import PUSHT, Recipe, Robot, write_checkpoint
from proctor.testing.vla_checkpoints import make_tokenizer

_TOKENS = {
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
_IMAGE_SIZE, _PATCH_SIZE = 56, 14


def make_molmoact2(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small MolmoAct2 checkpoint of continuous actions and return its directory.

    ``fields`` go to ``MolmoAct2Config``.
    """
    from lerobot.policies.molmoact2.modeling_molmoact2 import MolmoAct2Config, MolmoAct2Policy

    _write_molmo(directory / "vlm")
    small: dict[str, Any] = {"checkpoint_path": str(directory / "vlm"), "model_dtype": "float32"}
    small |= {"action_mode": "continuous", "inference_action_mode": "continuous"}
    small |= {"chunk_size": 8, "n_action_steps": 4, "num_inference_steps": 3, "num_state_tokens": 16}
    return write_checkpoint(directory, robot, Recipe(MolmoAct2Config, MolmoAct2Policy, small | fields), seed)


def _write_molmo(directory: Path) -> None:
    import torch
    from lerobot.policies.molmoact2.molmoact2_hf_model import configuration_molmoact2 as configuration
    from lerobot.policies.molmoact2.molmoact2_hf_model.modeling_molmoact2 import MolmoAct2ForConditionalGeneration

    tokenizer = make_tokenizer(directory)
    tokenizer.add_tokens([*_TOKENS.values()], special_tokens=True)
    tokenizer.save_pretrained(directory)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _TOKENS.items()}
    sizes: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    sizes |= {"intermediate_size": 64, "initializer_range": 0.2}
    vision = sizes | {"num_hidden_layers": 1, "image_default_input_size": (_IMAGE_SIZE, _IMAGE_SIZE)}
    vision |= {"image_patch_size": _PATCH_SIZE, "image_num_pos": (_IMAGE_SIZE // _PATCH_SIZE) ** 2}
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
    images = {"size": {"height": _IMAGE_SIZE, "width": _IMAGE_SIZE}, "patch_size": _PATCH_SIZE, "crop_mode": "resize"}
    (directory / "processor_config.json").write_text(json.dumps({"image_processor": images}))
