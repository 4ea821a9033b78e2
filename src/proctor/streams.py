"""Random streams: every episode has its own, derived from its spec.

A stream's seed is ``numpy.random.SeedSequence`` over (seed, episode index, a digest of suite and task). It depends on
the :class:`~proctor.types.EpisodeSpec` alone, so an episode's random numbers do not depend on the worker, the shard,
the batch or the order in which it runs.

There are three ways to draw from a stream:

- ``stream.generator``, a numpy generator, for Proctor's own code;
- ``stream.torch_generator(device)``, for code that accepts a generator: any number of episodes can draw side by side,
  on any threads;
- ``with stream.swapped_in():``, for foreign code that uses the global generators of Python, numpy and torch. It sets
  their states to the stream's, and restores them afterwards. It is exact for any code that draws on this thread; other
  threads wait, because a process has only one set of global generators.

The last two ways give the same torch numbers, and drawing from one does not advance the other.
"""

from __future__ import annotations

import hashlib
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import mtrand

from proctor.types import EpisodeSpec

_global_generators = threading.RLock()


class RandomStream:
    """The random numbers of one episode, ``spec``."""

    def __init__(self, spec: EpisodeSpec) -> None:
        self.spec = spec
        self._states: tuple[Any, ...] | None = None
        self._torch_generators: dict[str, Any] = {}

    @cached_property
    def seeds(self) -> np.random.SeedSequence:
        """The seed sequence from which all generators of this stream are derived."""
        spec = self.spec
        assert spec.seed is not None  # only a file of LeRobot's does not say it, and its episodes are not run
        digest = hashlib.sha256(f"{spec.suite}/{spec.task_id}".encode()).digest()
        return np.random.SeedSequence([spec.seed, spec.episode_index, int.from_bytes(digest[:16], "little")])

    @cached_property
    def generator(self) -> np.random.Generator:
        """A numpy generator of this stream, independent of the swapped-in ones."""
        return np.random.default_rng(self.seeds)

    def torch_generator(self, device: Any) -> Any:
        """Return this stream's ``torch.Generator`` on ``device``, with the seed that :meth:`swapped_in` uses."""
        if (name := str(device)) not in self._torch_generators:
            generator = sys.modules["torch"].Generator(device)
            self._torch_generators[name] = generator.manual_seed(self._global_seeds()[2])
        return self._torch_generators[name]

    @contextmanager
    def rewound_on_error(self) -> Iterator[None]:
        """Run a block; if it raises, restore every :meth:`torch_generator` to its state before the block."""
        before = {name: generator.get_state() for name, generator in self._torch_generators.items()}
        try:
            yield
        except BaseException:
            self._torch_generators = {
                name: self._torch_generators[name].set_state(state) for name, state in before.items()
            }
            raise

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Run a block with this stream's states in the global generators of ``random``, ``numpy.random`` and torch.

        torch is included only if it is already imported. The previous states are restored at the end, also after an
        exception, and the next call continues this stream where the last one stopped.
        """
        with _global_generators:
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

    def _global_seeds(self) -> tuple[int, int, int]:
        """Return the seeds of Python's, numpy's and torch's global generators."""
        python, numpy_legacy, torch = self.seeds.generate_state(3, np.uint64).tolist()
        return python, numpy_legacy % 2**32, torch % 2**63

    def _seed_globals(self) -> None:
        python, numpy_legacy, torch_seed = self._global_seeds()
        random.seed(python)
        mtrand.set_bit_generator(np.random.MT19937())
        np.random.seed(numpy_legacy)  # noqa: NPY002 - the global generator is the point here
        if (torch := sys.modules.get("torch")) is not None:
            torch.manual_seed(torch_seed)


@contextmanager
def global_generators_restored() -> Iterator[None]:
    """Run a block; afterwards ``random``, ``numpy.random`` and torch draw as if it had not run, also if it raises."""
    outside, numpy_state = _global_states(), mtrand.get_bit_generator().state
    try:
        yield
    finally:
        _restore(outside)
        mtrand.get_bit_generator().state = numpy_state


@contextmanager
def global_generators_held() -> Iterator[None]:
    """Run a block that may draw from the global generators, while no episode's states are swapped into them."""
    with _global_generators:
        yield


def _global_states() -> tuple[Any, ...]:
    torch = sys.modules.get("torch")
    devices: Any = ()
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        devices = torch.cuda.get_rng_state_all()
    return (
        random.getstate(),
        mtrand.get_bit_generator(),
        np.random.get_state(legacy=False),  # noqa: NPY002
        None if torch is None else torch.get_rng_state(),
        devices,
    )


def _restore(states: tuple[Any, ...]) -> None:
    python, numpy_generator, numpy_legacy, cpu, devices = states
    random.setstate(python)
    mtrand.set_bit_generator(numpy_generator)  # its state is unchanged: the block drew from another bit generator
    if numpy_legacy["has_gauss"]:  # normal numbers are made in pairs, and the second is stored separately
        np.random.set_state(numpy_legacy)  # noqa: NPY002
    if cpu is not None:
        torch = sys.modules["torch"]
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)
