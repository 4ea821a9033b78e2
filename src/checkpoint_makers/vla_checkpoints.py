"""Small real checkpoints of policies that read an instruction, made offline: see :mod:`.checkpoints`.

The parts that such a policy is built around (a language model, its tokenizer) are made small, too. They are stored in
the checkpoint's directory, as ``vlm`` or ``clip`` beside the policy's own files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

from checkpoint_makers.checkpoints import PUSHT, Recipe, Robot, write_checkpoint

_SENTENCES = ("push the T-shaped block onto the T-shaped target", "reach the goal with the gripper", "Task: State: 0 1")
_SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>", "<image>", "<fake_token_around_image>", "<global-img>")


def make_tokenizer(directory: Path, sentences: Iterable[str] = _SENTENCES) -> Any:
    """Write a byte-pair tokenizer of at most 300 tokens into ``directory``, and return it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[*_SPECIAL_TOKENS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(sentences, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": f"<{name}>" for name in ("pad", "unk", "bos", "eos")},
        extra_special_tokens={
            "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<eos>",
        },
    )
    fast.save_pretrained(directory)
    return fast


def make_smolvla(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small SmolVLA checkpoint (1 MB) and return its directory. ``fields`` are passed to ``SmolVLAConfig``."""
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256}
    _make_smolvlm(directory / "vlm", vision | {"image_size": 64, "patch_size": 16}, text, scale_factor=2)
    small = {
        "num_vlm_layers": 2,
        "resize_imgs_with_padding": (64, 64),
        "num_steps": 3,
        "chunk_size": 10,
        "n_action_steps": 5,
        "max_state_dim": 8,
        "max_action_dim": 8,
    }
    return _write_smolvla(directory, robot, small | fields, seed)


def make_smolvla_of_real_size(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a SmolVLA checkpoint of 450 million random parameters (1.8 GB) and return its directory.

    The numbers are those of SmolVLM2-500M-Video-Instruct's ``config.json``, which ``SmolVLAConfig`` names, and the
    policy's are LeRobot's defaults. ``fields`` are passed to ``SmolVLAConfig``.
    """
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    text: dict[str, Any] = {
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 15,
    }
    text |= {"num_key_value_heads": 5, "head_dim": 64, "max_position_embeddings": 8192}
    text |= {"vocab_size": 49280, "rope_theta": 100000.0, "rms_norm_eps": 1e-5}
    _make_smolvlm(directory / "vlm", vision | {"image_size": 512, "patch_size": 16}, text, scale_factor=4)
    return _write_smolvla(directory, robot, fields, seed)


def _make_smolvlm(directory: Path, vision: dict[str, Any], text: dict[str, Any], scale_factor: int) -> None:
    """Write the configuration, the tokenizer and the processors of a SmolVLM."""
    from transformers import SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    tokenizer = make_tokenizer(directory)
    SmolVLMConfig(
        vision_config=vision,
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0} | text,
        scale_factor=scale_factor,
        image_token_id=4,
        pad_token_id=0,
    ).save_pretrained(directory)
    SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(), tokenizer=tokenizer, video_processor=SmolVLMVideoProcessor()
    ).save_pretrained(directory)


def _write_smolvla(directory: Path, robot: Robot, fields: dict[str, Any], seed: int) -> Path:
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAConfig, SmolVLAPolicy

    built_around = {"vlm_model_name": str(directory / "vlm"), "load_vlm_weights": False}
    return write_checkpoint(directory, robot, Recipe(SmolVLAConfig, SmolVLAPolicy, built_around | fields), seed)


def make_pi(directory: Path, robot: Robot = PUSHT, *, version: str = "pi0", seed: int = 0, **fields: Any) -> Path:
    """Write a small π0 or π0.5 (``version="pi05"``) checkpoint and return its directory.

    It can only be opened within :func:`small_gemma`.
    """
    modeling = import_module(f"lerobot.policies.{version}.modeling_{version}")
    processing = import_module(f"lerobot.policies.{version}.processor_{version}")
    classes = getattr(modeling, f"{version.upper()}Config"), getattr(modeling, f"{version.upper()}Policy")
    make_tokenizer(directory / "vlm")

    def local_tokenizer(tokenizer_name: str, **options: Any) -> Any:
        from lerobot.processor import TokenizerProcessorStep

        return TokenizerProcessorStep(tokenizer_name=str(directory / "vlm"), **options)

    small = {"image_resolution": (56, 56), "num_inference_steps": 3, "chunk_size": 10, "n_action_steps": 5}
    small |= {"max_state_dim": 8, "max_action_dim": 8, "tokenizer_max_length": 64}
    with small_gemma(version), patch.object(processing, "TokenizerProcessorStep", local_tokenizer):
        return write_checkpoint(directory, robot, Recipe(*classes, small | fields), seed)


