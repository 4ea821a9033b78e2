"""Policies behind a server of Isaac GR00T: ``--policy.type=groot --policy.url=tcp://host:5555``.

One request holds the observations of several episodes. Its form depends on the server:

- ``version`` n1.6 (and later): ``{"observation": …, "options": null}``, answered by a list of actions and information;
  n1.5: the observation itself, answered by the actions (``gr00t/policy/server_client.py``, ``gr00t/eval/service.py``);
- ``keys`` flat, for a server started with ``--use-sim-policy-wrapper``: ``video.image``, ``state.x``; nested, for a
  server without: maps ``video``, ``state`` and ``language``, in which each sentence is a list of its own.

Images are uint8 ``(episodes, 1, height, width, 3)``, states float32 ``(episodes, 1, size)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from proctor.config import structure
from proctor.errors import ConfigError, PolicyError, note
from proctor.policies.base import EpisodeMemory
from proctor.policies.remote.connections import Connection, Connections, Lease
from proctor.policies.remote.mapping import Choice, choose
from proctor.policies.remote.mapping import Mapping as InputMapping
from proctor.policies.remote.policy import (
    RemoteConfig,
    RemotePolicy,
    RemoteSource,
    check_url,
    require_modules,
    secret,
)
from proctor.policies.remote.presets import GROOT
from proctor.policies.remote.zeromq import ZeroMQ, decoded
from proctor.types import Array, Observation

_EPISODES_PER_PASS = 4
_BATCH_SIZE = 16
_STATISTICAL = (
    "GR00T's server draws noise for whole batches from one generator, so the results are statistical: "
    "a run cannot be repeated to the bit."
)


@dataclass(frozen=True, kw_only=True)
class GrootConfig(RemoteConfig):
    """``--policy.<field>`` of a policy behind GR00T's server."""

    type: str = "groot"
    version: str = "n1.6"
    """n1.6 (also for N1.7) or n1.5: the form of requests and replies."""
    keys: str = "flat"
    """flat, for a server started with --use-sim-policy-wrapper and for N1.5, or nested."""
    api_token_env: str | None = None
    """The environment variable that holds the server's api_token."""
    api_token_file: str | None = None
    """The file that holds the server's api_token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.url, ("tcp",), "tcp://host:5555")
        if self.version not in ("n1.5", "n1.6"):
            raise ConfigError(f"policy.version is '{self.version}'; it is n1.5 or n1.6.")
        if self.keys not in ("flat", "nested"):
            raise ConfigError(f"policy.keys is '{self.keys}'; it is flat or nested.")


class GrootPolicy(RemotePolicy):
    """A policy behind GR00T's server."""

    def __init__(self, config: GrootConfig, choice: Choice, connections: Connections) -> None:
        super().__init__(config, choice, connections, "statistical")
        self._version, self._keys = config.version, config.keys
        self.batch_size = _BATCH_SIZE
        self.n_slots = config.connections or 1

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        """See :meth:`Policy.predict`. A row that fills up the batch is the object of another row, and is sent once."""
        rows: dict[int, int] = {}
        for observation in observations:
            rows.setdefault(id(observation), len(rows))
        first = [[id(each) for each in observations].index(row) for row in rows]
        chunks = self._chunks([observations[index] for index in first], [memories[index] for index in first])
        return [chunks[rows[id(observation)]] for observation in observations]

    def _chunks(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        mapping = self._choice.for_observation(observations[0].arrays)
        batch = self._batch(mapping, observations)
        data = batch if self._version == "n1.5" else {"observation": batch, "options": None}

        def request(lease: Lease) -> bytes:
            connection = lease.connection
            assert isinstance(connection, ZeroMQ)
            return connection.request("get_action", data)

        actions = mapping.action(self._actions(self.exchange.request(memories, request, decoded)))
        if actions.ndim != 3 or len(actions) != len(observations):
            expected = f"({len(observations)}, steps, action size)"
            raise PolicyError(f"the server gave actions of shape {actions.shape}; expected {expected}")
        return list(actions)

    def _batch(self, mapping: InputMapping, observations: Sequence[Observation]) -> dict[str, Any]:
        """Give the observations as one, in the order of the mapping."""
        rows = [[value for _, value in mapping.items(each, self._choice.names)] for each in observations]
        whole: dict[str, Any] = {}
        for each, *values in zip(mapping.inputs, *rows, strict=True):
            name = "/".join(each.path)
            if isinstance(values[0], str):
                self._put_language(whole, name, values)
                continue
            modality, _, inner = name.partition(".")
            array = np.stack(values)[:, np.newaxis]
            if self._keys == "flat":
                whole[name] = array
            else:
                whole.setdefault(modality, {})[inner] = array
        return whole

    def _put_language(self, whole: dict[str, Any], name: str, sentences: list[str]) -> None:
        if self._keys == "flat":
            whole[name] = sentences
        else:
            whole.setdefault("language", {})[name.removeprefix("language.")] = [[sentence] for sentence in sentences]

    def _actions(self, reply: Any) -> Mapping[Any, Any]:
        if self._version != "n1.5" and isinstance(reply, list) and reply:
            reply = reply[0]
        if not isinstance(reply, dict):
            other = "n1.5" if self._version == "n1.6" else "n1.6"
            raise PolicyError(
                f"the server's reply is {type(reply).__name__}, not the list or map of {self._version}; "
                f"try --policy.version={other}"
            )
        return reply


def load(fields: Mapping[str, Any], rename_map: Mapping[str, str] | None = None) -> RemoteSource:
    """A server of Isaac GR00T: ``--policy.url=tcp://host:5555 --policy.inputs=libero`` or a file.

    No connection is made before the evaluation begins.

    Raises:
        ConfigError: an option is wrong.
        MissingExtraError: a package of the extra ``groot`` is not installed.
    """
    require_modules("groot", "zmq", "msgpack", "PIL")
    config = structure(GrootConfig, fields, "policy")
    choice = choose(config.inputs, GROOT, rename_map)
    token = secret(config.api_token_env, config.api_token_file, "api_token")
    note(_STATISTICAL)

    def connect(seconds: float) -> Connection:
        return ZeroMQ(config.url, seconds, token=token)

    connections = Connections(
        connect, config.url, limit=config.connections or 1, back_within_s=config.reconnect_timeout_s
    )
    return RemoteSource(config, choice, connections, partial(GrootPolicy, config, choice), _EPISODES_PER_PASS)
