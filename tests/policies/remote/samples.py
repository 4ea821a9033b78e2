"""What the tests of policies behind a server share: observations, evaluations of the fake benchmark, their oracle."""

from __future__ import annotations

import json

import numpy as np

from proctor.policies.base import EpisodeMemory
from proctor.streams import RandomStream
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import EpisodeSpec, Observation

INPUTS = json.dumps(
    [
        {"key": "image", "source": "observation.image", "resize": [16, 16]},
        {"key": "state", "source": "observation.state"},
        {"key": "prompt", "source": "instruction"},
    ]
)
GROOT_INPUTS = json.dumps(
    {
        "inputs": [
            {"key": "video.image", "source": "observation.image"},
            {"key": "state.s", "source": "observation.state", "dtype": "float32"},
            {"key": "task", "source": "instruction"},
        ],
        "actions": ["action.x", "action.y"],
    }
)


def memory(episode: int = 0) -> EpisodeMemory:
    return EpisodeMemory(RandomStream(EpisodeSpec("fake", 1, episode, 1000 + episode)))


def observation(seed: int = 0) -> Observation:
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    return Observation({"observation.image": image, "observation.state": generator.normal(size=(1, 2))}, "steer to 1")


def fields(url: str, **others) -> dict[str, object]:
    """Of ``--policy.*``, with a mapping that fits the fake benchmark."""
    kind = "groot" if url.startswith("tcp") else "openpi"
    inputs = GROOT_INPUTS if kind == "groot" else INPUTS
    return {"type": kind, "url": url, "inputs": inputs, "n_action_steps": 3, "name": "one", **others}


def env(**others) -> dict[str, object]:
    return {"type": FAKE_BENCHMARK, "n_tasks": 2, **others}


def rows(result) -> list[tuple[object, ...]]:
    """What two evaluations must agree on, episode by episode, to be the same to the bit."""
    return [
        (episode.spec, episode.outcome, episode.sum_reward, episode.length, episode.final_state_hash)
        for episode in result.summary.episodes
    ]
