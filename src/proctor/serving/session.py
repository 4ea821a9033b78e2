"""The episodes that clients run: their memory, and the answers to their requests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

import msgspec
import numpy as np

from proctor.engine.inference import InferenceResult
from proctor.errors import ContractError, EpisodeLostError
from proctor.policies.base import EpisodeMemory, Policy
from proctor.policies.remote.extension import CHECK, EXTENSION, EpisodeTag, Refusal, read_features
from proctor.serving.batching import BatchedInference
from proctor.serving.status import Status
from proctor.serving.wire import Request, RequestError, read_request
from proctor.streams import RandomStream
from proctor.types import Array, AttemptError, EpisodeSpec

_UNNAMED, _SEEDED = "session", "seeded request"
"""Suites of episodes without a tag: their random streams follow from the session's number, or from a request's seed."""


class _Key(NamedTuple):
    """The owner of an episode, a connection or with Proctor's extension an evaluation, and the episode's name there."""

    owner: str
    name: str


class _Session:
    """An episode under way: the policy's memory of it, and the number of its observations so far."""

    def __init__(self, client: int, spec: EpisodeSpec, *, whole_chunks: bool = False) -> None:
        self.client = client
        self.memory = EpisodeMemory(RandomStream(spec), whole_chunks=whole_chunks, n_delay_steps=None)
        self.n_looks = 0
        self.used_at = monotonic()
        self.is_busy = False

    @property
    def spec(self) -> EpisodeSpec:
        return self.memory.stream.spec


class Sessions:
    """The episodes under way, over all connections.

    Args:
        inference: the forward passes, from which clients that are gone are dropped.
        limit: the largest number of episodes; the one that was used longest ago makes room for another one.
        seed: the seed of the random numbers of episodes without a tag.
    """

    def __init__(self, inference: BatchedInference, *, limit: int, seed: int) -> None:
        self._inference, self._limit, self._seed = inference, limit, seed
        self._sessions: dict[_Key, _Session] = {}
        self._numbers, self._unnamed = count(), count(1)

    def named(self, tag: EpisodeTag) -> _Session:
        """Return the session of an episode that an evaluation names, on any of its connections.

        Raises:
            RequestError: the server does not have the memory of the episode, or there is no room for another one.
        """
        key = _Key(f"evaluation {tag.client}", str(tag.spec))
        if tag.look == 0:
            return self._open(key, tag.spec, whole_chunks=tag.whole_chunks)
        session = self._sessions.get(key)
        if session is None or session.n_looks != tag.look:
            self._drop(key)
            raise RequestError(
                Refusal("restart", f"The server has no memory of {tag.spec} before observation {tag.look}.")
            )
        return session

    def unnamed(self, connection: int, name: str) -> _Session:
        """Return the session ``name`` of a connection; a new one if there is none.

        Raises:
            RequestError: there is no room for another one.
        """
        key = _key_of(connection, name)
        if (session := self._sessions.get(key)) is not None:
            return session
        return self._open(key, EpisodeSpec(_UNNAMED, 0, next(self._unnamed), self._seed))

    def reset(self, connection: int, name: str) -> None:
        """Drop the session ``name`` of a connection."""
        self._drop(_key_of(connection, name))

    def close(self, connection: int) -> None:
        """Drop the sessions of a connection that is gone. The episodes of evaluations remain."""
        owner = _key_of(connection, "").owner
        for key in [key for key in self._sessions if key.owner == owner]:
            self._drop(key)

    def _open(self, key: _Key, spec: EpisodeSpec, *, whole_chunks: bool = False) -> _Session:
        self._drop(key)
        while len(self._sessions) >= self._limit:
            idle = [other for other, session in self._sessions.items() if not session.is_busy]
            if not idle:
                raise RequestError(
                    Refusal("busy", f"{self._limit} episodes are under way, the limit; try again later.")
                )
            self._drop(min(idle, key=lambda other: self._sessions[other].used_at))
        self._sessions[key] = session = _Session(next(self._numbers), spec, whole_chunks=whole_chunks)
        return session

    def _drop(self, key: _Key) -> None:
        if (session := self._sessions.pop(key, None)) is not None:
            self._inference.forget(session.client)


