"""Declares what an evaluation needs of each type of LeRobot policy. A further type is one more declaration here.

A declaration states which steps the policy wants to see, how many of its actions can be executed before it must look
again, how it predicts without keeping anything about an episode, and what becomes of its random numbers. A type that
is not declared here, from LeRobot or from a package of somebody else, is :data:`UNDECLARED`: right for whatever a
policy does, and slow, since it is shown every step. Nothing here imports torch or lerobot before a policy predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from proctor.errors import CheckpointError
from proctor.policies.base import EpisodeMemory, Randomness
from proctor.policies.lerobot.real_time import is_real_time

Config = Mapping[str, Any]
"""The fields of a checkpoint's ``config.json``, with the user's overrides."""

Batch = Mapping[str, Any]
"""The output of LeRobot's preprocessor: tensors ``(batch, …)``, or ``(batch, time, …)`` if the policy looks back.
Language has no time."""

Predict = Callable[[Any, Batch, Sequence[EpisodeMemory]], Any]


@dataclass(frozen=True, kw_only=True)
class PolicyType:
    """One type of policy.

    Attributes:
        predict: model, batch and memories to action chunks ``(batch, steps, action_size)``, still normalised. What it
            has to remember about an episode is in that episode's memory.
        randomness: see :class:`~proctor.policies.base.Policy`.
        counts: the fields the functions below read: positive whole numbers.
        n_action_steps: how many actions of a prediction are executed.
        executable_steps: how many could be at most, and the name of that number in messages.
        look_offsets: the steps it sees, relative to the present.
        implied: fields that follow from others, and why.
        while_loading: fields set while the model is built: what they do would be undone by the checkpoint's weights.
        episodes_per_pass: see :class:`~proctor.policies.base.Policy`.
        resizes_images: whether the model itself resizes its images, so that any size will do.
        weights: the model and the tensors of its file to those tensors under the names the model has for them.
        load_rest: load what model or preprocessor would load in the midst of the first prediction, each copy its own.
        predict_in_real_time: ``predict`` for a checkpoint with real-time chunking; None if that cannot be evaluated.
        needs_gradients: whether a prediction computes gradients.
        network: the part of the policy that Proctor compiles if the user asks for it and LeRobot has no field for it.
        requires: distributions beyond lerobot and torch, each importable under its own name.
        imports: modules beyond lerobot's that its module imports, if it uses few of those that lerobot imports with it
            (see :mod:`~proctor.policies.lerobot.imports`); None if all of lerobot is to be imported.
    """

    predict: Predict
    randomness: Randomness
    counts: tuple[str, ...] = ("n_action_steps", "chunk_size")
    n_action_steps: Callable[[Config], int] = lambda config: int(config["n_action_steps"])
    executable_steps: tuple[Callable[[Config], int], str] = (lambda config: int(config["chunk_size"]), "chunk_size")
    look_offsets: Callable[[Config], tuple[int, ...]] = lambda _: (0,)
    implied: tuple[Callable[[Config], Mapping[str, Any]], str] = (lambda _: {}, "")
    while_loading: Mapping[str, Any] = field(default_factory=dict)
    episodes_per_pass: int = 1
    resizes_images: Callable[[Config], bool] = lambda _: False
    weights: Callable[[Any, dict[str, Any]], dict[str, Any]] = lambda _, tensors: tensors
    load_rest: Callable[[Any, Any], None] = lambda _, __: None
    predict_in_real_time: Predict | None = None
    needs_gradients: bool = False
    network: Callable[[Any], Any] | None = None
    requires: tuple[str, ...] = ()
    imports: tuple[str, ...] | None = None


def policy_type_of(config: Config, *, relative_actions: bool) -> PolicyType:
    """Find the type of a checkpoint's policy by its configuration, and by whether its actions are added to the state.

    Raises:
        CheckpointError: LeRobot cannot evaluate the checkpoint either.
    """
    policy_type = POLICY_TYPES.get(str(config["type"]), UNDECLARED)
    if relative_actions:
        policy_type = _with_relative_actions(policy_type, config)
    return _in_real_time(policy_type, config) if is_real_time(config) else policy_type


def _with_relative_actions(policy_type: PolicyType, config: Config) -> PolicyType:
    if config["type"] == "groot":
        raise CheckpointError(
            "The checkpoint is a 'groot' policy with use_relative_actions; LeRobot selects no single actions from such "
            "a policy, so it cannot be evaluated. Evaluate one that was trained without."
        )
    # The postprocessor adds an action to what was seen last, so each step must be seen.
    names = ("resizes_images", "weights", "load_rest", "requires", "while_loading")
    kept = {name: getattr(policy_type, name) for name in names}
    return replace(UNDECLARED, **kept)


def _in_real_time(policy_type: PolicyType, config: Config) -> PolicyType:
    if policy_type.predict_in_real_time is None:
        able = ", ".join(sorted(name for name, each in POLICY_TYPES.items() if each.predict_in_real_time))
        relative = " with use_relative_actions" if config.get("use_relative_actions") else ""
        raise CheckpointError(
            f"The checkpoint is a '{config['type']}' policy{relative} and its rtc_config enables real-time chunking, "
            f"which can be evaluated for {able} without use_relative_actions; to evaluate it without real-time "
            "chunking, leave the option out or give --policy.rtc_config=null."
        )
    return replace(policy_type, predict=policy_type.predict_in_real_time, load_rest=_guide_rows, needs_gradients=True)


# ------------------------------------------------------------------------------------------------- how they predict


def _wanted(chunks: Any, model: Any, memories: Sequence[EpisodeMemory]) -> Any:
    """Give the actions that are executed before the next look; all that are predicted if the run wants whole chunks."""
    return chunks if _wants_whole_chunks(memories) else chunks[:, : model.config.n_action_steps]


def _wants_whole_chunks(memories: Sequence[EpisodeMemory]) -> bool:
    return any(memory.whole_chunks for memory in memories)


def _predict_act(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    chunks = model.predict_action_chunk(batch)
    if model.config.temporal_ensemble_coeff is None:
        return _wanted(chunks, model, memories)
    import torch

    ensembled = [
        _ensembler(model.config, memory).update(chunk) for chunk, memory in zip(chunks.split(1), memories, strict=True)
    ]
    return torch.stack(ensembled)


def _ensembler(config: Any, memory: EpisodeMemory) -> Any:
    """Give the episode's own temporal ensemble; LeRobot keeps one per policy."""
    from lerobot.policies.act.modeling_act import ACTTemporalEnsembler

    if "ensembler" not in memory.state:
        memory.state["ensembler"] = ACTTemporalEnsembler(config.temporal_ensemble_coeff, config.chunk_size)
    return memory.state["ensembler"]


