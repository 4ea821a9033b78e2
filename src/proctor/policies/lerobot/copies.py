"""Copies of a policy: one per episode for policies that remember, or one with weights of its own. Importing this
imports torch.

TD-MPC starts its planner from its result of the step before, world models keep past observations, and a policy from
another package may keep anything. Each episode gets a copy of its own of such a policy, which shares the weights'
storage and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch

from proctor.errors import PolicyError
from proctor.policies.base import EpisodeMemory

_LARGE_BYTES = 2**20
"""Buffers from this size on are tables (embeddings, masks), not something a policy remembers an episode in."""


def sharing_weights(model: torch.nn.Module) -> Any:
    """Copy a model; the copy shares the original's parameters and large buffers, and has everything else for itself.

    Raises:
        PolicyError: the policy holds something that cannot be copied.
    """
    parameters, buffers = _tensors_of(model)
    shared = [*parameters, *(buffer for buffer in buffers if buffer.nbytes >= _LARGE_BYTES)]
    return _copied(model, {id(tensor): tensor for tensor in shared})


def with_own_weights(model: torch.nn.Module, device: str | None = None) -> Any:
    """Copy a model and its weights as they are now, to ``device`` or where they are; gradients are not copied.

    Raises:
        PolicyError: the policy holds something that cannot be copied.
    """
    parameters, buffers = _tensors_of(model)
    copies: dict[int, Any] = {id(buffer): _on(device, buffer) for buffer in buffers}
    copies |= {id(each): torch.nn.Parameter(_on(device, each), requires_grad=False) for each in parameters}
    copy = _copied(model, copies)
    if device is not None and hasattr(copy, "config"):
        copy.config.device = device
    return copy


def _on(device: str | None, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(device or tensor.device, copy=True)


def _copied(model: torch.nn.Module, copies: dict[int, Any]) -> Any:
    """Copy a model; ``copies`` holds what takes the place of some of its tensors, by their ``id``."""
    try:
        return deepcopy(model, copies)
    except (TypeError, RuntimeError) as error:
        name = type(model).__name__
        raise PolicyError(f"{name} keeps state and cannot be copied: {error}") from None


def _tensors_of(model: torch.nn.Module) -> tuple[list[torch.nn.Parameter], list[torch.Tensor]]:
    """Find all parameters and buffers of a model, also of the networks that PyTorch does not register."""
    parts = [model, *_kept_aside(model)]
    return [each for part in parts for each in part.parameters()], [each for part in parts for each in part.buffers()]


def _kept_aside(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Find networks that PyTorch does not register because they are in a dictionary of the policy, or nested in one.

    They are frozen, and never saved.
    """
    values = [value for each in vars(model).values() if isinstance(each, dict) for value in each.values()]
    inner = [part for value in values for part in getattr(value, "__dict__", {}).values()]
    return [part for part in (*values, *inner) if isinstance(part, torch.nn.Module)]


def select_actions(
    model: Any, batch: Mapping[str, Any], memories: Sequence[EpisodeMemory], *, take_queue: bool
) -> torch.Tensor:
    """Call ``select_action`` of the episode's own copy; its actions are ``(1, steps, action_size)``.

    ``take_queue`` takes the actions it has in store as well: right for a policy that ignores what it sees until
    they are used up, and that shows them.
    """
    (memory,) = memories
    if "policy" not in memory.state:
        memory.state["policy"] = sharing_weights(model)
        memory.state["policy"].reset()
    own = memory.state["policy"]
    actions = [own.select_action(dict(batch))]
    queue = _action_queue(own) if take_queue else ()
    while queue:
        actions.append(queue.popleft())
    return torch.stack(actions, dim=1)


def _action_queue(model: Any) -> Any:
    """Give the queue of actions, which LeRobot's policies keep under two names; those that have both use the first."""
    if hasattr(model, "_action_queue"):
        return model._action_queue  # noqa: SLF001
    return getattr(model, "_queues", {}).get("action", ())