def _key_of(connection: int, name: str) -> _Key:
    return _Key(f"connection {connection}", name)


class Connection:
    """The requests of one connection, which are answered one after another."""

    _numbers = count()

    def __init__(self, policy: Policy, inference: BatchedInference, sessions: Sessions, status: Status) -> None:
        self._policy, self._inference, self._sessions, self._status = policy, inference, sessions, status
        self._number = next(self._numbers)

    async def answer(self, message: Any) -> dict[str, Any] | str:
        """Answer a decoded message with a map, or with a text if it is an error for a client of openpi.

        A client with Proctor's extension receives maps only.
        """
        speaks_extension = isinstance(message, dict) and (EXTENSION in message or message.get("endpoint") == CHECK)
        try:
            return await self._answer(read_request(message, self._policy.look_offsets))
        except RequestError as error:
            self._status.refused(error.refusal.kind)
            if speaks_extension:
                return {EXTENSION: msgspec.to_builtins(error.refusal)}
            return f"{error.refusal.traceback}{error.refusal.message}"

    def close(self) -> None:
        """Drop the connection's sessions."""
        self._sessions.close(self._number)

    async def _answer(self, request: Request) -> dict[str, Any]:
        if request.endpoint == CHECK:
            return self._check(request.shapes)
        if request.endpoint == "reset":
            self._sessions.reset(self._number, request.session)
            return {"status": "reset successful"}
        if request.tag is not None:
            session = self._sessions.named(request.tag)
        else:
            session = self._sessions.unnamed(self._number, request.session)
        session.is_busy = True
        try:
            return await self._infer(session, request)
        finally:
            session.is_busy = False

    async def _infer(self, session: _Session, request: Request) -> dict[str, Any]:
        began = monotonic()
        memory = session.memory if request.seed is None else _seeded(session.memory, request.seed)
        result, n_shared = await self._inference.infer(session.client, request.observation, memory)
        session.n_looks += 1
        session.used_at = monotonic()
        chunk = _actions(result)
        self._inference.sent(session.client, session.spec, min(len(chunk), self._policy.n_action_steps))
        seconds = session.used_at - began
        self._status.answered(seconds, result.seconds, n_shared)
        return _reply(chunk, result.seconds, seconds)

    def _check(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Compare the policy with a client's environment before its first episode."""
        try:
            self._policy.check_contract(read_features(shapes))
        except msgspec.ValidationError as error:
            raise RequestError(Refusal("request", f"check does not describe an environment: {error}.")) from None
        except ContractError as error:
            raise RequestError(Refusal("contract", str(error))) from None
        return {EXTENSION: {"status": "fits"}}


def _actions(result: InferenceResult) -> Array:
    match result.chunk:
        case AttemptError(message=message, traceback=traceback):
            raise RequestError(Refusal("policy", message, traceback))
        case EpisodeLostError() as lost:  # the served policy is behind another server
            raise RequestError(Refusal("restart", str(lost)))
        case chunk:
            return chunk


def _seeded(memory: EpisodeMemory, seed: int) -> EpisodeMemory:
    """Return the memory with a random stream that depends on a request's seed alone."""
    seeded = EpisodeMemory(RandomStream(EpisodeSpec(_SEEDED, 0, 0, seed)), n_delay_steps=None)
    seeded.state = memory.state
    return seeded


def _reply(chunk: Array, infer_s: float, total_s: float) -> dict[str, Any]:
    """Return an answer with the keys of openpi's server."""
    return {
        "actions": np.ascontiguousarray(chunk),
        "policy_timing": {"infer_ms": 1e3 * infer_s},
        "server_timing": {"infer_ms": 1e3 * total_s},
    }
