"""One copy of a policy per episode, for policies that remember. Importing this imports torch.

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
    parts = [model, *_kept_aside(model)]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    buffers = [buffer for part in parts for buffer in part.buffers() if buffer.nbytes >= _LARGE_BYTES]
    shared = [*parameters, *buffers]
    try:
        return deepcopy(model, {id(tensor): tensor for tensor in shared})
    except (TypeError, RuntimeError) as error:
        name = type(model).__name__
        raise PolicyError(f"{name} keeps state and cannot be copied for each episode: {error}") from None


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
