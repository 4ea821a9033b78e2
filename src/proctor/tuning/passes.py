"""The policy while it is measured: what its passes take, alone and among others, and of which memory."""

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
"""Passes of one size are made for so long, which is the driver's sample period."""


class WatchedPolicy(Policy):
    """A policy; what its passes took, which episodes they were for, and an observation to make more of them."""

    def __init__(self, policy: Policy) -> None:
        self.asked = policy
        self.n_action_steps, self.look_offsets = policy.n_action_steps, policy.look_offsets
        self.randomness, self.place_matters = policy.randomness, policy.place_matters
        self.batch_size, self.n_slots = policy.batch_size, policy.n_slots
        self.episodes_per_pass = policy.episodes_per_pass
        self.chunk_length = 1
        self.sample: Observation | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew with passes and episodes."""
        self.seconds: list[float] = []
        self.chunks: Counter[EpisodeSpec] = Counter()

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        if self.sample is None:
            arrays = {key: array.copy() for key, array in observations[0].arrays.items()}
            self.sample = Observation(arrays, observations[0].instruction)
        began = perf_counter()
        chunks = self.asked.predict(observations, memories)
        self.seconds.append(perf_counter() - began)
        self.chunks.update({memory.stream.spec for memory in memories})  # a set: padding repeats an episode
        self.chunk_length = min(self.n_action_steps, len(chunks[0]))
        return chunks

    def check_contract(self, features: Features) -> None:
        self.asked.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        return self.asked.fingerprint()

    @property
    def device(self) -> str:
        """What it runs on, in its own words; policies that do not say run on the CPU."""
        return str(self.fingerprint().get("device") or "cpu")

    @property
    def on_accelerator(self) -> bool:
        return self.device != "cpu"


def rows_in_use(policy: Policy, requested: int) -> int:
    """Observations per pass unless something else is chosen; ``requested`` is 0 where the user leaves it open."""
    return 1 if policy.runs_alone else requested or policy.batch_size


def sizes(policy: Policy, in_use: int) -> Iterator[int]:
    """The passes worth timing on an accelerator, that in use first."""
    yield in_use
    if not policy.runs_alone:
        yield from (rows for rows in _ROWS if rows != in_use)


def time_passes(policy: WatchedPolicy, rows: int, accelerator: Accelerator) -> Pass:
    """Passes of one size, alone; meanwhile the driver is asked in how much of the time kernels run."""
    assert policy.sample is not None
    observations = [policy.sample] * rows

    def once() -> float:
        memories = [EpisodeMemory(RandomStream(EpisodeSpec("autotune", 0, row, row))) for row in range(rows)]
        began = perf_counter()
        policy.asked.predict(observations, memories)
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
    """The accelerator that a policy runs on: how much of its memory is taken since this was made. Nothing on a CPU."""

    def __init__(self) -> None:
        self._before = visible_gpus()
        self._number: int | None = None

    def holds(self, policy: WatchedPolicy) -> None:
        """The policy has been loaded onto it."""
        if policy.on_accelerator:
            number = policy.device.partition(":")[2]
            self._number = int(number) if number.isdigit() else 0

    def state(self) -> Gpu | None:
        """As the driver describes it now; None where there is none, or it is another vendor's."""
        now = visible_gpus() if self._number is not None and self._before else []
        return now[self._number] if self._number is not None and self._number < len(now) else None

    def taken(self) -> int:
        """Bytes of its memory, by whomever."""
        now = self.state()
        return 0 if now is None or self._number is None else self._before[self._number].free_bytes - now.free_bytes
