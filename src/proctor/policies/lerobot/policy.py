"""A LeRobot policy as a function from observations to action chunks. Importing this imports torch."""

from __future__ import annotations

import sys
import threading
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Protocol

import numpy as np
import torch

from proctor.errors import ConfigError, ResourceError
from proctor.machine.resources import usable_cores
from proctor.policies.base import EpisodeMemory, Policy, PolicySource
from proctor.policies.lerobot.checkpoint import Checkpoint
from proctor.policies.lerobot.model import Loaded
from proctor.results.audit import Training
from proctor.streams import RandomStream
from proctor.types import Array, EpisodeSpec, Features, Observation


class _Source(PolicySource, Protocol):
    """The source of a LeRobot policy."""

    def snapshot(self) -> PolicySource:
        """Give the policy as it is now, whatever becomes of an object that it was made from."""


class LeRobotPolicy(Policy):
    """A policy of lerobot that keeps nothing about any episode.

    It does what ``lerobot-eval`` does around a policy, with two differences in *when*, none in the numbers: the
    preprocessor runs only when the policy looks, and the postprocessor runs on whole chunks. The queue of actions and
    the history of observations are the engine's; LeRobot's own stay empty.
    """

    def __init__(
        self, checkpoint: Checkpoint, loaded: Loaded, n_threads: int, *, source: _Source, changes: bool
    ) -> None:
        """Take a loaded policy. If ``changes``, each evaluation loads it from ``source`` again."""
        self.checkpoint, self._source, self._changes = checkpoint, source, changes
        self.n_action_steps = checkpoint.n_action_steps
        self.look_offsets = checkpoint.look_offsets
        self.randomness = checkpoint.policy_type.randomness
        self.distributions = checkpoint.distributions
        on_cpu = loaded.device.type == "cpu"
        self.episodes_per_pass = checkpoint.episodes_per_pass
        self.batch_size = self.episodes_per_pass if on_cpu else 16
        # Vectorised arithmetic rounds otherwise at the end of an array than in its middle.
        self.place_matters = on_cpu
        self.n_slots = max(1, usable_cores() // n_threads) if on_cpu else 1
        self._model, self._preprocessor, self._postprocessor, self._device = loaded
        self._n_threads = n_threads
        self._most_rows = sys.maxsize
        self._stream = torch.cuda.Stream(loaded.device) if loaded.device.type == "cuda" else None
        self._tokenizers = [(s, s.padding) for s in self._preprocessor.steps if hasattr(s, "input_tokenizer")]
        if loaded.device.type == "cuda":  # no other stream can use what is cached for this one
            weakref.finalize(self, torch.cuda.empty_cache).atexit = False
        self._processors_lock = threading.Lock()  # a step of theirs keeps the transition it works on in itself

    def open(self, n_threads: int) -> Policy:
        """See :meth:`Policy.open`. A policy of an object that may have changed is made anew, as the object is now."""
        return self._source.open(n_threads) if self._changes else self

    def snapshot(self) -> PolicySource:
        """See :meth:`Policy.snapshot`."""
        return self._source.snapshot() if self._changes else self

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        """See :meth:`Policy.predict`. What the device has no memory for is predicted in halves, from then on."""
        if torch.get_num_threads() != self._n_threads:  # the number belongs to the calling thread
            torch.set_num_threads(self._n_threads)
        chunks: list[Array] = []
        while len(chunks) < len(observations):
            part = slice(len(chunks), len(chunks) + self._most_rows)
            try:
                chunks += self._predict(observations[part], memories[part])
            except torch.OutOfMemoryError:
                if len(observations[part]) == 1:
                    raise ResourceError(
                        f"{self._device} has no memory for a single observation; free memory there, or give another "
                        "--policy.device."
                    ) from None
            else:
                continue
            self._halve(len(observations[part]))  # not before the error, and with it what the pass held, is forgotten
        return chunks

    def _halve(self, rows: int) -> None:
        self._most_rows = rows // 2
        torch.cuda.empty_cache()
        warnings.warn(
            f"{self._device} has no memory for {rows} observations at once; going on with {self._most_rows}, "
            "so last bits may differ from a run that has it.",
            stacklevel=1,
        )

    def compile(self) -> None:
        """Have it compiled now, by a prediction from an empty observation: otherwise the first episode's does it.

        Raises:
            ConfigError: this machine, or torch, cannot compile it.
        """
        features = self._model.config.input_features
        seen = {name: _nothing(feature, len(self.look_offsets)) for name, feature in features.items()}
        memories = [EpisodeMemory(RandomStream(EpisodeSpec("", 0, row, 0))) for row in range(self.batch_size)]
        alone = self.runs_alone
        try:
            with memories[0].stream.swapped_in() if alone else nullcontext():
                self.predict([Observation(seen, "")] * self.batch_size, memories)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            raise ConfigError(
                f"policy.compile: torch {torch.__version__} cannot compile this policy here ({reason}); leave it out."
            ) from error

    def _predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        policy_type = self.checkpoint.policy_type
        with ExitStack() as stack:
            for memory in memories:
                stack.enter_context(memory.stream.rewound_on_error())
            stack.enter_context(torch.no_grad() if policy_type.needs_gradients else torch.inference_mode())
            stack.enter_context(self._precision())
            stack.enter_context(torch.cuda.stream(self._stream))
            chunks = policy_type.predict(self._model, self._preprocess(observations), memories)
            return list(self._postprocess(chunks))

    def check_contract(self, features: Features) -> None:
        self.checkpoint.check_contract(features)

    def training(self) -> Training | None:
        """Give what the checkpoint's files tell of its training; None if they do not tell."""
        return self.checkpoint.training()

    def fingerprint(self) -> Mapping[str, Any]:
        return {**self._source.fingerprint(), "device": self._device.type}

    def _precision(self) -> AbstractContextManager[Any]:
        if (name := self.checkpoint.autocast) is None and not self._model.config.use_amp:
            return nullcontext()
        precision: AbstractContextManager[Any] = torch.autocast(self._device.type, name and getattr(torch, name))
        return precision

    def _preprocess(self, observations: Sequence[Observation]) -> dict[str, Any]:
        """Make the network's input: see :data:`~proctor.policies.lerobot.policy_types.Batch`."""
        names = {key: self.checkpoint.rename_map.get(key, key) for key in observations[0].arrays}
        batch: dict[str, Any] = {
            name: self._to_tensor(np.concatenate([observation.arrays[key] for observation in observations]))
            for key, name in names.items()
            if name in self._model.config.input_features
        }
        n_looks = len(self.look_offsets)
        batch["task"] = [observation.instruction for observation in observations for _ in range(n_looks)]
        with self._processors_lock:
            for step, padding in self._tokenizers:  # a row's shape must not depend on the sentences beside it
                step.padding = padding if len(observations) == 1 else "max_length"
            processed: dict[str, Any] = self._preprocessor(batch)
        if n_looks == 1:
            return processed
        with_time = {  # it has passed through the processors as batch
            key: value.unflatten(0, (len(observations), n_looks))
            for key, value in processed.items()
            if key.startswith("observation.") and isinstance(value, torch.Tensor)
        }
        return {key: value[:, -1] if ".language." in key else value for key, value in with_time.items()}

    def _to_tensor(self, array: Array) -> torch.Tensor:
        """Convert images to channels first in [0, 1], and all to float32, as LeRobot does.

        LeRobot's function is ``lerobot.envs.utils.preprocess_observation``. This one converts images on the device,
        because their bytes are a quarter of the floats.
        """
        tensor = torch.from_numpy(array)
        if tensor.dtype != torch.uint8 or tensor.ndim != 4:  # a vector may be of bytes, too
            tensor = tensor.float()  # here: some devices know no float64
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        tensor = tensor.to(self._device, non_blocking=True)
        if tensor.dtype == torch.uint8:
            return tensor.permute(0, 3, 1, 2).contiguous().float().div_(255)
        return tensor

    def _postprocess(self, chunks: torch.Tensor) -> Array:
        """Un-normalise actions: ``(batch, steps, action_size)`` float32. LeRobot's postprocessors work elementwise."""
        with self._processors_lock:
            actions = self._postprocessor(chunks.flatten(0, 1))
        array: Array = actions.unflatten(0, chunks.shape[:2]).to("cpu", torch.float32).numpy()
        return array


def _nothing(feature: Any, n_looks: int) -> Array:
    """Make zeros for a feature: an image (looks, height, width, channels), or a vector (looks, size)."""
    if feature.type.value == "VISUAL":
        channels, height, width = feature.shape
        return np.zeros((n_looks, height, width, channels), np.uint8)
    return np.zeros((n_looks, *feature.shape), np.float32)