def make_pi0_fast(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small π0-FAST checkpoint and return its directory. It can only be opened within :func:`small_gemma`.

    The training step that converts actions to tokens is left out, because it would be downloaded from the Hub.
    """
    from lerobot.policies.pi0_fast import processor_pi0_fast
    from lerobot.policies.pi0_fast.modeling_pi0_fast import PI0FastConfig, PI0FastPolicy
    from lerobot.processor import IdentityProcessorStep

    make_tokenizer(directory / "vlm")
    small: dict[str, Any] = {"chunk_size": 8, "n_action_steps": 4, "max_decoding_steps": 12}
    small |= {"max_state_dim": 8, "max_action_dim": 8, "tokenizer_max_length": 64}
    small |= {"text_tokenizer_name": str(directory / "vlm"), "fast_skip_tokens": 0}
    small |= {"validate_action_token_prefix": False}  # an untrained model does not begin with "Action: "
    without_download = patch.object(
        processor_pi0_fast, "ActionTokenizerProcessorStep", lambda **_: IdentityProcessorStep()
    )
    with small_gemma("pi0_fast"), without_download:
        return write_checkpoint(directory, robot, Recipe(PI0FastConfig, PI0FastPolicy, small | fields), seed)


class _FastTokenizer:
    """A replacement of π0-FAST's action tokenizer, whose code comes from the Hub: here a token is a coefficient."""

    min_token, scale = -150, 100
    bpe_tokenizer: Any

    def __init__(self) -> None:
        self.bpe_tokenizer = self

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> _FastTokenizer:
        return cls()

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(map(chr, tokens))


@contextmanager
def small_gemma(*versions: str) -> Iterator[None]:
    """Build π0 and related policies (``pi0``, ``pi05``, ``pi0_fast``) around a small Gemma and SigLIP within a block.

    LeRobot only has large ones. Files that π0-FAST would download from the Hub are replaced as well.
    """
    with ExitStack() as stack:
        for version in versions:
            module = import_module(f"lerobot.policies.{version}.modeling_{version}")
            for name, change in (
                ("PaliGemmaForConditionalGenerationWithPiGemma", _shrink_paligemma),
                ("PiGemmaForCausalLM", _shrink_gemma),
            ):
                if hasattr(module, name):
                    smaller = partial(_build_smaller, getattr(module, name), change)
                    stack.enter_context(patch.object(module, name, smaller))
            stack.enter_context(
                patch.object(module, "get_gemma_config", partial(_small_gemma_config, module.GemmaConfig))
            )
            if version == "pi0_fast":
                stack.enter_context(patch.object(module, "AutoProcessor", _FastTokenizer))
        yield


def _small_gemma_config(config_class: Any, variant: str) -> Any:
    width = {"gemma_2b": 64, "gemma_300m": 32}[variant]
    return config_class(width=width, depth=2, mlp_dim=64, num_heads=4, num_kv_heads=1, head_dim=16)


def _build_smaller(model: Any, change: Any, config: Any) -> Any:
    change(config)
    return model(config)


def _shrink_gemma(config: Any) -> None:
    config.vocab_size = 300  # the size of the tokenizer's vocabulary


def _shrink_paligemma(config: Any) -> None:
    _shrink_gemma(config.text_config)
    vision = config.vision_config
    vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, vision.num_attention_heads = 32, 64, 1, 2
    vision.projection_dim = config.text_config.hidden_size
    vision.vision_use_head = False


def make_xvla(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small X-VLA checkpoint and return its directory. ``fields`` are passed to ``XVLAConfig``."""
    from lerobot.policies.xvla.modeling_xvla import XVLAConfig, XVLAPolicy

    tokenizer = make_tokenizer(directory / "vlm")
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    text: dict[str, Any] = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": len(tokenizer)}
    text |= {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in _BART_SIZES.items()}
    vision: dict[str, Any] = {"depths": (1, 1), "patch_size": (7, 3), "patch_stride": (4, 2), "patch_padding": (3, 1)}
    vision |= {"patch_prenorm": (False, True), "dim_embed": (16, 32), "num_heads": (2, 2), "num_groups": (2, 2)}
    vision |= {"projection_dim": 32, "window_size": 4}
    vision |= {"image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"]}
    vision |= {"image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": 20}}
    vision |= {"visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": 10}}
    small = {
        "florence_config": {
            "vision_config": vision,
            "text_config": text | ids | {"max_position_embeddings": 256},
            "projection_dim": 32,
            **ids,
        },
        "tokenizer_name": str(directory / "vlm"),
        "tokenizer_max_length": 32,
        "resize_imgs_with_padding": (64, 64),
        "hidden_size": 32,
        "depth": 1,
        "num_heads": 2,
        "num_domains": 2,
        "len_soft_prompts": 4,
        "num_denoising_steps": 3,
        "chunk_size": 10,
        "n_action_steps": 5,
        "action_mode": "auto",
        "max_state_dim": 8,
        "max_action_dim": 8,
    }
    return write_checkpoint(directory, robot, Recipe(XVLAConfig, XVLAPolicy, small | fields, _fill_projection), seed)


def _fill_projection(policy: Any) -> None:
    """Initialise the projection, which LeRobot 0.4 leaves as uninitialised memory."""
    for name, parameter in policy.named_parameters():
        if name.endswith("image_projection"):
            parameter.normal_(std=0.1)


_BART_SIZES = {"attention_heads": 2, "ffn_dim": 64}


def make_multi_task_dit(directory: Path, robot: Robot = PUSHT, *, seed: int = 0, **fields: Any) -> Path:
    """Write a small Multi-Task DiT checkpoint (LeRobot 0.6) and return its directory."""
    from lerobot.policies.multi_task_dit.modeling_multi_task_dit import MultiTaskDiTConfig, MultiTaskDiTPolicy
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

    tokenizer = make_tokenizer(directory / "clip")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vocabulary = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    CLIPTextModel(CLIPTextConfig(**sizes, **vocabulary)).save_pretrained(directory / "clip")
    vision = CLIPVisionConfig(**sizes, image_size=84, patch_size=14)
    CLIPVisionModel(vision).save_pretrained(directory / "clip-vision")
    small = {
        "vision_encoder_name": str(directory / "clip-vision"),
        "text_encoder_name": str(directory / "clip"),
        "image_crop_shape": (84, 84),
        "tokenizer_max_length": 32,
        "hidden_dim": 32,
        "num_layers": 1,
        "num_heads": 2,
        "timestep_embed_dim": 16,
        "horizon": 16,
        "n_action_steps": 8,
        "num_inference_steps": 3,
    }
    return write_checkpoint(directory, robot, Recipe(MultiTaskDiTConfig, MultiTaskDiTPolicy, small | fields), seed)
