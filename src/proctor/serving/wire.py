"""The messages of `proctor serve`: openpi's protocol, vLLM-Omni's fields, and an extension for exact evaluations.

A connection begins with one message of the server, the metadata. Each request is one message of the client, a map, and
has one answer. All are msgpack with arrays (:mod:`proctor.policies.remote.codec`).

**openpi.** The request is the observation: arrays by key, and ``prompt``. The answer is a map with ``actions``
(``(steps, action_size)``), ``policy_timing`` and ``server_timing`` (milliseconds). An error is a *text* message.

**vLLM-Omni.** The request may hold ``endpoint`` (``infer`` or ``reset``), ``session_id`` (several episodes on one
connection) and ``seed`` (of the random numbers of this request).

**Proctor.** The metadata holds a map under ``proctor`` (:class:`Offer`). A request may then hold one under ``proctor``
(:class:`EpisodeTag`): the episode that the observation belongs to, and how many observations of that episode came
before. The policy's random numbers, its row in a forward pass and its memory are then those of an evaluation in one
process. Such a request has arrays with a leading time axis, one entry for each of the policy's ``look_offsets``; all
other requests have arrays without one. The answer to it is always a map, errors included (:class:`Refusal`).

Sources: ``WebsocketPolicyServer`` in openpi's ``serving/websocket_policy_server.py`` and ``WebsocketClientPolicy`` in
``openpi-client``; vLLM-Omni's ``entrypoints/openpi/connection.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from proctor.errors import ConfigError
from proctor.types import Array, EpisodeSpec, Observation

EXTENSION = "proctor"
EXTENSION_VERSION = 1
PROMPT = "prompt"
ENDPOINT = "endpoint"
SESSION = "session_id"
SEED = "seed"
_ENDPOINTS = ("infer", "reset", "check")
_IGNORED = ("sampling_params",)
_MAX_NAME = 256


class Offer(msgspec.Struct, frozen=True):
    """What the server tells about its policy, under ``proctor`` in the metadata.

    ``policy`` is the policy's fingerprint: two servers with equal fingerprints give equal actions. ``randomness`` and
    the rest are the attributes of :class:`~proctor.policies.base.Policy` that a client's evaluation depends on;
    ``unidentified`` says why the policy cannot be recognised again, and is empty if it can.
    """

    policy: dict[str, Any]
    n_action_steps: int
    look_offsets: tuple[int, ...]
    episodes_per_pass: int
    batch_size: int
    n_slots: int
    unidentified: str = ""
    version: int = EXTENSION_VERSION


class EpisodeTag(msgspec.Struct, frozen=True):
    """The episode that an observation belongs to, and the number of its observations that came before this one."""

    suite: str
    task_id: int
    episode_index: int
    seed: int
    look: int

    @property
    def spec(self) -> EpisodeSpec:
        return EpisodeSpec(self.suite, self.task_id, self.episode_index, self.seed)


class Refusal(msgspec.Struct, frozen=True):
    """Why a request has no actions.

    ``kind`` is ``policy`` (the policy raised), ``contract`` (policy and environment do not fit), ``restart`` (the
    server does not have the memory of this episode: the client starts the episode again), ``closing`` (the server
    stops) or ``request`` (the request cannot be understood).
    """

    kind: str
    message: str
    traceback: str = ""
    type: str = "error"


class RequestError(Exception):
    """A request that gets no actions."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request. ``session`` tells the episodes apart that run side by side on one connection."""

    endpoint: str
    session: str
    observation: Observation
    tag: EpisodeTag | None
    seed: int | None
    shapes: Mapping[str, Any]
    """Of a ``check``: the environment's arrays and action, as :func:`describe_features` makes them."""


def metadata(offer: Offer) -> dict[str, Any]:
    """The server's first message."""
    return {EXTENSION: msgspec.to_builtins(offer)}


def read_request(message: Any, look_offsets: tuple[int, ...]) -> Request:
    """Understand a decoded message.

    Raises:
        RequestError: the message is not a request of any of the three kinds; says what was expected.
    """
    if not isinstance(message, dict):
        raise _not_understood(f"a request is a map with an observation, not {type(message).__name__}")
    endpoint = message.get(ENDPOINT, "infer")
    if endpoint not in _ENDPOINTS:
        raise _not_understood(f"endpoint is {str(endpoint)[:_MAX_NAME]!r}; it must be one of {', '.join(_ENDPOINTS)}")
    tag = _read_tag(message.get(EXTENSION))
    return Request(
        endpoint=endpoint,
        session=_read_session(message.get(SESSION, "")),
        observation=_read_observation(message, tag, look_offsets) if endpoint == "infer" else Observation({}),
        tag=tag,
        seed=_read_seed(message.get(SEED)),
        shapes=message if endpoint == "check" else {},
    )


def _read_tag(value: Any) -> EpisodeTag | None:
    if value is None:
        return None
    try:
        tag = msgspec.convert(value, EpisodeTag)
    except msgspec.ValidationError as error:
        raise _not_understood(f"{EXTENSION} does not name an episode: {error}") from None
    if tag.look < 0 or tag.seed < 0 or tag.episode_index < 0:
        raise _not_understood(f"{EXTENSION} holds a negative number")
    return tag


def _read_session(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        raise _not_understood(f"{SESSION} must be a text of at most {_MAX_NAME} characters")
    return value


def _read_seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise _not_understood(f"{SEED} must be a whole number from 0 to 2**64 - 1")
    return value


def _read_observation(message: Mapping[Any, Any], tag: EpisodeTag | None, look_offsets: tuple[int, ...]) -> Observation:
    arrays = {str(key): value for key, value in message.items() if isinstance(value, np.ndarray)}
    known = {PROMPT, ENDPOINT, SESSION, SEED, EXTENSION, *_IGNORED}
    if unknown := [str(key)[:_MAX_NAME] for key in message if str(key) not in arrays and key not in known]:
        raise _not_understood(f"{', '.join(unknown)}: every value but {PROMPT} must be an array")
    if not arrays:
        raise _not_understood("the observation holds no array")
    prompt = message.get(PROMPT, "")
    if not isinstance(prompt, str):
        raise _not_understood(f"{PROMPT} must be a text")
    return Observation(_with_time(arrays, tag, look_offsets), prompt)


def _with_time(arrays: dict[str, Array], tag: EpisodeTag | None, look_offsets: tuple[int, ...]) -> dict[str, Array]:
    """The arrays with a leading time axis."""
    if tag is not None:
        if wrong := [key for key, array in arrays.items() if array.ndim == 0 or len(array) != len(look_offsets)]:
            raise _not_understood(f"{wrong[0]} must have a leading axis of {len(look_offsets)}, its time")
        return arrays
    if look_offsets != (0,):
        # Which observation lay so many steps ago, only the client knows: it may have executed any part of a chunk.
        raise _not_understood(
            f"the policy needs the observations at steps {', '.join(map(str, look_offsets))} relative to the present, "
            "which a client of openpi's protocol cannot send; evaluate it with proctor eval"
        )
    return {key: array[np.newaxis] for key, array in arrays.items()}


def _not_understood(what: str) -> RequestError:
    return RequestError(Refusal("request", f"The request cannot be answered: {what}."))


def require_version(offer: Offer) -> None:
    """See that this Proctor and the server's understand each other.

    Raises:
        ConfigError: the server's extension has another version.
    """
    if offer.version != EXTENSION_VERSION:
        raise ConfigError(
            f"The server speaks version {offer.version} of Proctor's extension and this Proctor version "
            f"{EXTENSION_VERSION}: install the same Proctor on both sides."
        )
