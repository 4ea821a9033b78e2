"""The messages of `proctor serve`: openpi's protocol, vLLM-Omni's fields, and an extension for exact evaluations.

A connection begins with one message of the server, the metadata. Each request is one message of the client, a map, and
has one answer. All are msgpack with arrays (:mod:`proctor.policies.remote.codec`).

**openpi.** The request is the observation: arrays by key, and ``prompt``. The answer is a map with ``actions``
(``(steps, action_size)``), ``policy_timing`` and ``server_timing`` (milliseconds). An error is a *text* message.

**vLLM-Omni.** The request may hold ``endpoint`` (``infer`` or ``reset``), ``session_id`` (several episodes on one
connection) and ``seed`` (of the random numbers of this request).

**Proctor.** :mod:`proctor.policies.remote.extension` describes the extension. A request with it has arrays with a
leading time axis, one entry for each of the policy's ``look_offsets``; all other requests have arrays without one.

Sources: ``WebsocketPolicyServer`` in openpi's ``serving/websocket_policy_server.py`` and ``WebsocketClientPolicy`` in
``openpi-client``; vLLM-Omni's ``entrypoints/openpi/connection.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from proctor.policies.remote.extension import CHECK, ENDPOINT, EXTENSION, PROMPT, EpisodeTag, Offer, Refusal
from proctor.types import Array, Observation

SESSION = "session_id"
SEED = "seed"
_ENDPOINTS = ("infer", "reset", CHECK)
_IGNORED = ("sampling_params",)
_MAX_NAME = 256


class RequestError(Exception):
    """A request that is answered without actions."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request. ``session`` distinguishes the episodes that run side by side on one connection."""

    endpoint: str
    session: str
    observation: Observation
    tag: EpisodeTag | None
    seed: int | None
    shapes: Mapping[str, Any]
    """The message of a ``check``: see :func:`~proctor.policies.remote.extension.describe_features`."""


def metadata(offer: Offer) -> dict[str, Any]:
    """Return the server's first message."""
    return {EXTENSION: msgspec.to_builtins(offer)}


def read_request(message: Any, look_offsets: tuple[int, ...]) -> Request:
    """Read a decoded message.

    Raises:
        RequestError: the message is not a request of any of the three kinds; the error names what was expected.
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
        shapes=message if endpoint == CHECK else {},
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
    """Return the arrays with a leading time axis."""
    if tag is not None:
        if wrong := [key for key, array in arrays.items() if array.ndim == 0 or len(array) != len(look_offsets)]:
            raise _not_understood(f"{wrong[0]} must have a leading axis of {len(look_offsets)}, its time")
        return arrays
    if look_offsets != (0,):
        # Only the client has the observations of earlier steps: it may have executed any part of a chunk.
        raise _not_understood(
            f"the policy needs the observations at steps {', '.join(map(str, look_offsets))} relative to the present, "
            "which a client of openpi's protocol cannot send; evaluate it with proctor eval"
        )
    return {key: array[np.newaxis] for key, array in arrays.items()}


def _not_understood(what: str) -> RequestError:
    return RequestError(Refusal("request", f"The request cannot be answered: {what}."))
