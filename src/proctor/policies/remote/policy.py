"""The common parts of policies behind a server: their options, their fingerprints, and the exchange of a request."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn
from urllib.parse import urlsplit

import numpy as np

from proctor.errors import ConfigError, EpisodeLostError, MissingExtraError, PolicyError
from proctor.policies.base import EpisodeMemory, Policy, PolicySource, Source
from proctor.policies.remote.connections import Connections, Lease, LostError, Patience
from proctor.policies.remote.mapping import Choice
from proctor.types import Features

_MOST_STARTS_AGAIN = 10
"""The number of times that an episode may start again after lost connections before it counts as an attempt."""
_LIFE = "server life"
_FILES = ("inputs", "ca_file", "api_key_file", "api_token_file")


@dataclass(frozen=True, kw_only=True)
class RemoteConfig:
    """``--policy.<field>`` of every policy behind a server."""

    url: str
    """The server's address, such as ws://host:8000 (openpi) or tcp://host:5555 (GR00T)."""
    type: str = ""
    name: str | None = None
    """The user's name of the server's policy, such as that of its checkpoint. Only a run with a name can be resumed in
    another session."""
    inputs: str | list[Any] | dict[str, Any] | None = None
    """The mapping from observations to requests: a preset, a file of JSON or YAML, or JSON. By default it is the preset
    whose arrays the environment gives."""
    n_action_steps: int | None = None
    """The number of actions of a chunk that are executed before the next request; by default the preset's."""
    connections: int | None = None
    """The largest number of connections, and so of requests at a time."""
    timeout_s: float | None = None
    """Seconds after which a missing reply is an error. The default is 20 times the duration of the slowest reply, at
    least 30; 600 for the first reply."""
    connect_timeout_s: float = 30.0
    """Seconds to wait for the server at the beginning."""
    reconnect_timeout_s: float = 300.0
    """Seconds for which a server may be unreachable in the middle of a run before the run ends."""

    def __post_init__(self) -> None:
        for field in ("n_action_steps", "connections"):
            if (value := getattr(self, field)) is not None and value < 1:
                raise ConfigError(f"policy.{field} is {value}; it must be at least 1.")
        for field in ("timeout_s", "connect_timeout_s", "reconnect_timeout_s"):
            if (seconds := getattr(self, field)) is not None and not seconds > 0:  # NaN neither
                raise ConfigError(f"policy.{field} is {seconds}; it must be positive.")


def check_url(url: str, schemes: Sequence[str], example: str) -> None:
    """Require an address with one of ``schemes`` and without a password.

    Raises:
        ConfigError: the address is another one; the message shows ``example``.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"policy.url is '{url}'; it is an address such as {example}.")
    if "@" in parts.netloc:
        raise ConfigError("policy.url holds a user or a password; give a key with an environment variable instead.")


def secret(variable: str | None, file: str | None, what: str) -> str | None:
    """Give a key or a token, from an environment variable or a file; None if the user names neither.

    Raises:
        ConfigError: the variable or the file is missing or empty; the message never contains the key.
    """
    if variable is not None:
        if not (value := os.environ.get(variable, "")):
            raise ConfigError(f"policy.{what}_env names an environment variable that is not set; set it to the {what}.")
        return value
    if file is None:
        return None
    try:
        value = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy.{what}_file: {file} cannot be read: {error}.") from None
    if not value:
        raise ConfigError(f"policy.{what}_file: {file} is empty; write the {what} into it.")
    return value


def require_modules(extra: str, *modules: str) -> None:
    """Require that an extra's packages are installed, without importing them.

    Raises:
        MissingExtraError: a package is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module, extra)


