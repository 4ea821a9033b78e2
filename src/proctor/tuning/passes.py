"""Measures a policy: the time that its forward passes take, alone and among others, and the memory that they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import monotonic, perf_counter
from typing import Any

from proctor.machine.hardware import Gpu, visible_gpus
from proctor.policies.base import EpisodeMemory, Policy
from proctor.streams import RandomStream
from proctor.tuning.model import Pass
from proctor.types import Array, EpisodeSpec, Features, Observation

_ROWS = (1, 2, 4, 8, 16, 32)
_PASSES_S = 1.0
"""The seconds for which passes of one size are made; it is the sample period of the accelerator's driver."""


class WatchedPolicy(Policy):
    """Wraps a policy, and keeps the time of its passes, the episodes they were for, and an observation to make more."""

    def __init__(self, policy: Policy) -> None:
        self.wrapped = policy
        self.n_action_steps, self.look_offsets = policy.n_action_steps, policy.look_offsets
        self.randomness, self.place_matters = policy.randomness, policy.place_matters
        self.batch_size, self.n_slots, self.times_out = policy.batch_size, policy.n_slots, policy.times_out
        self.episodes_per_pass = policy.episodes_per_pass
        self.chunk_length = 1
        self.sample: Observation | None = None
        self.forget()

    def forget(self) -> None:
        """Forget the passes and episodes so far."""
        self.seconds: list[float] = []
        self.chunks: Counter[EpisodeSpec] = Counter()

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        if self.sample is None:
            arrays = {key: array.copy() for key, array in observations[0].arrays.items()}
            self.sample = Observation(arrays, observations[0].instruction)
        began = perf_counter()
        chunks = self.wrapped.predict(observations, memories)
        self.seconds.append(perf_counter() - began)
        self.chunks.update({memory.stream.spec for memory in memories})  # a set: padding repeats an episode
        self.chunk_length = min(self.n_action_steps, len(chunks[0]))
        return chunks

    def check_contract(self, features: Features) -> None:
        self.wrapped.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        return self.wrapped.fingerprint()

    @property
    def device(self) -> str:
        """The device that the policy's fingerprint names; "cpu" if it names none."""
        return str(self.fingerprint().get("device") or "cpu")

    @property
    def on_accelerator(self) -> bool:
        """True if the policy does not run on the CPU."""
        return self.device != "cpu"


def rows_in_use(policy: Policy, requested: int) -> int:
    """The observations per pass of an evaluation; ``requested`` is 0 if the user leaves them open."""
    return 1 if policy.runs_alone else requested or policy.batch_size


def sizes(policy: Policy, in_use: int) -> Iterator[int]:
    """Yield the sizes of passes that are worth timing on an accelerator, ``in_use`` first."""
    yield in_use
    if not policy.runs_alone:
        yield from (rows for rows in _ROWS if rows != in_use)


def time_passes(policy: WatchedPolicy, rows: int, accelerator: Accelerator) -> Pass:
    """Time passes of one size, alone; the accelerator's driver says in which part of the time kernels run."""
    assert policy.sample is not None
    observations = [policy.sample] * rows

    def once() -> float:
        memories = [EpisodeMemory(RandomStream(EpisodeSpec("autotune", 0, row, row))) for row in range(rows)]
        began = perf_counter()
        policy.wrapped.predict(observations, memories)
        return perf_counter() - began

    once(), once()  # kernels are chosen, memory is reserved
    seconds: list[float] = []
    until = monotonic() + _PASSES_S
    while monotonic() < until:
        seconds.append(once())
    with ThreadPoolExecutor(1) as beside:
        state = beside.submit(accelerator.state)
        while not state.done():
            seconds.append(once())
    gpu = state.result()
    return Pass(rows, median(seconds), gpu.busy if gpu is not None and gpu.busy else 1.0, accelerator.taken())


class Accelerator:
    """The accelerator that a policy runs on, and how much of its memory was taken since this object was made.

    If the policy runs on a CPU, nothing is taken.
    """

    def __init__(self) -> None:
        self._before = visible_gpus()
        self._number: int | None = None

    def holds(self, policy: WatchedPolicy) -> None:
        """Take note that ``policy`` has been loaded."""
        if policy.on_accelerator:
            number = policy.device.partition(":")[2]
            self._number = int(number) if number.isdigit() else 0

    def state(self) -> Gpu | None:
        """The driver's description of it now; None if there is none, or it is from another vendor than NVIDIA."""
        now = visible_gpus() if self._number is not None and self._before else []
        return now[self._number] if self._number is not None and self._number < len(now) else None

    def taken(self) -> int:
        """The bytes of its memory that were taken meanwhile, by any program."""
        now = self.state()
        return 0 if now is None or self._number is None else self._before[self._number].free_bytes - now.free_bytes
