"""Chunks that continue the one before, as LeRobot's real-time chunking makes them. Importing this imports torch.

Each inference is given what is left of the episode's chunk before, from the present step on, and the delay in control
steps. What LeRobot does is in ``lerobot.policies.rtc`` and, for a robot, in ``lerobot.rollout.inference.rtc``:

- The left-over is in the policy's normalised action space, as it came from ``predict_action_chunk``.
- It is cut, or filled with zeros, to ``execution_horizon`` actions.
- The first chunk of an episode has no left-over and is not guided.

LeRobot runs one robot. In a batch, some episodes are at their first chunk: :class:`RowGuidance` guides the others only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from lerobot.policies.rtc.modeling_rtc import RTCProcessor

from proctor.errors import PolicyError
from proctor.policies.base import EpisodeMemory

_LEFT_OVER = "left-over of the chunk before"


class RowGuidance:
    """LeRobot's ``RTCProcessor`` for a batch in which a row of NaN stands for an episode without a chunk before.

    It holds no state: LeRobot's debugging, which records each step of denoising, is off.
    """

    def __init__(self, config: Any) -> None:
        self._processor = RTCProcessor(replace(config, debug=False))

    def is_debug_enabled(self) -> bool:
        """Say that nothing is recorded."""
        return False

    def denoise_step(
        self,
        x_t: torch.Tensor,
        prev_chunk_left_over: torch.Tensor | None,
        original_denoise_step_partial: Callable[[torch.Tensor], torch.Tensor],
        **arguments: Any,
    ) -> torch.Tensor:
        """Give the velocity ``(batch, steps, size)``: that of ``RTCProcessor``, or in rows of NaN the policy's own."""
        if prev_chunk_left_over is None:
            return original_denoise_step_partial(x_t)
        own: list[torch.Tensor] = []

        def velocity(x_t: torch.Tensor) -> torch.Tensor:
            own.append(original_denoise_step_partial(x_t))
            return own[0]

        guided: torch.Tensor = self._processor.denoise_step(
            x_t=x_t,
            prev_chunk_left_over=prev_chunk_left_over,
            original_denoise_step_partial=velocity,
            **arguments,
        )
        is_first = prev_chunk_left_over.isnan().any(dim=2).any(dim=1)
        return torch.where(is_first[:, None, None], own[0], guided)


def guide_rows(model: Any, _: Any) -> None:
    """Have a model use :class:`RowGuidance` in place of LeRobot's processor."""
    model.rtc_processor = model.model.rtc_processor = RowGuidance(model.config.rtc_config)


def continued(model: Any, memories: Sequence[EpisodeMemory], predict: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Give chunks ``(batch, steps, action_size)`` that continue those before, and keep what will be left of them.

    ``predict`` is ``predict_action_chunk`` without the arguments of real-time chunking. It is called once for each
    delay; episodes have different delays only if milliseconds are other numbers of steps in other tasks.

    Raises:
        PolicyError: it is not known after how many steps the chunks take over.
    """
    delays = [_delay(memory) for memory in memories]
    before = _left_overs(model, memories)
    by_delay = {delay: predict(inference_delay=delay, prev_chunk_left_over=before) for delay in dict.fromkeys(delays)}
    chunks = torch.stack([by_delay[delay][row] for row, delay in enumerate(delays)])
    for memory, delay, chunk in zip(memories, delays, chunks, strict=True):
        rest = chunk[max(model.config.n_action_steps, delay) :]  # as in proctor.engine.delay
        memory.state[_LEFT_OVER] = _of_length(rest, model.config.rtc_config.execution_horizon)
    return chunks


def _delay(memory: EpisodeMemory) -> int:
    if memory.n_delay_steps is None:
        raise PolicyError(
            "real-time chunking must know how many actions are executed before the next chunk takes over, and a client "
            "of this server does not tell; start the server with --policy.rtc_config=null, or evaluate in one process"
        )
    return memory.n_delay_steps


def _left_overs(model: Any, memories: Sequence[EpisodeMemory]) -> torch.Tensor | None:
    """Stack what is left of the chunks before; None, as LeRobot passes, for a single episode without one.

    The first chunks of several episodes are computed as if others were guided: their last bits must not depend on it.
    """
    found = [memory.state.get(_LEFT_OVER) for memory in memories]
    if len(found) == 1 and found[0] is None:
        return None
    shape = model.config.rtc_config.execution_horizon, model.config.action_feature.shape[0]
    first = torch.full(shape, torch.nan, device=next(model.parameters()).device)
    return torch.stack([first if rest is None else rest for rest in found])


def _of_length(actions: torch.Tensor, n_steps: int) -> torch.Tensor:
    """Cut ``(steps, size)``, or fill it with zeros, to ``n_steps``. The result is a copy."""
    filled = actions.new_zeros(n_steps, actions.shape[1])
    filled[: len(actions)] = actions[:n_steps]
    return filled