def _predict_diffusion(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Call the network without ``DiffusionPolicy`` and its queues of observations: the history is in the batch."""
    from proctor.policies.lerobot.randomness import noise, row_draws

    config, history = model.config, _with_stacked_images(model, batch)
    if config.noise_scheduler_type == "DDIM":  # draws once; DDPM at every step of denoising
        shape, device = (config.horizon, config.action_feature.shape[0]), batch["observation.state"].device
        return _diffusion_chunks(model, history, memories, noise=noise(memories, shape, device))
    with row_draws(memories):
        return _diffusion_chunks(model, history, memories)


def _diffusion_chunks(model: Any, history: Batch, memories: Sequence[EpisodeMemory], noise: Any = None) -> Any:
    """Call ``generate_actions``; if whole chunks are wanted, do what it does without its cut to ``n_action_steps``."""
    network = model.diffusion
    if not _wants_whole_chunks(memories):
        return network.generate_actions(history, **({} if noise is None else {"noise": noise}))
    condition = network._prepare_global_conditioning(history)  # noqa: SLF001 - as generate_actions does
    sampled = network.conditional_sample(len(memories), global_cond=condition, noise=noise)
    return sampled[:, model.config.n_obs_steps - 1 :]


def _predict_multi_task_dit(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    from proctor.policies.lerobot.randomness import row_draws

    history = _with_stacked_images(model, batch)
    with row_draws(memories):
        if not _wants_whole_chunks(memories):
            return model._generate_actions(history)  # noqa: SLF001 - as its select_action does
        condition = model.observation_encoder.encode(history)
        sampled = model.objective.conditional_sample(model.noise_predictor, len(memories), condition)
    return sampled[:, model.config.n_obs_steps - 1 :]


def _predict_vqbet(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Call the network without ``VQBeTPolicy`` and its queues; the codes of the actions are sampled."""
    from proctor.policies.lerobot.randomness import row_draws

    with row_draws(memories):
        chunks = model.vqbet(_with_stacked_images(model, batch), rollout=True)
    return chunks[:, : model.config.action_chunk_size]


def _with_stacked_images(model: Any, batch: Batch) -> dict[str, Any]:
    """Add all cameras to the batch under one key, ``(batch, time, camera, …)``."""
    import torch
    from lerobot.utils.constants import OBS_IMAGES

    stacked = dict(batch)
    if cameras := model.config.image_features:
        stacked[OBS_IMAGES] = torch.stack([batch[camera] for camera in cameras], dim=-4)
    return stacked


def _predict_from_noise(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Predict by flow matching from noise that is passed in."""
    from proctor.policies.lerobot.randomness import noise

    config = model.config
    shape, device = (config.chunk_size, config.max_action_dim), batch["observation.state"].device
    chunks = model.predict_action_chunk(dict(batch), noise=noise(memories, shape, device))
    return _wanted(chunks, model, memories)


def _continue_from_noise(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Predict from noise that is passed in, so that each chunk continues the one before."""
    from proctor.policies.lerobot.guidance import continued
    from proctor.policies.lerobot.randomness import noise

    config = model.config
    shape, device = (config.chunk_size, config.max_action_dim), batch["observation.state"].device
    drawn = noise(memories, shape, device)
    chunks = continued(model, memories, lambda **how: model.predict_action_chunk(dict(batch), noise=drawn, **how))
    return _wanted(chunks, model, memories)


def _continue_alone(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Predict with a policy that draws by itself, so that each chunk continues the one before."""
    from proctor.policies.lerobot.guidance import continued

    chunks = continued(model, memories, partial(model.predict_action_chunk, dict(batch)))
    return _wanted(chunks, model, memories)


def _guide_rows(model: Any, preprocessor: Any) -> None:
    from proctor.policies.lerobot.guidance import guide_rows

    guide_rows(model, preprocessor)


def _predict_chunk(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Predict with a policy whose chunk depends only on its arguments."""
    from proctor.policies.lerobot.randomness import row_draws

    with row_draws(memories):
        return _wanted(model.predict_action_chunk(dict(batch)), model, memories)


def _predict_alone(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Predict with a policy that keeps nothing, but can neither share a pass nor run in two threads."""
    return _wanted(model.predict_action_chunk(dict(batch)), model, memories)


def _predict_step(model: Any, batch: Batch, memories: Sequence[EpisodeMemory]) -> Any:
    """Predict with a policy that samples the next action and keeps nothing."""
    from proctor.policies.lerobot.randomness import row_draws

    with row_draws(memories):
        return model.select_action(dict(batch)).unsqueeze(1)


def _predict_by_selecting(
    model: Any, batch: Batch, memories: Sequence[EpisodeMemory], *, take_queue: bool = False
) -> Any:
    from proctor.policies.lerobot.copies import select_actions

    return select_actions(model, batch, memories, take_queue=take_queue)


def _load_tokenizer(_: Any, preprocessor: Any) -> None:
    """Load GR00T's tokenizer, which it would load when it is first used."""
    for step in preprocessor.steps:
        if hasattr(type(step), "proc"):
            step.proc  # noqa: B018 - a property


def _openpi_names(model: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Rename weights that came from openpi, as the policy's own loading does."""
    renamed = model._fix_pytorch_state_dict_keys(tensors, model.config)  # noqa: SLF001
    return {name if name.startswith("model.") else f"model.{name}": tensor for name, tensor in renamed.items()}


# ---------------------------------------------------------------------------------------------------- declarations

UNDECLARED = PolicyType(
    predict=_predict_by_selecting,
    randomness=Randomness.GLOBAL,
    counts=(),
    n_action_steps=lambda _: 1,
    executable_steps=(lambda config: int(config.get("chunk_size") or config.get("n_action_steps") or 1), "chunk_size"),
)

_VLM = PolicyType(
    predict=partial(_predict_by_selecting, take_queue=True),
    randomness=Randomness.GLOBAL,
    counts=("n_action_steps", "chunk_size"),
    resizes_images=lambda _: True,
    requires=("transformers",),
)
"""Built around a vision-language model. It looks only when its queue of actions is empty, as its ``select_action``
shows; alone, because its prompt is padded to the longest beside it."""

_PI = PolicyType(
    predict=_predict_from_noise,
    predict_in_real_time=_continue_from_noise,
    randomness=Randomness.PER_ROW,
    resizes_images=lambda _: True,
    weights=_openpi_names,
    requires=("transformers",),
)

_WITH_HORIZON: Mapping[str, Any] = {
    "counts": ("n_action_steps", "horizon", "n_obs_steps"),
    "executable_steps": (
        lambda config: config["horizon"] - config["n_obs_steps"] + 1,
        "horizon - n_obs_steps + 1",
    ),
    "look_offsets": lambda config: tuple(range(1 - config["n_obs_steps"], 1)),
}
"""A policy that predicts from its first observation on, also what lies in the past by now."""

POLICY_TYPES: Mapping[str, PolicyType] = {
    "act": PolicyType(
        predict=_predict_act,
        randomness=Randomness.NONE,
        implied=(
            lambda config: {} if config.get("temporal_ensemble_coeff") is None else {"n_action_steps": 1},
            "a temporal ensemble predicts at every step",
        ),
        while_loading={"pretrained_backbone_weights": None},
        imports=(),
        network=lambda policy: policy.model,
    ),
    "diffusion": PolicyType(
        predict=_predict_diffusion,
        randomness=Randomness.PER_ROW,
        episodes_per_pass=4,  # each step of denoising fetches all weights, which takes longer than computing with them
        **_WITH_HORIZON,
        while_loading={"pretrained_backbone_weights": None},
        resizes_images=lambda config: config.get("resize_shape") is not None,
        requires=("diffusers",),
        imports=("diffusers.schedulers.scheduling_ddim", "diffusers.schedulers.scheduling_ddpm"),
    ),
    "multi_task_dit": PolicyType(
        predict=_predict_multi_task_dit,
        randomness=Randomness.PER_ROW,
        **_WITH_HORIZON,
        resizes_images=lambda config: config.get("image_resize_shape") is not None,
        requires=("diffusers", "transformers"),
    ),
    "vqbet": PolicyType(
        predict=_predict_vqbet,
        randomness=Randomness.PER_ROW,
        counts=("action_chunk_size", "n_obs_steps"),
        n_action_steps=lambda config: int(config["action_chunk_size"]),
        executable_steps=(lambda config: config["action_chunk_size"], "action_chunk_size"),
        look_offsets=lambda config: tuple(range(1 - config["n_obs_steps"], 1)),
        while_loading={"pretrained_backbone_weights": None},
        imports=(),
    ),
    "smolvla": PolicyType(
        predict=_predict_from_noise,
        predict_in_real_time=_continue_from_noise,
        randomness=Randomness.PER_ROW,
        resizes_images=lambda config: config.get("resize_imgs_with_padding") is not None,
        requires=("transformers",),
    ),
    "pi0": _PI,
    "pi05": _PI,
    "pi0_fast": replace(_PI, predict=_predict_chunk, predict_in_real_time=None),
    "xvla": PolicyType(
        predict=_predict_chunk,
        randomness=Randomness.PER_ROW,
        resizes_images=lambda config: config.get("resize_imgs_with_padding") is not None,
        requires=("transformers",),
    ),
    "tdmpc": PolicyType(
        predict=partial(_predict_by_selecting, take_queue=True),
        randomness=Randomness.GLOBAL,
        counts=("n_action_steps", "n_action_repeats", "horizon"),
        n_action_steps=lambda config: max(config["n_action_steps"], config["n_action_repeats"]),
        executable_steps=(lambda config: max(config["horizon"], config["n_action_repeats"]), "horizon"),
        imports=(),
    ),
    **dict.fromkeys(
        ("gaussian_actor", "sac"), replace(UNDECLARED, predict=_predict_step, randomness=Randomness.PER_ROW)
    ),
    **dict.fromkeys(("eo1", "molmoact2", "vla_jepa", "wall_x"), _VLM),
    "evo1": replace(_VLM, predict_in_real_time=_continue_alone),
    "lingbot_va": replace(
        UNDECLARED,
        resizes_images=lambda _: True,
        load_rest=lambda model, _: model._ensure_frozen_modules(),  # noqa: SLF001 - as its select_action does
        requires=("transformers", "diffusers"),
    ),
    "groot": replace(_VLM, load_rest=_load_tokenizer, requires=("transformers", "diffusers")),
    "fastwam": PolicyType(
        predict=_predict_alone,
        randomness=Randomness.GLOBAL,  # its video autoencoder keeps what it works on in itself
        counts=("n_action_steps", "action_horizon"),
        executable_steps=(lambda config: config["action_horizon"], "action_horizon"),
        resizes_images=lambda _: True,
        requires=("transformers", "diffusers"),
    ),
}
