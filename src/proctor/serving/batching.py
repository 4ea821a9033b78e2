"""Forward passes that several clients share: the engine's inference and its rule, awaited.

The rule is :mod:`proctor.engine.batching`, the passes are :mod:`proctor.engine.inference`. A client takes the place of
an engine's worker: it is under way from the moment a chunk is sent to it until its next observation arrives.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any

from proctor.engine.batching import Batching
from proctor.engine.inference import Inference, InferenceRequest, InferenceResult
from proctor.engine.plan import row_of
from proctor.policies.base import EpisodeMemory, Policy, PolicySource
from proctor.types import EpisodeSpec, Observation


@dataclass(slots=True)
class _Waiting:
    request: InferenceRequest
    result: asyncio.Future[InferenceResult]
    size: int = 1
    """The number of requests that shared the pass."""


class BatchedInference:
    """A policy for any number of coroutines. It is made and used on one event loop.

    Args:
        source: the policy, which is loaded on a thread.
        n_threads: CPU threads of one forward pass.
        batch_size: rows of a forward pass; 0 leaves the number to the policy.
        wait_s: the seconds for which a batch that is not full may stay open; None leaves the wait to the rule.
    """

    def __init__(self, source: PolicySource, *, n_threads: int, batch_size: int, wait_s: float | None = None) -> None:
        self._inference = Inference(source, n_threads=n_threads, batch_size=batch_size)
        self._batching = Batching(wait_s)
        self._ready: dict[int, _Waiting] = {}
        self._inferring: dict[int, _Waiting] = {}
        self._travelling: set[int] = set()
        self._loaded: asyncio.Future[Policy] = asyncio.get_running_loop().create_future()
        self._failure: BaseException | None = None
        self._timer: asyncio.TimerHandle | None = None
        asyncio.get_running_loop().add_reader(self._inference.wake_descriptor, self._advance)

    async def load(self) -> Policy:
        """Wait until the policy is loaded.

        Raises:
            Exception: the policy could not be loaded.
        """
        return await asyncio.shield(self._loaded)

    @property
    def batch_size(self) -> int:
        """Rows of a forward pass; valid once the policy is loaded."""
        return self._inference.batch_size

    @property
    def n_waiting(self) -> int:
        """Requests that wait for a pass or are in one."""
        return len(self._ready) + len(self._inferring)

    async def infer(self, client: int, observation: Observation, memory: EpisodeMemory) -> tuple[InferenceResult, int]:
        """Infer a chunk; return it with the number of requests that shared its pass.

        A client requests one chunk at a time.

        Raises:
            Exception: a pass failed in a way that is not the policy's fault; no later request succeeds either.
        """
        if self._failure is not None:
            raise self._failure
        assert client not in self._ready
        assert client not in self._inferring
        waiting = _Waiting(InferenceRequest(client, observation, memory), asyncio.get_running_loop().create_future())
        self._ready[client] = waiting
        if client not in self._travelling:  # its first request: nothing was expected of it
            self.sent(client, memory.stream.spec, 0)
        self._travelling.discard(client)
        self._batching.came(client, monotonic())
        self._advance()
        result = await waiting.result
        return result, waiting.size

    def sent(self, client: int, spec: EpisodeSpec, n_actions: int) -> None:
        """Record that a chunk was sent to a client, whose next request is expected."""
        self._travelling.add(client)
        self._batching.left(client, spec.task, n_actions, monotonic())

    def forget(self, client: int) -> None:
        """Drop a client that is gone. Its request that is in a pass ends with that pass."""
        self._travelling.discard(client)
        self._batching.lost(client)
        if (waiting := self._ready.pop(client, None)) is not None and not waiting.result.done():
            waiting.result.cancel()

    def close(self) -> None:
        """Wait for the passes that have begun, and close the policy."""
        if self._timer is not None:
            self._timer.cancel()
        asyncio.get_running_loop().remove_reader(self._inference.wake_descriptor)
        self._inference.close()

    def _advance(self) -> None:
        """Deliver what has been inferred, and start the passes that can start now."""
        try:
            self._deliver()
            self._start()
        except BaseException as error:  # noqa: BLE001 - every request that waits fails with it, and every later one
            self._fail(error)

    def _deliver(self) -> None:
        for results in self._inference.results():
            self._batching.passed(monotonic() - results[0].submitted)
            for result in results:
                waiting = self._inferring.pop(result.request.worker_id)
                waiting.size = len(results)
                if not waiting.result.done():  # else its client is gone
                    waiting.result.set_result(result)

    def _start(self) -> None:
        while self._inference.has_free_slot():
            self._tell_loaded()
            chosen = self._choose()
            now = monotonic()
            wait = self._batching.seconds_to_wait(len(chosen), self.batch_size, now)
            if not chosen or wait > 0:
                self._come_back_in(wait)
                return
            self._batching.closed(len(self._ready) - len(chosen), now)
            self._inferring |= {client: self._ready.pop(client) for client in chosen}
            self._inference.submit([self._inferring[client].request for client in chosen])
        self._tell_loaded()

    def _choose(self) -> list[int]:
        """Return the clients of the next pass, in the order of their requests; no two have the same row."""
        rows = self._inference.fixed_rows
        if rows is None:
            return list(self._ready)[: self.batch_size]
        chosen: dict[int, int] = {}
        for client, waiting in self._ready.items():
            chosen.setdefault(row_of(waiting.request.memory.stream.spec, rows), client)
        return list(chosen.values())

    def _come_back_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._advance) if seconds > 0 else None

    def _tell_loaded(self) -> None:
        if self._inference.policy is not None and not self._loaded.done():
            self._loaded.set_result(self._inference.policy)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        waiting = [*self._ready.values(), *self._inferring.values()]
        self._ready.clear()
        self._inferring.clear()
        futures: list[asyncio.Future[Any]] = [self._loaded, *(each.result for each in waiting)]
        for future in futures:
            if not future.done():
                future.set_exception(error)
