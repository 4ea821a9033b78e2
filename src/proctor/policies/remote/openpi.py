"""Policies behind a server with openpi's websocket protocol: ``--policy.type=openpi --policy.url=ws://host:8000``.

Its dialects are distinguished by the address and by the server's first message, the metadata:

- ``openpi``: the protocol of openpi's own server, whose replies hold ``actions``;
- ``vllm``: that of vLLM-Omni (path ``/v1/realtime/robot/openpi``, ``vllm_omni/entrypoints/openpi``), whose replies are
  an array or a map of arrays, and whose requests may hold a ``seed`` and a ``session_id``. An episode keeps its
  connection, because the server has one session per connection;
- ``proctor``: that of `proctor serve` (:mod:`proctor.policies.remote.served`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from proctor.config import structure
from proctor.errors import ConfigError, PolicyError, note
from proctor.policies.actions import to_array
from proctor.policies.base import EpisodeMemory, PolicySource
from proctor.policies.remote.codec import WireError, pack, unpack
from proctor.policies.remote.connections import Connection, Connections, Lease, NotThereError, connect_while
from proctor.policies.remote.extension import Offer
from proctor.policies.remote.mapping import Choice, choose
from proctor.policies.remote.policy import (
    RemoteConfig,
    RemotePolicy,
    RemoteSource,
    check_url,
    require_modules,
    secret,
)
from proctor.policies.remote.presets import OPENPI
from proctor.policies.remote.served import ServedPolicy
from proctor.policies.remote.websocket import WebSocket
from proctor.types import Array, Observation

_MOST_CONNECTIONS = 64
_GLANCE_S = 2.0
"""The time that a `proctor serve` has for its first message, in seconds, before simulators start."""
_EPISODES_PER_PASS = 2
"""While one half of the environments waits for the server, the other half steps."""
_VLLM_PATH = "/v1/realtime/robot/openpi"
_VLLM_KEY = "needs_session_id"
_N_REQUESTS, _SESSION = "requests", "session"
_STATISTICAL = (
    "openpi's server draws noise in the order of requests, so the results are statistical: only a run with one "
    "environment (--eval.batch_size=1), against a server started for it, can be repeated to the bit."
)
_NUMERICAL = (
    "vLLM-Omni is sent a seed for each request, which follows from the episode, so the results are as exact as its "
    "kernels; proctor check measures how exact that is."
)


@dataclass(frozen=True, kw_only=True)
class OpenpiConfig(RemoteConfig):
    """``--policy.<field>`` of a policy behind a server with openpi's protocol."""

    type: str = "openpi"
    dialect: str = "auto"
    """openpi, vllm, proctor (a server of proctor serve), or auto: what the server's address and its first message
    show."""
    api_key_env: str | None = None
    """The environment variable that holds the server's key."""
    api_key_file: str | None = None
    """The file that holds the server's key."""
    ca_file: str | None = None
    """The authority that signed the certificate of a wss:// server, as a PEM file; the system's if not given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.url, ("ws", "wss"), "ws://host:8000")
        if self.dialect not in ("auto", "openpi", "vllm", "proctor"):
            raise ConfigError(f"policy.dialect is '{self.dialect}'; it is one of auto, openpi, vllm, proctor.")


class OpenpiPolicy(RemotePolicy):
    """A policy behind a server of openpi's own kind. One request holds one observation."""

    def __init__(self, config: OpenpiConfig, choice: Choice, connections: Connections) -> None:
        super().__init__(config, choice, connections, "statistical")
        self.n_slots = _limit(config)

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        """See :meth:`Policy.predict`. A row that fills up the batch is the object of another row, and is sent once."""
        before = [dict(memory.state) for memory in memories]
        chunks: dict[int, Array] = {}
        try:
            for observation, memory in zip(observations, memories, strict=True):
                if id(observation) not in chunks:
                    chunks[id(observation)] = self._chunk(observation, memory)
        except BaseException:
            for memory, state in zip(memories, before, strict=True):
                memory.state = state
            raise
        return [chunks[id(observation)] for observation in observations]

    def _chunk(self, observation: Observation, memory: EpisodeMemory) -> Array:
        mapping = self._choice.for_observation(observation.arrays)
        request = pack(nested(mapping.items(observation, self._choice.names)))
        reply = self.exchange.request([memory], lambda _: request, decoded)
        if not isinstance(reply, dict):
            raise PolicyError(
                f"the server's reply is not a map but {type(reply).__name__}; for vLLM-Omni give --policy.dialect=vllm"
            )
        return mapping.action(reply)