class Exchange:
    """Requests to a server and their replies, through losses of the connection and restarts of the server.

    ``patience`` is the timeout of a reply. If requests are ``repeatable``, a request that the server may have received
    is sent again with its episode; otherwise the loss counts as an attempt of the episode. ``on_exchange`` is called
    with the bytes of each request for an episode and of its reply, which are empty if no reply came, on the thread that
    sent the request.
    """

    on_exchange: Callable[[bytes, bytes], None] | None = None

    def __init__(self, config: RemoteConfig, connections: Connections, *, repeatable: bool = False) -> None:
        self._repeatable = repeatable
        self.connections, self.patience = connections, Patience(config.timeout_s)
        self._connect_timeout_s = config.connect_timeout_s
        self._starts_again: Counter[Any] = Counter()

    def open(self) -> None:
        """Connect again if the connections were closed."""
        if self.connections.closed.is_set():
            self.connections.begin(self._connect_timeout_s)

    def close(self) -> None:
        """Close the connections; requests that are under way fail soon."""
        self.connections.close()

    def request(
        self,
        memories: Sequence[EpisodeMemory],
        request: Callable[[Lease], bytes],
        decoded: Callable[[bytes], Any],
        owner: str = "",
    ) -> Any:
        """Send one request for episodes, and give its reply, which ``decoded`` decodes.

        The memories are told how long the reply took, and how long the server says that its work took. A request for no
        episode that is lost is sent again, once the server can be reached again.

        Raises:
            PolicyError: the request failed.
            EpisodeLostError: the server did not receive the request, or may have lost the state of the episodes.
        """
        for n_lost in count(1):
            try:
                with self.connections.lent(owner) as lease:
                    self._require_life(memories, lease.life)
                    message = request(lease)
                    began = monotonic()
                    reply = self._ask(lease, message, for_episode=bool(memories))
                    seconds = monotonic() - began
                    self.patience.took(seconds)
            except LostError as error:
                if error.sent and not self._repeatable:
                    raise PolicyError(f"the server closed the connection before it replied ({error})") from None
                if memories and (n_lost > 1 or not error.orderly):
                    self.start_again(memories, str(error))
                if n_lost > _MOST_STARTS_AGAIN:
                    raise PolicyError(f"the server lost the request {n_lost} times ({error})") from None
            else:
                break
        for memory in memories:
            memory.state[_LIFE] = lease.life
        value = decoded(reply)
        for memory in memories:
            memory.replied(seconds, server_seconds(value, seconds))
        return value

    def _ask(self, lease: Lease, request: bytes, *, for_episode: bool) -> bytes:
        reply = b""
        try:
            reply = lease.connection.ask(request, self.patience.seconds, self.connections.closed)
        finally:
            if for_episode and self.on_exchange is not None:
                self.on_exchange(request, reply)
        return reply

    def _require_life(self, memories: Sequence[EpisodeMemory], life: int) -> None:
        if any(memory.state.get(_LIFE, life) != life for memory in memories):
            self.start_again(memories, "the server was started again")

    def start_again(self, memories: Sequence[EpisodeMemory], reason: str) -> NoReturn:
        """Make the episodes start again.

        Raises:
            EpisodeLostError: the engine starts the episodes again.
            PolicyError: the episodes have started again too often.
        """
        spec = memories[0].stream.spec
        self._starts_again[spec] += 1
        if self._starts_again[spec] > _MOST_STARTS_AGAIN:
            raise PolicyError(f"the server lost the episode {_MOST_STARTS_AGAIN} times ({reason})")
        raise EpisodeLostError(reason)


def server_seconds(reply: Any, round_trip: float) -> float | None:
    """Give the seconds that a server states for its own work in a reply that took ``round_trip`` seconds.

    openpi's servers state ``server_timing.infer_ms``, milliseconds (``openpi/serving/websocket_policy_server.py``). The
    time is None if the reply states none, or a time that cannot be right: it is not a number, negative, or longer than
    the round trip.
    """
    timing = reply.get("server_timing") if isinstance(reply, dict) else None
    stated = timing.get("infer_ms") if isinstance(timing, dict) else None
    if isinstance(stated, bool) or not isinstance(stated, int | float | np.number):
        return None
    seconds = float(stated) / 1000
    return seconds if 0 <= seconds <= round_trip else None  # NaN is outside, too


