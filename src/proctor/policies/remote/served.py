"""A policy that `proctor serve` serves: its actions are those of the policy in this process, to the bit on a CPU.

The server is recognised by its offer (:class:`~proctor.policies.remote.extension.Offer`), so no mapping is needed:
a request holds every array that the environment gives, and the episode that the observation belongs to.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proctor.errors import ConfigError, ContractError, PolicyError
from proctor.policies.actions import to_array
from proctor.policies.base import EpisodeMemory, Policy
from proctor.policies.remote.codec import WireError, pack, unpack
from proctor.policies.remote.connections import Connections
from proctor.policies.remote.extension import EXTENSION, PROMPT, EpisodeTag, Offer, Refusal, describe_features
from proctor.policies.remote.policy import Exchange, RemoteConfig
from proctor.types import Array, Features, Observation

_LOOKS = "looks"


class ServedPolicy(Policy):
    """A policy of `proctor serve` that is connected to. One request holds one observation.

    ``n_slots`` requests are under way at a time; the server lets them share forward passes.
    """

    times_out = True

    def __init__(self, config: RemoteConfig, offer: Offer, connections: Connections, n_slots: int) -> None:
        if config.n_action_steps is not None and config.n_action_steps > offer.n_action_steps:
            raise ConfigError(
                f"policy.n_action_steps is {config.n_action_steps}, but the server's policy gives "
                f"{offer.n_action_steps} actions at a time; start proctor serve with --policy.n_action_steps."
            )
        self._config, self._offer = config, offer
        self.exchange = Exchange(config, connections, repeatable=True)
        self._client = secrets.token_hex(16)
        self.n_action_steps = config.n_action_steps or offer.n_action_steps
        self.look_offsets = offer.look_offsets
        self.episodes_per_pass = max(2, offer.episodes_per_pass)  # half of them step while the others wait
        self.n_slots = n_slots
        self.unidentified = offer.unidentified

    def open(self, n_threads: int) -> Policy:
        """Connect again if the connections were closed."""
        self.exchange.open()
        return self

    def disconnect(self) -> None:
        """Close the connections; requests that are under way fail soon."""
        self.exchange.close()

    def check_contract(self, features: Features) -> None:
        """Let the server compare its policy with the environment.

        Raises:
            ContractError: the two do not fit; the message shows both sides.
        """
        self.exchange.open()
        self.exchange.request([], lambda _: pack(describe_features(features)), _answer)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the served policy's fingerprint, and the options of the server that results depend on."""
        offer = self._offer
        return {
            "exactness": "bitwise" if offer.policy.get("device", "cpu") == "cpu" else "numerical",
            **offer.policy,  # a policy behind another server states its own
            "served": {
                "n_action_steps": self.n_action_steps,
                "inference_batch_size": offer.inference_batch_size,
                "inference_threads": offer.inference_threads,
            },
        }

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        """See :meth:`Policy.predict`."""
        return [self._chunk(*each) for each in zip(observations, memories, strict=True)]

    def _chunk(self, observation: Observation, memory: EpisodeMemory) -> Array:
        spec, look = memory.stream.spec, memory.state.get(_LOOKS, 0)
        assert spec.seed is not None  # every planned episode has one
        tag = EpisodeTag(
            self._client, spec.suite, spec.task_id, spec.episode_index, spec.seed, look, memory.whole_chunks
        )
        request = pack({**observation.arrays, PROMPT: observation.instruction, EXTENSION: msgspec.to_builtins(tag)})
        try:
            answer = self.exchange.request([memory], lambda _: request, _answer)
        except _ForgottenError as error:
            self.exchange.start_again([memory], str(error))
        if "actions" not in answer:
            raise PolicyError("the server's reply holds no actions")
        memory.state[_LOOKS] = look + 1
        return to_array(answer["actions"])


class _ForgottenError(PolicyError):
    """The server has no memory of the episode: it was started again, or had too many episodes at a time."""


def _answer(reply: bytes) -> Mapping[str, Any]:
    """Decode a reply.

    Raises:
        ContractError, PolicyError: the reply is a :class:`~proctor.policies.remote.extension.Refusal`.
    """
    try:
        answer = unpack(reply)
    except WireError as error:
        raise PolicyError(f"the server's reply cannot be read: {error}") from None
    if not isinstance(answer, dict):
        raise PolicyError(f"the server's reply is {type(answer).__name__}, not a map")
    found = answer.get(EXTENSION)
    if not isinstance(found, dict) or "kind" not in found:
        return answer
    try:
        refusal = msgspec.convert(found, Refusal)
    except msgspec.ValidationError as error:
        raise PolicyError(f"the server's refusal cannot be read: {error}") from None
    if refusal.kind == "contract":
        raise ContractError(refusal.message)
    if refusal.kind == "restart":
        raise _ForgottenError(refusal.message)
    raise PolicyError(f"the server refused the request: {refusal.message}\n{refusal.traceback}".rstrip())
