"""Policies behind a server that speaks openpi's websocket protocol: ``--policy.type=openpi --policy.url=ws://host:8000``.

Two dialects, told apart by the address and by what the server says on connecting:

- ``openpi``: the protocol of openpi's own server, whose replies hold ``actions``;
- ``vllm``: that of vLLM-Omni (path ``/v1/realtime/robot/openpi``, ``vllm_omni/entrypoints/openpi``), whose replies are
  an array or a map of arrays, and whose requests may hold a ``seed`` and a ``session_id``. An episode keeps its
  connection, as the server keeps one session for each.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from proctor.config import structure
from proctor.errors import ConfigError, PolicyError, note
from proctor.policies.actions import to_array
from proctor.policies.base import EpisodeMemory, PolicySource
from proctor.policies.remote.codec import WireError, pack, unpack
from proctor.policies.remote.connections import Connection, Connections, Lease, NotThereError
from proctor.policies.remote.extension import Offer
from proctor.policies.remote.mapping import OPENPI, Choice, choose
from proctor.policies.remote.policy import (
    RemoteConfig,
    RemotePolicy,
    RemoteSource,
    check_url,
    require_modules,
    secret,
)
from proctor.policies.remote.served import ServedPolicy
from proctor.policies.remote.websocket import WebSocket
from proctor.types import Array, Observation

_MOST_CONNECTIONS = 64
_GLANCE_S = 2.0
"""How long a server may take to say that it is a `proctor serve`, before simulators start."""
_EPISODES_PER_PASS = 2
"""While one half of the environments waits for the server, the other half steps."""
_VLLM_PATH = "/v1/realtime/robot/openpi"
_VLLM_SAYS = "needs_session_id"
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
    """``--policy.<field>`` of a policy behind a server that speaks openpi's protocol."""

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
        """See :meth:`Policy.predict`. An observation that fills up a batch is the object of another row: sent once."""
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
        reply = decoded(self._exchange.request([memory], lambda _: request))
        if not isinstance(reply, dict):
            raise PolicyError(
                f"the server's reply is no map but {type(reply).__name__}, as vLLM-Omni's: --policy.dialect=vllm"
            )
        return mapping.action(reply)


class VllmPolicy(OpenpiPolicy):
    """A policy behind vLLM-Omni: each request has a seed of its own, each episode a session and a connection."""

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

        reply = decoded(self._exchange.request([memory], begun, owner=session))
        memory.state[_N_REQUESTS] = memory.state.get(_N_REQUESTS, 0) + 1
        if isinstance(reply, dict) and "actions" not in reply and len(mapping.actions) == 1 and len(reply) == 1:
            (reply,) = reply.values()
        actions = mapping.action(reply) if isinstance(reply, dict) else to_array(reply)
        return actions[0] if actions.ndim == 3 and len(actions) == 1 else actions

    def _session(self, memory: EpisodeMemory) -> str:
        """Give the name of the episode's session. Its connection is free for others once the episode is forgotten."""
        if _SESSION not in memory.state:
            spec = memory.stream.spec
            session = _Session(f"{spec.suite}/{spec.task_id}/{spec.episode_index}/{spec.seed}")
            weakref.finalize(session, self._connections.disown, session.name)
            memory.state[_SESSION] = session
        name: str = memory.state[_SESSION].name
        return name

    def _begin_session(self, lease: Lease, memory: EpisodeMemory, session: str) -> None:
        """Have the server forget what it remembers of the connection's episode before this one."""
        if not lease.is_new_owner:
            return
        if self._has_sessions and memory.state.get(_N_REQUESTS):
            raise PolicyError(
                "the server keeps a session no longer than its connection, and the episode's was closed or taken by "
                "another episode; give as many --policy.connections as environments, and the server no idle timeout"
            )
        reset = pack({"endpoint": "reset", "session_id": session})
        decoded(lease.connection.ask(reset, self._exchange.patience.seconds, self._connections.closed))


class _Session:
    """An episode's session: it ends when nobody refers to it."""

    def __init__(self, name: str) -> None:
        self.name = name


def seed_of(memory: EpisodeMemory) -> int:
    """Give the seed of an episode's next request, 0 to 2**31 - 1, which follows from the episode and its number."""
    number = memory.state.get(_N_REQUESTS, 0)
    seeds = np.random.SeedSequence(memory.stream.seeds.entropy, spawn_key=(number,))
    return int(seeds.generate_state(1)[0] >> 1)


def nested(items: Any) -> dict[str, Any]:
    """Give inputs as a map, in which those with several names lie in maps of their own."""
    whole: dict[str, Any] = {}
    for each, value in items:
        *outer, last = each.path
        inner = whole
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return whole


def decoded(reply: bytes) -> Any:
    """Give what a reply says.

    Raises:
        PolicyError: it is an error of the server's, or cannot be decoded.
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

    The preset ``libero_raw`` is for an environment that gives what robosuite gives. A server of `proctor serve` needs
    no inputs: it is recognised now, if it is up. No connection to another server is kept.

    Raises:
        ConfigError: an option is wrong; or ``dialect`` is ``proctor`` and no such server answers in time.
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
            raise ConfigError("proctor serve has the --rename_map of its policy: give it there, not here.")
        return ServedPolicy(config, offer, connections, _limit(config))
    note(_NUMERICAL if _asks_for_vllm(config) else _STATISTICAL)

    def connected() -> RemotePolicy:
        connections.begin(config.connect_timeout_s)
        return _of_dialect(config, choice, connections)

    return RemoteSource(config, choice, connected, _EPISODES_PER_PASS)


def _offer(config: OpenpiConfig, connect: Callable[[float], Connection], connections: Connections) -> Offer | None:
    """The offer of a server of `proctor serve`; None if the user's options or the server's first message exclude that.

    Raises:
        ConfigError: ``dialect`` is ``proctor``, and there is no such server.
    """
    if config.dialect == "proctor":
        connections.begin(config.connect_timeout_s)
        if (offer := Offer.of(metadata(connections.greeting))) is None:
            connections.close()
            raise ConfigError(f"The server at {config.url} is not a proctor serve: leave --policy.dialect out.")
        return offer
    if config.dialect != "auto" or config.inputs is not None or _asks_for_vllm(config):
        return None
    try:
        connection = connect(min(_GLANCE_S, config.connect_timeout_s))
    except NotThereError:
        return None
    with closing(connection):
        return Offer.of(metadata(connection.greeting))


def _of_dialect(config: OpenpiConfig, choice: Choice, connections: Connections) -> RemotePolicy:
    said = metadata(connections.greeting)
    if _asks_for_vllm(config) or (config.dialect == "auto" and _VLLM_SAYS in said):
        return VllmPolicy(config, choice, connections, has_sessions=bool(said.get(_VLLM_SAYS)))
    return OpenpiPolicy(config, choice, connections)


def _asks_for_vllm(config: OpenpiConfig) -> bool:
    at_its_path = urlsplit(config.url).path.rstrip("/") == _VLLM_PATH
    return config.dialect == "vllm" or (config.dialect == "auto" and at_its_path)


def metadata(greeting: bytes) -> dict[Any, Any]:
    """Give what a server says of itself on connecting.

    Raises:
        ConfigError: that is no map.
    """
    try:
        said = unpack(greeting)
    except WireError as error:
        raise ConfigError(f"The server does not speak openpi's protocol: {error}.") from None
    if not isinstance(said, dict):
        raise ConfigError(
            f"The server does not speak openpi's protocol: it begins with {type(said).__name__}, not a map."
        )
    return said


def _limit(config: RemoteConfig) -> int:
    return config.connections or _MOST_CONNECTIONS