class RemotePolicy(Policy):
    """A policy behind a server that has been connected to."""

    exactness: str
    """The agreement between the results of two runs: one of the levels of ``proctor check``."""
    times_out = True

    def __init__(self, config: RemoteConfig, choice: Choice, connections: Connections, exactness: str) -> None:
        self._config, self._choice, self._connections = config, choice, connections
        self.exactness = exactness
        self.n_action_steps = n_action_steps(config, choice)
        self.unidentified = why_nameless(config)
        self.exchange = Exchange(config, connections)

    def open(self, n_threads: int) -> Policy:
        """Connect again if the connections were closed."""
        self.exchange.open()
        return self

    def disconnect(self) -> None:
        """Close the connections; requests that are under way fail soon."""
        self.exchange.close()

    def check_contract(self, features: Features) -> None:
        """See :class:`~proctor.policies.base.Policy`."""
        self._choice.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what identifies the policy: the user's options, and a digest of the server's first message."""
        digest = sha256(self._connections.greeting).hexdigest()
        return {**fingerprint(self._config, self._choice), "server_sha256": digest, "exactness": self.exactness}


class RemoteSource:
    """A policy behind a server that is not connected to yet; ``connected`` makes the policy of the connections."""

    look_offsets: tuple[int, ...] = (0,)
    distributions: tuple[str, ...] = ("pillow",)
    sources: tuple[Source, ...] = ()

    def __init__(
        self,
        config: RemoteConfig,
        choice: Choice,
        connections: Connections,
        connected: Callable[[Connections], RemotePolicy],
        episodes_per_pass: int,
    ) -> None:
        self._config, self._choice = config, choice
        self._connections, self._connected = connections, connected
        self.episodes_per_pass = episodes_per_pass
        self.n_action_steps = n_action_steps(config, choice)
        self.unidentified = why_nameless(config)

    @property
    def per_device(self) -> Sequence[PolicySource]:
        """The source itself: a server is one device, whatever it computes on."""
        return (self,)

    @property
    def pinned(self) -> Mapping[str, Any]:
        """The files that the user names, so that a later session finds them from another directory."""
        given = {name: getattr(self._config, name, None) for name in _FILES}
        named = {name: Path(file) for name, file in given.items() if isinstance(file, str)}
        return {name: str(file.resolve()) for name, file in named.items() if file.is_file()}

    def check_contract(self, features: Features) -> None:
        """See :class:`~proctor.policies.base.Policy`."""
        self._choice.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the user's options that identify the policy, without the address, because a server may move."""
        return fingerprint(self._config, self._choice)

    def open(self, n_threads: int) -> Policy:
        """Connect to the server.

        Raises:
            ConfigError: the server cannot be reached, or refuses this client.
        """
        self._connections.begin(self._config.connect_timeout_s)
        return self._connected(self._connections)

    def disconnect(self) -> None:
        """Let :meth:`open`, which waits for the server on another thread, fail soon."""
        self._connections.close()


def n_action_steps(config: RemoteConfig, choice: Choice) -> int:
    """Give the number of actions of a chunk that are executed."""
    return config.n_action_steps or choice.n_action_steps or sys.maxsize


def fingerprint(config: RemoteConfig, choice: Choice) -> dict[str, Any]:
    """Give what identifies a policy behind a server before a connection is made."""
    steps = n_action_steps(config, choice)
    return {
        "type": config.type,
        "name": config.name,
        "inputs": choice.fingerprint(),
        "n_action_steps": None if steps == sys.maxsize else steps,
    }


def why_nameless(config: RemoteConfig) -> str:
    """Give the reason why the policy cannot be recognised again; "" if it has a name."""
    return "" if config.name else "a policy behind a server that --policy.name gives no name"
