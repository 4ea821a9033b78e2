"""Inference on one device: batches of observations go in and action chunks come out, while simulators go on.

One *slot* is one forward pass under way. An accelerator has one slot; a CPU has one per core, each pass on its own
thread, so that whichever core is free takes the next pass or the next simulator. Every pass has the same batch shape
(padded by repeating an observation), because the floating-point result of a row depends on the shape of its batch. A
row does not depend on the rows beside it. If it depends on its place in the batch
(:attr:`~proctor.policies.base.Policy.place_matters`), an episode has the same place in every pass.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any

from proctor.engine.plan import row_of
from proctor.errors import EpisodeLostError, FingerprintError, PolicyError, PolicyGoneError
from proctor.policies.base import Connecting, EpisodeMemory, Policy, PolicySource
from proctor.security.foreign_code import described, encodable, refusing_exits
from proctor.streams import RandomStream
from proctor.types import POLICY_FAILED, Array, AttemptError, Observation


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """An observation that waits for actions, of the episode that runs on worker ``worker_id``."""

    worker_id: int
    observation: Observation
    memory: EpisodeMemory


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The answer to a request: a chunk ``(steps, action_size)``, or the error that the policy ended in.

    An :class:`~proctor.errors.EpisodeLostError` means that the episode starts again and the attempt does not count.

    The request was submitted at the moment ``submitted`` and its forward pass began at ``began`` and took ``seconds``;
    the policy was loaded at ``loaded_at``. Moments are on the monotonic clock.
    """

    request: InferenceRequest
    chunk: Array | AttemptError | EpisodeLostError
    submitted: float
    began: float
    seconds: float
    loaded_at: float


_GLANCE_S = 0.1
_one_loads_at_a_time = Lock()
"""Loading draws random numbers and fills caches that belong to the whole process."""


