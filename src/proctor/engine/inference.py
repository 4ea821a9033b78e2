"""Inference: batches of observations go in, action chunks come out, beside the simulators.

One *slot* is one forward pass under way. An accelerator has one slot; a CPU has one per core, each pass on its own
thread, so that whichever core is free takes the next pass or the next simulator. Every pass has the same batch shape
(padded by repeating an observation), because the floating-point result of a row depends on the shape of its batch. It
does not depend on its neighbours; where it depends on its place (:attr:`~proctor.policies.base.Policy.place_matters`),
an episode has the same place in every pass.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic

from proctor.engine.plan import row_of
from proctor.errors import EpisodeLostError, FingerprintError, PolicyError, PolicyGoneError
from proctor.policies.base import EpisodeMemory, Policy, PolicySource
from proctor.security.foreign_code import described, encodable, refusing_exits
from proctor.streams import RandomStream
from proctor.types import POLICY_FAILED, Array, AttemptError, Observation


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """An observation that waits for actions; ``worker`` says whose."""

    worker: int
    observation: Observation
    memory: EpisodeMemory


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """What became of a question: a chunk ``(steps, action_size)``, or why there is none.

    An :class:`~proctor.errors.EpisodeLostError` says that the episode starts again, and that nothing counts against it.

    The pass was asked for at ``asked`` and began at ``began``, on the monotonic clock.
    """

    question: InferenceRequest
    chunk: Array | AttemptError | EpisodeLostError
    asked: float
    began: float
    seconds: float


_one_loads_at_a_time = Lock()
"""Loading draws random numbers and fills caches that are one per process."""


class Inference:
    """A policy on one device, loaded and asked on threads of its own."""

    def __init__(self, source: PolicySource, *, n_threads: int, batch_size: int) -> None:
        self.policy: Policy | None = None
        self.batch_size = batch_size
        self.busy_seconds = 0.0
        self.n_passes = 0
        self.n_questions = 0
        self.n_slots = self._free_slots = 0
        self.loaded_at: float | None = None
        """On the monotonic clock; None while it loads."""
        self._answers: SimpleQueue[list[InferenceResult] | BaseException] = SimpleQueue()
        self.wake_descriptor, self._wake = os.pipe()
        os.set_blocking(self.wake_descriptor, False)
        self._asked: SimpleQueue[tuple[list[InferenceRequest], float] | None] = SimpleQueue()
        self._slots: list[Thread] = []
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self._loading: Future[Policy] | None = self._loader.submit(_open, source, n_threads)
        self._loading.add_done_callback(lambda _: self._wake_up())

    def has_free_slot(self) -> bool:
        """Whether a forward pass can start now; not before the policy is loaded.

        Raises:
            Exception: whatever loading the policy raised.
        """
        if self._loading is not None and self._loading.done():
            policy, self._loading = self._loading.result(), None
            self._loaded(policy)
        return self._free_slots > 0

    def _loaded(self, policy: Policy) -> None:
        alone = policy.randomness == "global"
        self.batch_size = 1 if alone else self.batch_size or policy.batch_size
        self.n_slots = self._free_slots = 1 if alone else policy.n_slots
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
        """How many rows a pass has, where each episode has its own: no two of the same may share one."""
        return self.batch_size if self.policy is not None and self.policy.place_matters else None

    @property
    def mean_batch(self) -> float | None:
        """Observations per forward pass so far, padding not counted."""
        return self.n_questions / self.n_passes if self.n_passes else None

    def ask(self, questions: Sequence[InferenceRequest]) -> None:
        """Start a forward pass. No two of the questions have the same row, where there are :attr:`fixed_rows`."""
        assert len(set(self._rows(questions))) == len(questions)
        self._free_slots -= 1
        self._asked.put((list(questions), monotonic()))

    def answers(self) -> list[list[InferenceResult]]:
        """Everything that has come out since the last call, pass by pass.

        Raises:
            Exception: a pass failed, not the policy.
        """
        found: list[list[InferenceResult]] = []
        with suppress(BlockingIOError):  # nothing has come
            os.read(self.wake_descriptor, 4096)
        while not self._answers.empty():
            answers = self._answers.get()
            if isinstance(answers, BaseException):
                raise answers
            found.append(answers)
            self._free_slots += 1
            self.busy_seconds += answers[0].seconds
            self.n_passes += 1
            self.n_questions += len(answers)
        return found

    def close(self) -> None:
        """Wait for the passes under way."""
        self._loader.shutdown(wait=True)
        if self.policy is not None:
            self.policy.disconnect()
        for _ in self._slots:
            self._asked.put(None)
        for slot in self._slots:
            slot.join()
        os.close(self.wake_descriptor)
        os.close(self._wake)

    def _wake_up(self) -> None:
        with suppress(OSError):  # closed meanwhile
            os.write(self._wake, b"!")

    def _serve(self) -> None:
        """One slot: pass after pass, until there will be none."""
        while (asked := self._asked.get()) is not None:
            try:
                self._answers.put(self._answer(*asked))
            except BaseException as error:  # noqa: BLE001 - whoever asks for answers is told, on another thread
                self._answers.put(error)
            self._wake_up()

    def _answer(self, questions: list[InferenceRequest], asked: float) -> list[InferenceResult]:
        began = monotonic()
        chunks = self._predict(questions)
        seconds = monotonic() - began
        return [InferenceResult(*pair, asked, began, seconds) for pair in zip(questions, chunks, strict=True)]

    def _predict(self, questions: list[InferenceRequest]) -> list[Array | AttemptError | EpisodeLostError]:
        """The chunks. If the policy raises on several, each is asked alone, so that only the culprits fail."""
        try:
            return list(self._one_pass(questions))
        except (PolicyGoneError, FingerprintError):  # the run ends
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a policy raises, SystemExit too, is the episode's error
            if len(questions) > 1:
                return [chunk for question in questions for chunk in self._predict([question])]
            if isinstance(error, EpisodeLostError):
                return [error]
            if isinstance(error, PolicyError):  # a sentence of ours
                return [AttemptError(POLICY_FAILED, str(error))]
            return [AttemptError(POLICY_FAILED, described(error), encodable(traceback.format_exc()))]

    def _one_pass(self, questions: list[InferenceRequest]) -> list[Array]:
        policy = self.policy
        assert policy is not None
        placed = dict(zip(self._rows(questions), questions, strict=True))
        batch = [placed.get(row) or _padding(questions[0]) for row in range(self.batch_size)]
        alone = policy.randomness == "global"
        with batch[0].memory.stream.swapped_in() if alone else nullcontext():
            chunks = policy.predict([row.observation for row in batch], [row.memory for row in batch])
        if len(chunks) != len(batch):
            raise ValueError(f"predict was given {len(batch)} observations and gave {len(chunks)} chunks")
        return [chunks[row] for row in placed]

    def _rows(self, questions: Sequence[InferenceRequest]) -> Sequence[int]:
        """Which row of the pass is whose."""
        if self.fixed_rows is None:
            return range(len(questions))
        return [row_of(question.memory.stream.spec, self.fixed_rows) for question in questions]


def _open(source: PolicySource, n_threads: int) -> Policy:
    with _one_loads_at_a_time, refusing_exits("The policy cannot be loaded"):
        return source.open(n_threads)


def _padding(question: InferenceRequest) -> InferenceRequest:
    """The question once more, drawing no random numbers of its episode and remembering nothing for it."""
    return InferenceRequest(
        question.worker, question.observation, EpisodeMemory(RandomStream(question.memory.stream.spec))
    )
