"""Random streams: every episode has its own, derived from what the episode is.

A stream's seed is ``numpy.random.SeedSequence`` over (seed, episode index, a digest of suite and task). It depends on
the :class:`~proctor.types.EpisodeSpec` alone, so the numbers an episode draws do not depend on the worker, the
shard, the batch or the order in which it runs.

Two ways to draw from one: ``stream.generator`` (a numpy generator, for code of ours), and ``with stream.swapped_in():``
for foreign code that uses the global generators of Python, numpy and torch. The second puts the stream's generator
states in place, and takes them out again afterwards; it is exact for any code that draws on this thread, and must not
run on two threads at once.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from proctor.types import EpisodeSpec


class RandomStream:
    """The random numbers of one episode."""

    def __init__(self, spec: EpisodeSpec) -> None:
        digest = hashlib.sha256(f"{spec.suite}/{spec.task_id}".encode()).digest()
        self.seeds = np.random.SeedSequence([spec.seed, spec.episode_index, int.from_bytes(digest[:16], "little")])
        self._states: tuple[Any, ...] | None = None

    @cached_property
    def generator(self) -> np.random.Generator:
        """A numpy generator of this stream, independent of the swapped-in ones."""
        return np.random.default_rng(self.seeds)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Run a block with this stream's states in the global generators of ``random``, ``numpy.random`` and torch.

        torch takes part only where it is already imported. The states of before come back at the end, also after an
        exception, and the stream goes on where it stopped the next time.
        """
        outside = _global_states()
        if self._states is None:
            self._seed_globals()
        else:
            _restore(self._states)
        try:
            yield
        finally:
            self._states = _global_states()
            _restore(outside)

    def _seed_globals(self) -> None:
        python, numpy_legacy, torch_seed = self.seeds.generate_state(3, np.uint64).tolist()
        random.seed(python)
        np.random.seed(numpy_legacy % 2**32)  # noqa: NPY002 - the global generator is the point here
        if (torch := sys.modules.get("torch")) is not None:
            torch.manual_seed(torch_seed % 2**63)


def _global_states() -> tuple[Any, ...]:
    torch = sys.modules.get("torch")
    devices: Any = ()
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        devices = torch.cuda.get_rng_state_all()
    return (
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002
        None if torch is None else torch.get_rng_state(),
        devices,
    )


def _restore(states: tuple[Any, ...]) -> None:
    python, numpy_legacy, cpu, devices = states
    random.setstate(python)
    np.random.set_state(numpy_legacy)  # noqa: NPY002
    if cpu is not None:
        torch = sys.modules["torch"]
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)