class Inference:
    """A policy on one device, which is loaded and called on threads of its own.

    ``batch_size`` is the number of rows of a forward pass; with 0 the policy chooses it. Once the policy is loaded,
    ``on_loaded`` is given its fingerprint, on the thread that loads it; only then is known which device it runs on if
    the user left that open. What ``on_loaded`` raises is raised as if loading had failed. At most ``max_slots`` passes
    run side by side, however many the policy would bear.
    """

    def __init__(
        self,
        source: PolicySource,
        *,
        n_threads: int,
        batch_size: int,
        on_loaded: Callable[[Mapping[str, Any]], None] | None = None,
        max_slots: int = sys.maxsize,
    ) -> None:
        self._source, self._max_slots = source, max_slots
        self.policy: Policy | None = None
        self.batch_size = batch_size
        self.busy_seconds = 0.0
        self.n_passes = 0
        self.n_requests = 0
        self.n_slots = self._free_slots = 0
        self.loaded_at: float | None = None
        """When the policy was ready, on the monotonic clock; None while it is loaded."""
        self._results: SimpleQueue[list[InferenceResult] | BaseException] = SimpleQueue()
        self.wake_descriptor, self._wake = os.pipe()
        os.set_blocking(self.wake_descriptor, False)
        self._submitted: SimpleQueue[tuple[list[InferenceRequest], float] | None] = SimpleQueue()
        self._slots: list[Thread] = []
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self._loading: Future[Policy] | None = self._loader.submit(_open, source, n_threads, on_loaded)
        self._loading.add_done_callback(lambda _: self._wake_up())

    def has_free_slot(self) -> bool:
        """Return whether a forward pass can start now; before the policy is loaded none can.

        Raises:
            Exception: whatever loading the policy raised.
        """
        if self._loading is not None and self._loading.done():
            policy, self._loading = self._loading.result(), None
            self._loaded(policy)
        return self._free_slots > 0

    def _loaded(self, policy: Policy) -> None:
        alone = policy.runs_alone
        self.batch_size = 1 if alone else self.batch_size or policy.batch_size
        self.n_slots = self._free_slots = 1 if alone else min(policy.n_slots, self._max_slots)
        self.policy = policy
        self.loaded_at = monotonic()
        self._slots = [Thread(target=self._serve, name=f"inference-{n}", daemon=True) for n in range(self.n_slots)]
        for slot in self._slots:
            slot.start()

    def busy_share(self, now: float) -> float | None:
        """The part of the time since the policy was loaded that its slots were busy, 0 to 1; None before."""
        if self.loaded_at is None or now <= self.loaded_at:
            return None
        return min(1.0, self.busy_seconds / ((now - self.loaded_at) * self.n_slots))

    @property
    def fixed_rows(self) -> int | None:
        """The number of rows of a pass if each episode has a fixed one of them, so that no two episodes with the same
        row may share a pass; None if an episode may have any row.
        """
        return self.batch_size if self.policy is not None and self.policy.place_matters else None

    def submit(self, requests: Sequence[InferenceRequest]) -> None:
        """Start a forward pass. If there are :attr:`fixed_rows`, no two of the requests have the same row."""
        assert len(set(self._rows(requests))) == len(requests)
        self._free_slots -= 1
        self._submitted.put((list(requests), monotonic()))

    def results(self) -> list[list[InferenceResult]]:
        """Return everything that has come out since the last call, a list for each pass.

        Raises:
            Exception: a pass failed for a reason that is not the policy's.
        """
        found: list[list[InferenceResult]] = []
        with suppress(BlockingIOError):  # nothing has come
            os.read(self.wake_descriptor, 4096)
        while not self._results.empty():
            results = self._results.get()
            if isinstance(results, BaseException):
                raise results
            found.append(results)
            self._free_slots += 1
            self.busy_seconds += results[0].seconds
            self.n_passes += 1
            self.n_requests += len(results)
        return found

    def close(self) -> None:
        """Wait for the passes under way, and end the threads. A policy that is being connected to is not waited for."""
        while isinstance(self._source, Connecting) and self._loading is not None and not self._loading.done():
            self._source.disconnect()
            wait([self._loading], timeout=_GLANCE_S)
        self._loader.shutdown(wait=True)
        if self._loading is not None and self._loading.exception() is None:
            self.policy = self._loading.result()  # it was loaded since the last pass could have started
        if self.policy is not None:
            self.policy.disconnect()
        for _ in self._slots:
            self._submitted.put(None)
        for slot in self._slots:
            slot.join()
        os.close(self.wake_descriptor)
        os.close(self._wake)

    def _wake_up(self) -> None:
        with suppress(OSError):  # closed meanwhile
            os.write(self._wake, b"!")

    def _serve(self) -> None:
        """Make pass after pass in one slot, until :meth:`close`."""
        while (submitted := self._submitted.get()) is not None:
            try:
                self._results.put(self._results_of(*submitted))
            except BaseException as error:  # noqa: BLE001 - results() raises it, on the engine's thread
                self._results.put(error)
            self._wake_up()

    def _results_of(self, requests: list[InferenceRequest], submitted: float) -> list[InferenceResult]:
        loaded_at, began = self.loaded_at, monotonic()
        assert loaded_at is not None
        chunks = self._predict(requests)
        seconds = monotonic() - began
        return [
            InferenceResult(request, chunk, submitted, began, seconds, loaded_at)
            for request, chunk in zip(requests, chunks, strict=True)
        ]

    def _predict(self, requests: list[InferenceRequest]) -> list[Array | AttemptError | EpisodeLostError]:
        """Return the chunks. If the policy raises on several, each is tried alone, so that only the culprits fail."""
        try:
            return list(self._one_pass(requests))
        except (PolicyGoneError, FingerprintError):  # the run ends, and no episode is to blame
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a policy raises, SystemExit too, is the episode's error
            if len(requests) > 1:
                return [chunk for request in requests for chunk in self._predict([request])]
            if isinstance(error, EpisodeLostError):
                return [error]
            if isinstance(error, PolicyError):  # its message is a sentence of Proctor's
                return [AttemptError(POLICY_FAILED, str(error))]
            return [AttemptError(POLICY_FAILED, described(error), encodable(traceback.format_exc()))]

    def _one_pass(self, requests: list[InferenceRequest]) -> list[Array]:
        policy = self.policy
        assert policy is not None
        placed = dict(zip(self._rows(requests), requests, strict=True))
        batch = [placed.get(row) or _padding(requests[0]) for row in range(self.batch_size)]
        alone = policy.runs_alone
        with batch[0].memory.stream.swapped_in() if alone else nullcontext():
            chunks = policy.predict([row.observation for row in batch], [row.memory for row in batch])
        if len(chunks) != len(batch):
            raise ValueError(f"predict was given {len(batch)} observations and gave {len(chunks)} chunks")
        return [chunks[row] for row in placed]

    def _rows(self, requests: Sequence[InferenceRequest]) -> Sequence[int]:
        """The row of the pass that each request has."""
        if self.fixed_rows is None:
            return range(len(requests))
        return [row_of(request.memory.stream.spec, self.fixed_rows) for request in requests]


def _open(source: PolicySource, n_threads: int, on_loaded: Callable[[Mapping[str, Any]], None] | None) -> Policy:
    with _one_loads_at_a_time, refusing_exits("The policy cannot be loaded"):
        policy = source.open(n_threads)
        if on_loaded is not None:
            on_loaded(policy.fingerprint())
        return policy


def _padding(request: InferenceRequest) -> InferenceRequest:
    """The request once more, but with a random stream and a memory that are not its episode's."""
    own = request.memory
    memory = EpisodeMemory(
        RandomStream(own.stream.spec), whole_chunks=own.whole_chunks, n_delay_steps=own.n_delay_steps
    )
    return InferenceRequest(request.worker_id, request.observation, memory)
