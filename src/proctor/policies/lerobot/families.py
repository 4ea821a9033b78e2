"""What an evaluator has to know about a type of LeRobot policy. A further type is one more declaration here.

A declaration says which steps the policy wants to see, how many of its actions can be executed before it must look
again, how it predicts without keeping anything about an episode, and whether it draws random numbers. Nothing here
imports torch or lerobot before a policy predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proctor.policies.base import EpisodeMemory

Config = Mapping[str, Any]
"""The fields of a checkpoint's ``config.json``, with the user's overrides."""

Batch = Mapping[str, Any]
"""Preprocessed tensors ``(batch, time, …)``."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One type of policy.

    Attributes:
        module: the package of lerobot that holds ``configuration_*`` and ``modeling_*``.
        name: what the classes ``<name>Config`` and ``<name>Policy`` are called.
        counts: the fields the functions below read: positive whole numbers.
        look_offsets: the steps it sees, relative to the present.
        executable_steps: how many actions of a prediction can be executed at most, and the same in words.
        predict: model, batch and memories to action chunks ``(batch, n_action_steps, action_size)``, still normalised.
            What it has to remember about an episode is in that episode's memory.
        randomness: see :class:`~proctor.policies.base.Policy`.
        implied: fields that follow from others, and why.
        while_loading: fields set while the model is built: what they do would be undone by the checkpoint's weights.
        resizes_images: whether the model itself resizes its images, so that any size will do.
        requires: distributions beyond lerobot and torch, each importable under its own name.
    """

    module: str
    name: str
    counts: tuple[str, ...]
    look_offsets: Callable[[Config], tuple[int, ...]]
    executable_steps: tuple[Callable[[Config], int], str]
    predict: Callable[[Any, Batch, Sequence[EpisodeMemory]], Any]
    randomness: str
    implied: tuple[Callable[[Config], Mapping[str, Any]], str] = (lambda _: {}, "")
    while_loading: Mapping[str, Any] = field(default_factory=dict)
    resizes_images: Callable[[Config], bool] = lambda _: False
    requires: tuple[str, ...] = ()


def _predict_act(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    chunks = model.predict_action_chunk({key: tensor[:, -1] for key, tensor in batch.items()})
    if model.config.temporal_ensemble_coeff is None:
        return chunks[:, : model.config.n_action_steps]
    import torch

    ensembled = [
        _ensembler(model.config, memory).update(chunk) for chunk, memory in zip(chunks.split(1), memories, strict=True)
    ]
    return torch.stack(ensembled)


def _ensembler(config: Any, memory: EpisodeMemory) -> Any:
    """The episode's own temporal ensemble; LeRobot keeps one per policy."""
    from lerobot.policies.act.modeling_act import ACTTemporalEnsembler

    if "ensembler" not in memory.state:
        memory.state["ensembler"] = ACTTemporalEnsembler(config.temporal_ensemble_coeff, config.chunk_size)
    return memory.state["ensembler"]


def _predict_diffusion(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Past ``DiffusionPolicy`` and its queues of observations: the history is in the batch already."""
    import torch
    from lerobot.utils.constants import OBS_IMAGES

    history = dict(batch)
    if cameras := model.config.image_features:
        history[OBS_IMAGES] = torch.stack([batch[camera] for camera in cameras], dim=-4)
    return model.diffusion.generate_actions(history)


FAMILIES: Mapping[str, Family] = {
    "act": Family(
        module="lerobot.policies.act",
        name="ACT",
        counts=("n_action_steps", "chunk_size"),
        look_offsets=lambda _: (0,),
        executable_steps=(lambda config: config["chunk_size"], "chunk_size"),
        predict=_predict_act,
        randomness="none",
        implied=(
            lambda config: {} if config.get("temporal_ensemble_coeff") is None else {"n_action_steps": 1},
            "a temporal ensemble predicts at every step",
        ),
        while_loading={"pretrained_backbone_weights": None},
    ),
    "diffusion": Family(
        module="lerobot.policies.diffusion",
        name="Diffusion",
        counts=("n_action_steps", "horizon", "n_obs_steps"),
        look_offsets=lambda config: tuple(range(1 - config["n_obs_steps"], 1)),
        executable_steps=(
            lambda config: config["horizon"] - config["n_obs_steps"] + 1,
            "horizon - n_obs_steps + 1",
        ),
        predict=_predict_diffusion,
        randomness="global",
        while_loading={"pretrained_backbone_weights": None},
        resizes_images=lambda config: config.get("resize_shape") is not None,
        requires=("diffusers",),
    ),
}
