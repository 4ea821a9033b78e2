"""Proctor's extension of openpi's protocol, by which an evaluation is exact against `proctor serve`.

The server offers it in its metadata, a map under ``proctor`` (:class:`Offer`). A request may then hold a map under
``proctor`` (:class:`EpisodeTag`): the episode that the observation belongs to, and how many observations of that
episode came before. The policy's random numbers, its row in a forward pass and its memory are then those of an
evaluation in one process. The answer is always a map; a refusal is in it under ``proctor`` (:class:`Refusal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from proctor.errors import ConfigError
from proctor.types import ArraySpec, EpisodeSpec, Features

EXTENSION = "proctor"
EXTENSION_VERSION = 1
ENDPOINT = "endpoint"
PROMPT = "prompt"
CHECK = "check"
"""The endpoint that compares the policy with an environment (:func:`describe_features`)."""


class Offer(msgspec.Struct, frozen=True):
    """The server's description of its policy, a part of its metadata.

    ``policy`` is the policy's fingerprint: two servers with equal fingerprints give equal actions. ``n_action_steps``,
    ``look_offsets`` and ``episodes_per_pass`` are those of :class:`~proctor.policies.base.Policy`. ``unidentified``
    is the reason why the policy cannot be recognised again, and is empty if it can.
    """

    policy: dict[str, Any]
    n_action_steps: int
    look_offsets: tuple[int, ...]
    episodes_per_pass: int
    inference_batch_size: int
    inference_threads: int
    unidentified: str = ""
    version: int = EXTENSION_VERSION

    @classmethod
    def of(cls, metadata: Mapping[Any, Any]) -> Offer | None:
        """Read the offer in a server's metadata; None if the metadata contain none.

        Raises:
            ConfigError: the offer cannot be read, or is of another version.
        """
        if EXTENSION not in metadata:
            return None
        try:
            offer = msgspec.convert(metadata[EXTENSION], cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"The server's offer of Proctor's extension cannot be read: {error}.") from None
        if offer.version != EXTENSION_VERSION:
            raise ConfigError(
                f"The server has version {offer.version} of Proctor's extension, and this Proctor has version "
                f"{EXTENSION_VERSION}; install the same Proctor on both sides."
            )
        return offer


class EpisodeTag(msgspec.Struct, frozen=True):
    """The episode that an observation belongs to, and the number of its observations that came before this one.

    ``whole_chunks`` is that of :class:`~proctor.policies.base.EpisodeMemory`. ``client`` distinguishes the evaluations
    that run against one server: the text is the same in all requests of an evaluation, and another one in every other
    evaluation.
    """

    client: str
    suite: str
    task_id: int
    episode_index: int
    seed: int
    look: int
    whole_chunks: bool = False

    @property
    def spec(self) -> EpisodeSpec:
        """The episode, without the number of a stored initial state, which no policy depends on."""
        return EpisodeSpec(self.suite, self.task_id, self.episode_index, self.seed)


class Refusal(msgspec.Struct, frozen=True):
    """The reason why a request has no actions.

    ``kind`` is ``policy`` (the policy raised), ``contract`` (policy and environment do not fit), ``restart`` (the
    server does not have the memory of this episode: the client starts the episode again), ``busy`` (there is no room
    for another episode) or ``request`` (the request cannot be understood).
    """

    kind: str
    message: str
    traceback: str = ""


class _Shapes(msgspec.Struct, frozen=True):
    observation: dict[str, tuple[tuple[int, ...], str]]
    action: tuple[tuple[int, ...], str]


def describe_features(features: Features) -> dict[str, Any]:
    """Describe an environment's arrays and action, as a request with the endpoint ``check``."""
    shapes = {key: [list(spec.shape), spec.dtype] for key, spec in features.observation.items()}
    return {
        ENDPOINT: CHECK,
        "observation": shapes,
        "action": [list(features.action.shape), features.action.dtype],
    }


def read_features(message: Mapping[str, Any]) -> Features:
    """Read a request that :func:`describe_features` made.

    Raises:
        msgspec.ValidationError: the message does not describe an environment.
    """
    shapes = msgspec.convert(message, _Shapes)
    return Features({key: ArraySpec(*spec) for key, spec in shapes.observation.items()}, ArraySpec(*shapes.action))