class VllmPolicy(OpenpiPolicy):
    """A policy behind vLLM-Omni: each request has its seed, and each episode its session and connection."""

    def __init__(self, config: OpenpiConfig, choice: Choice, connections: Connections, *, has_sessions: bool) -> None:
        super().__init__(config, choice, connections)
        self.exactness = "numerical"
        self._has_sessions = has_sessions

    def _chunk(self, observation: Observation, memory: EpisodeMemory) -> Array:
        mapping = self._choice.for_observation(observation.arrays)
        session = self._session(memory)
        sent = nested(mapping.items(observation, self._choice.names))
        request = pack(sent | {"endpoint": "infer", "session_id": session, "seed": seed_of(memory)})

        def begun(lease: Lease) -> bytes:
            self._begin_session(lease, memory, session)
            return request

        reply = self.exchange.request([memory], begun, decoded, owner=session)
        memory.state[_N_REQUESTS] = memory.state.get(_N_REQUESTS, 0) + 1
        if isinstance(reply, dict) and "actions" not in reply and len(mapping.actions) == 1 and len(reply) == 1:
            (reply,) = reply.values()
        actions = mapping.action(reply) if isinstance(reply, dict) else to_array(reply)
        return actions[0] if actions.ndim == 3 and len(actions) == 1 else actions

    def _session(self, memory: EpisodeMemory) -> str:
        """Give the name of the episode's session. Once the episode's memory is dropped, its connection is free."""
        if _SESSION not in memory.state:
            spec = memory.stream.spec
            session = _Session(f"{spec.suite}/{spec.task_id}/{spec.episode_index}/{spec.seed}")
            weakref.finalize(session, self._connections.disown, session.name)
            memory.state[_SESSION] = session
        name: str = memory.state[_SESSION].name
        return name

    def _begin_session(self, lease: Lease, memory: EpisodeMemory, session: str) -> None:
        """Reset the server's session if the episode did not use the connection before."""
        if not lease.is_new_owner:
            return
        if self._has_sessions and memory.state.get(_N_REQUESTS):
            raise PolicyError(
                "the server ends a session with its connection, and the episode's connection was closed or taken by "
                "another episode; give as many --policy.connections as environments, and the server no idle timeout"
            )
        reset = pack({"endpoint": "reset", "session_id": session})
        decoded(lease.connection.ask(reset, self.exchange.patience.seconds, self._connections.closed))


class _Session:
    """An episode's session, which ends when the episode's memory no longer refers to it."""

    def __init__(self, name: str) -> None:
        self.name = name


def seed_of(memory: EpisodeMemory) -> int:
    """Give the seed of an episode's next request, 0 to 2**31 - 1, from the episode and the request's number."""
    number = memory.state.get(_N_REQUESTS, 0)
    seeds = np.random.SeedSequence(memory.stream.seeds.entropy, spawn_key=(number,))
    return int(seeds.generate_state(1)[0] >> 1)


def nested(items: Any) -> dict[str, Any]:
    """Give inputs as a map, in which inputs with several names are in nested maps."""
    whole: dict[str, Any] = {}
    for each, value in items:
        *outer, last = each.path
        inner = whole
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return whole


def decoded(reply: bytes) -> Any:
    """Decode a reply.

    Raises:
        PolicyError: the reply is an error of the server's, or cannot be decoded.
    """
    try:
        value = unpack(reply)
    except WireError as error:
        raise PolicyError(f"the server's reply cannot be read: {error}") from None
    if isinstance(value, dict) and value.get("type") == "error":
        raise PolicyError(f"the server failed: {value.get('message')!s:.2000}")
    return value


