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
from concurrent.futures import Future, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from math import inf
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any

from proctor.engine.plan import row_of
from proctor.errors import EpisodeLostError, FingerprintError, PolicyError, ResourceError
from proctor.machine.threads import start_call, start_thread
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


@dataclass(eq=False, slots=True)
class _Pass:
    """A forward pass that was submitted. ``began`` is None until a slot takes it."""

    requests: list[InferenceRequest]
    submitted: float
    began: float | None = None
    given_up: bool = False


_GLANCE_S = 0.1
_GRACE_S = 3.0
"""Seconds for which :meth:`Inference.close` waits for passes under way. A pass that takes longer is left alone."""
_PATIENCE_S, _FIRST_PATIENCE_S = 300.0, 1800.0
"""The least number of seconds that a pass may take; the first pass may compile the policy, and is given more."""
_TIMES_THE_SLOWEST = 10.0
"""A pass is given up if it takes this many times as long as the slowest before it."""
_MOST_GIVEN_UP = 3
_one_loads_at_a_time = Lock()
"""Loading draws random numbers and fills caches that belong to the whole process."""


class Inference:
    """A policy on one device, which is loaded and called on threads of its own.

    ``batch_size`` is the number of rows of a forward pass; with 0 the policy chooses it. Once the policy is loaded,
    ``on_loaded`` is given its fingerprint, on the thread that loads it; only then is known which device it runs on if
    the user left that open. What ``on_loaded`` raises is raised as if loading had failed. At most ``max_slots`` passes
    run side by side, however many the policy would bear. A pass that has not returned after ``timeout_s`` seconds is
    given up; if that is None, after ten times the slowest pass so far, but not before five minutes (for the first pass,
    thirty).
    """

    def __init__(  # noqa: PLR0913 - what can be chosen of an inference
        self,
        source: PolicySource,
        *,
        n_threads: int,
        batch_size: int,
        on_loaded: Callable[[Mapping[str, Any]], None] | None = None,
        max_slots: int = sys.maxsize,
        timeout_s: float | None = None,
    ) -> None:
        self._source, self._max_slots, self._timeout_s = source, max_slots, timeout_s
        self.policy: Policy | None = None
        self.batch_size = batch_size
        self.busy_seconds = 0.0
        self.n_passes = 0
        self.n_requests = 0
        self.n_slots = self._free_slots = 0
        self.loaded_at: float | None = None
        """When the policy was ready, on the monotonic clock; None while it is loaded."""
        self._results: SimpleQueue[tuple[_Pass, list[InferenceResult] | BaseException]] = SimpleQueue()
        self._under_way: list[_Pass] = []
        self._slowest = 0.0
        self._n_given_up = 0
        self._closing, self._closed = Lock(), False
        self.wake_descriptor, self._wake = os.pipe()
        os.set_blocking(self.wake_descriptor, False)
        self._submitted: SimpleQueue[_Pass | None] = SimpleQueue()
        self._slots: list[Thread] = []
        self._loading: Future[Policy] | None = start_call(lambda: self._open(n_threads, on_loaded), "loading")
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
        for _ in range(self.n_slots):
            self._start_slot()

    def _start_slot(self) -> None:
        self._slots.append(start_thread(self._serve, f"inference-{len(self._slots)}"))

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
        self._under_way.append(_Pass(list(requests), monotonic()))
        self._submitted.put(self._under_way[-1])

    def results(self) -> list[list[InferenceResult]]:
        """Return everything that has come out since the last call, a list for each pass.

        Raises:
            Exception: a pass failed for a reason that is not the policy's.
            ResourceError: the policy does not return from its passes.
        """
        found: list[list[InferenceResult]] = []
        with suppress(BlockingIOError):  # nothing has come
            os.read(self.wake_descriptor, 4096)
        while not self._results.empty():
            done, results = self._results.get()
            if done.given_up:
                continue
            self._under_way.remove(done)
            if isinstance(results, BaseException):
                raise results
            found.append(results)
            self._slowest = max(self._slowest, results[0].seconds)
            self._free_slots += 1
            self.busy_seconds += results[0].seconds
            self.n_passes += 1
            self.n_requests += len(results)
        return found + self._given_up(monotonic())

    def _given_up(self, now: float) -> list[list[InferenceResult]]:
        """Give up the passes that take too long: their episodes fail, and another thread takes the place of each one's.

        The thread of such a pass cannot be ended; it is left alone, and so is what it returns later.
        """
        given_up: list[list[InferenceResult]] = []
        limit = self._patience_s
        for hung in [one for one in self._under_way if one.began is not None and now - one.began > limit]:
            hung.given_up = True
            self._under_way.remove(hung)
            self._n_given_up += 1
            message = (
                f"the policy has not returned from a forward pass within {limit:.3g} s; "
                "a longer --eval.inference_timeout_s waits longer"
            )
            assert self.policy is not None
            if self.policy.runs_alone or self._n_given_up == _MOST_GIVEN_UP:  # one that runs alone holds what all share
                raise ResourceError(f"The evaluation ended because {message}.")
            self._start_slot()
            self._free_slots += 1
            given_up.append(self._failed(hung, AttemptError(POLICY_FAILED, message), now))
        return given_up

    def _failed(self, hung: _Pass, error: AttemptError, now: float) -> list[InferenceResult]:
        assert hung.began is not None
        assert self.loaded_at is not None
        times = (hung.submitted, hung.began, now - hung.began, self.loaded_at)
        return [InferenceResult(request, error, *times) for request in hung.requests]

    @property
    def _patience_s(self) -> float:
        """The number of seconds that a pass may take."""
        if self.policy is not None and self.policy.times_out:
            return inf
        if self._timeout_s is not None:
            return self._timeout_s
        return max(_PATIENCE_S, _TIMES_THE_SLOWEST * self._slowest) if self.n_passes else _FIRST_PATIENCE_S

    def close(self) -> None:
        """End the threads. Passes under way are waited for, for a few seconds; the loading of a policy is not.

        A thread that is left alone does not keep the process alive, and what it still returns is dropped.
        """
        until = monotonic() + _GRACE_S
        while _connects(self._source) and self._loading is not None and monotonic() < until:
            self._source.disconnect()  # type: ignore[attr-defined]
            if wait([self._loading], timeout=_GLANCE_S).done:
                break
        if self._loading is not None and self._loading.done() and self._loading.exception() is None:
            self.policy = self._loading.result()  # it was loaded since the last pass could have started
        if self.policy is not None:
            self.policy.disconnect()
        for _ in self._slots:
            self._submitted.put(None)
        for slot in self._slots:
            slot.join(max(0.0, until - monotonic()))
        self.policy = None  # its memory is free as soon as its owner drops it, too
        with self._closing:
            self._closed = True
            os.close(self.wake_descriptor)
            os.close(self._wake)

    def _open(self, n_threads: int, on_loaded: Callable[[Mapping[str, Any]], None] | None) -> Policy:
        with _one_loads_at_a_time, refusing_exits("The policy cannot be loaded"):
            policy = self._source.open(n_threads)
            with self._closing:  # nobody is told of a policy that is loaded too late
                if on_loaded is not None and not self._closed:
                    on_loaded(policy.fingerprint())
            return policy

    def _wake_up(self) -> None:
        with self._closing:
            if not self._closed:
                os.write(self._wake, b"!")

    def _serve(self) -> None:
        """Make pass after pass in one slot, until :meth:`close`."""
        while (taken := self._submitted.get()) is not None:
            try:
                self._results.put((taken, self._results_of(taken)))
            except BaseException as error:  # noqa: BLE001 - results() raises it, on the engine's thread
                self._results.put((taken, error))
            self._wake_up()
            if taken.given_up:
                return  # another thread has the slot

    def _results_of(self, taken: _Pass) -> list[InferenceResult]:
        loaded_at = self.loaded_at
        assert loaded_at is not None
        taken.began = began = monotonic()
        chunks = self._predict(taken.requests)
        seconds = monotonic() - began
        return [
            InferenceResult(request, chunk, taken.submitted, began, seconds, loaded_at)
            for request, chunk in zip(taken.requests, chunks, strict=True)
        ]

    def _predict(self, requests: list[InferenceRequest]) -> list[Array | AttemptError | EpisodeLostError]:
        """Return the chunks. If the policy raises on several, each half is tried, so that only the culprits fail."""
        try:
            return list(self._one_pass(requests))
        except (ResourceError, FingerprintError):  # the run ends, and no episode is to blame
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a policy raises, SystemExit too, is the episode's error
            if (half := len(requests) // 2) > 0:
                return self._predict(requests[:half]) + self._predict(requests[half:])
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


def _connects(source: PolicySource) -> bool:
    """Return whether opening a source may wait for another process, so that disconnecting ends the wait."""
    return isinstance(source, Connecting) and getattr(type(source), "disconnect", None) is not Policy.disconnect


def _padding(request: InferenceRequest) -> InferenceRequest:
    """The request once more, but with a random stream and a memory that are not its episode's."""
    own = request.memory
    memory = EpisodeMemory(
        RandomStream(own.stream.spec), whole_chunks=own.whole_chunks, n_delay_steps=own.n_delay_steps
    )
    return InferenceRequest(request.worker_id, request.observation, memory)
