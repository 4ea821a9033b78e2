"""A LeRobot policy as a function from observations to action chunks. Importing this imports torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proctor.policies.base import EpisodeMemory, Policy
from proctor.types import Array, Features, Observation

if TYPE_CHECKING:
    from proctor.policies.lerobot.checkpoint import Checkpoint
    from proctor.policies.lerobot.model import Loaded


class LeRobotPolicy(Policy):
    """A policy of lerobot that keeps nothing about any episode.

    It does what ``lerobot-eval`` does around a policy, with two differences in *when*, none in the numbers: the
    preprocessor runs only when the policy looks, and the postprocessor runs on whole chunks. The queue of actions and
    the history of observations are the engine's; LeRobot's own stay empty.
    """

    def __init__(self, checkpoint: Checkpoint, loaded: Loaded, n_threads: int) -> None:
        self.checkpoint = checkpoint
        self.n_action_steps = checkpoint.n_action_steps
        self.look_offsets = checkpoint.look_offsets
        self.randomness = checkpoint.family.randomness
        self.distributions = checkpoint.distributions
        on_cpu = loaded.device.type == "cpu"
        self.batch_size = 1 if on_cpu else 16
        self.n_slots = max(1, _usable_cores() // n_threads) if on_cpu else 1
        self._model, self._preprocessor, self._postprocessor, self._device = loaded
        self._n_threads = n_threads
        self._processors_lock = threading.Lock()  # a step of theirs keeps the transition it works on in itself

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        if torch.get_num_threads() != self._n_threads:  # the number belongs to the calling thread
            torch.set_num_threads(self._n_threads)
        with torch.inference_mode(), self._precision():
            chunks = self.checkpoint.family.predict(self._model, self._preprocess(observations), memories)
            return list(self._postprocess(chunks))

    def check_contract(self, features: Features) -> None:
        self.checkpoint.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        return {**self.checkpoint.fingerprint(), "device": str(self._device)}

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type) if self._model.config.use_amp else nullcontext()

    def _preprocess(self, observations: Sequence[Observation]) -> dict[str, torch.Tensor]:
        """What the network wants, as tensors ``(batch, time, …)``. Time passes through the processors as batch."""
        names = {key: self.checkpoint.rename_map.get(key, key) for key in observations[0].arrays}
        batch: dict[str, Any] = {
            name: _to_tensor(np.concatenate([observation.arrays[key] for observation in observations]))
            for key, name in names.items()
            if name in self._model.config.input_features
        }
        shape = len(observations), len(self.look_offsets)
        batch["task"] = [observation.instruction for observation in observations for _ in self.look_offsets]
        with self._processors_lock:
            processed = self._preprocessor(batch)
        return {
            key: value.unflatten(0, shape)
            for key, value in processed.items()
            if key.startswith("observation.") and isinstance(value, torch.Tensor)
        }

    def _postprocess(self, chunks: torch.Tensor) -> Array:
        """Actions as the environment takes them, ``(batch, steps, action_size)`` float32. Elementwise in LeRobot."""
        with self._processors_lock:
            actions = self._postprocessor(chunks.flatten(0, 1))
        array: Array = actions.unflatten(0, chunks.shape[:2]).to("cpu", torch.float32).numpy()
        return array


def _to_tensor(array: Array) -> torch.Tensor:
    """As ``lerobot.envs.utils.preprocess_observation``: images to channels first in [0, 1], all to float32."""
    tensor = torch.from_numpy(array)
    if tensor.dtype == torch.uint8:
        return tensor.permute(0, 3, 1, 2).contiguous().float().div_(255)
    return tensor.float()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