def load(fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None) -> PolicySource:
    """A server of openpi or vLLM-Omni: ``--policy.url=ws://host:8000 --policy.inputs=libero``, aloha, droid or a file.

    The preset ``libero_raw`` is for an environment with robosuite's arrays. A server of `proctor serve` needs no
    inputs: Proctor connects to the server before the evaluation begins, and recognises it by its first message.

    Raises:
        ConfigError: an option is wrong; or ``dialect`` is ``proctor`` and no such server answers in time.
        MissingExtraError: a package of the extra ``openpi`` is not installed.
    """
    require_modules("openpi", "websockets", "msgpack", "PIL")
    config = structure(OpenpiConfig, fields, "policy")
    choice = choose(config.inputs, OPENPI, rename_map)
    key = secret(config.api_key_env, config.api_key_file, "api_key")
    headers = {"Authorization": f"Api-Key {key}"} if key else {}

    def connect(seconds: float) -> Connection:
        return WebSocket(config.url, seconds, headers=headers, ca_file=config.ca_file)

    connections = Connections(connect, config.url, limit=_limit(config), back_within_s=config.reconnect_timeout_s)
    if (offer := _offer(config, connect, connections)) is not None:
        if rename_map:
            raise ConfigError(
                "proctor serve renames the arrays of its policy; give --rename_map to proctor serve instead."
            )
        return ServedPolicy(config, offer, connections, _limit(config))
    note(_NUMERICAL if _asks_for_vllm(config) else _STATISTICAL)

    return RemoteSource(config, choice, connections, partial(_of_dialect, config, choice), _EPISODES_PER_PASS)


def _offer(config: OpenpiConfig, connect: Callable[[float], Connection], connections: Connections) -> Offer | None:
    """Return the offer of `proctor serve`; None if the user's options or the server's first message exclude one.

    Raises:
        ConfigError: ``dialect`` is ``proctor``, and the server is another one.
    """
    if config.dialect == "proctor":
        connections.begin(config.connect_timeout_s)
        if (offer := Offer.of(metadata(connections.greeting))) is None:
            connections.close()
            raise ConfigError(f"The server at {config.url} is not a proctor serve; leave --policy.dialect out.")
        return offer
    if config.dialect != "auto" or config.inputs is not None or _asks_for_vllm(config):
        return None
    try:
        connection = connect_while(lambda: None, connect, min(_GLANCE_S, config.connect_timeout_s))
    except NotThereError as error:
        note(
            f"no server answers at {config.url} yet ({error}); if it will be a proctor serve, --policy.dialect=proctor "
            "waits for it and recognises it."
        )
        return None
    with closing(connection):
        return Offer.of(metadata(connection.greeting))


def _of_dialect(config: OpenpiConfig, choice: Choice, connections: Connections) -> RemotePolicy:
    described = metadata(connections.greeting)
    if _asks_for_vllm(config) or (config.dialect == "auto" and _VLLM_KEY in described):
        return VllmPolicy(config, choice, connections, has_sessions=bool(described.get(_VLLM_KEY)))
    return OpenpiPolicy(config, choice, connections)


def _asks_for_vllm(config: OpenpiConfig) -> bool:
    at_its_path = urlsplit(config.url).path.rstrip("/") == _VLLM_PATH
    return config.dialect == "vllm" or (config.dialect == "auto" and at_its_path)


def metadata(greeting: bytes) -> dict[Any, Any]:
    """Decode a server's first message, its metadata.

    Raises:
        ConfigError: the message is not a map.
    """
    try:
        found = unpack(greeting)
    except WireError as error:
        raise ConfigError(
            f"The server does not use openpi's protocol: its first message is invalid, as {error}."
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(
            f"The server does not use openpi's protocol: its first message is {type(found).__name__}, not a map."
        )
    return found


def _limit(config: RemoteConfig) -> int:
    return config.connections or _MOST_CONNECTIONS
