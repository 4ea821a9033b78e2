"""One client's connection: requests in, actions out, and the memory of the episodes that run over it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from time import monotonic
from typing import Any

import msgspec
import numpy as np

from proctor.engine.inference import InferenceResult
from proctor.errors import ContractError, EpisodeLostError
from proctor.policies.base import EpisodeMemory, Policy
from proctor.serving.batching import BatchedInference
from proctor.serving.status import Status
from proctor.serving.wire import EXTENSION, EpisodeTag, Refusal, Request, RequestError, read_request
from proctor.streams import RandomStream
from proctor.types import Array, ArraySpec, AttemptError, EpisodeSpec, Features

_client_numbers = count()
_UNNAMED, _SEEDED = "session", "seeded request"
"""The suite of an episode that nobody named: its random stream is that of the session's number and seed."""


class _Session:
    """An episode under way: what the policy remembers of it, and how many observations it has seen."""

    def __init__(self, spec: EpisodeSpec) -> None:
        self.client = next(_client_numbers)
        self.memory = EpisodeMemory(RandomStream(spec))
        self.n_looks = 0
        self.used_at = monotonic()

    @property
    def spec(self) -> EpisodeSpec:
        return self.memory.stream.spec


class Connection:
    """The requests of one connection, answered one after another.

    ``max_sessions`` bounds the episodes that run side by side on it; the one that was used longest ago is dropped.
    """

    def __init__(
        self, policy: Policy, inference: BatchedInference, status: Status, *, max_sessions: int, seed: int
    ) -> None:
        self._policy, self._inference, self._status = policy, inference, status
        self._max_sessions, self._seed = max_sessions, seed
        self._sessions: dict[str, _Session] = {}
        self._n_sessions = 0

    async def answer(self, message: Any) -> dict[str, Any] | str:
        """The answer to a decoded message: a map, or a text if it is an error that openpi's clients must understand."""
        speaks_extension = isinstance(message, dict) and EXTENSION in message
        try:
            request = read_request(message, self._policy.look_offsets)
            return await self._answer(request)
        except RequestError as error:
            self._status.refused(error.refusal.kind)
            if speaks_extension:
                return {EXTENSION: msgspec.to_builtins(error.refusal)}
            return f"{error.refusal.traceback}{error.refusal.message}"

    def close(self) -> None:
        """Forget the connection's episodes."""
        for session in self._sessions.values():
            self._inference.forget(session.client)
        self._sessions.clear()

    async def _answer(self, request: Request) -> dict[str, Any]:
        if request.endpoint == "check":
            return self._check(request.shapes)
        if request.endpoint == "reset":
            self._drop(request.session)
            return {"status": "reset successful"}
        session = self._session_of(request)
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

    def _session_of(self, request: Request) -> _Session:
        session = self._sessions.get(request.session)
        tag = request.tag
        if tag is None:
            return session or self._open(request.session, self._unnamed())
        if tag.look == 0:
            self._drop(request.session)
            return self._open(request.session, tag.spec)
        if session is None or session.spec != tag.spec or session.n_looks != tag.look:
            self._drop(request.session)
            raise RequestError(
                Refusal("restart", f"The server has no memory of {tag.spec} before observation {tag.look}.")
            )
        return session

    def _unnamed(self) -> EpisodeSpec:
        self._n_sessions += 1
        return EpisodeSpec(_UNNAMED, 0, self._n_sessions, self._seed)

    def _open(self, name: str, spec: EpisodeSpec) -> _Session:
        while len(self._sessions) >= self._max_sessions:
            self._drop(min(self._sessions, key=lambda other: self._sessions[other].used_at))
        self._sessions[name] = session = _Session(spec)
        return session

    def _drop(self, name: str) -> None:
        if (session := self._sessions.pop(name, None)) is not None:
            self._inference.forget(session.client)

    def _check(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Compare the policy with a client's environment before its first episode."""
        try:
            self._policy.check_contract(read_features(shapes))
        except ContractError as error:
            raise RequestError(Refusal("contract", str(error))) from None
        return {EXTENSION: {"status": "fits"}}


def _actions(result: InferenceResult) -> Array:
    match result.chunk:
        case AttemptError(message=message, traceback=traceback):
            raise RequestError(Refusal("policy", message, traceback))
        case EpisodeLostError() as lost:  # the served policy lives behind another server
            raise RequestError(Refusal("restart", str(lost)))
        case chunk:
            return chunk


def _seeded(memory: EpisodeMemory, seed: int) -> EpisodeMemory:
    """The memory with a random stream that depends on a request's seed alone."""
    seeded = EpisodeMemory(RandomStream(EpisodeSpec(_SEEDED, 0, 0, seed)))
    seeded.state = memory.state
    return seeded


def _reply(chunk: Array, infer_s: float, total_s: float) -> dict[str, Any]:
    """The answer of openpi's server."""
    return {
        "actions": np.ascontiguousarray(chunk),
        "policy_timing": {"infer_ms": 1e3 * infer_s},
        "server_timing": {"infer_ms": 1e3 * total_s},
    }


# ------------------------------------------------------------------------------------------------ what a client checks


def describe_features(features: Features) -> dict[str, Any]:
    """An environment's arrays and action, as a request with the endpoint ``check`` holds them."""
    shapes = {key: [list(spec.shape), spec.dtype] for key, spec in features.observation.items()}
    return {
        "endpoint": "check",
        EXTENSION: msgspec.to_builtins(EpisodeTag(_UNNAMED, 0, 0, 0, 0)),
        "observation": shapes,
        "action": [list(features.action.shape), features.action.dtype],
    }


class _Shapes(msgspec.Struct, frozen=True):
    observation: dict[str, tuple[tuple[int, ...], str]]
    action: tuple[tuple[int, ...], str]


def read_features(message: Mapping[str, Any]) -> Features:
    """The opposite of :func:`describe_features`.

    Raises:
        RequestError: the message does not describe an environment.
    """
    try:
        shapes = msgspec.convert(message, _Shapes)
    except msgspec.ValidationError as error:
        raise RequestError(Refusal("request", f"check does not describe an environment: {error}.")) from None
    return Features({key: ArraySpec(*spec) for key, spec in shapes.observation.items()}, ArraySpec(*shapes.action))
