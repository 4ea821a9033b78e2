"""How much does a policy see? Evaluate the bundled checkpoint with every image replaced by black.

    python examples/blind.py [--episodes 50] [--steps 200]

These are the episodes of ``proctor eval`` (the seeds are the same), so the two can be compared one by one. The class is
a policy around a policy: anything that Proctor evaluates can be changed in this way.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import proctor
from proctor.policies.base import EpisodeMemory, Policy
from proctor.types import Array, Features, Observation

CHECKPOINT = Path(__file__).parent / "metaworld_act"
TASKS = "reach-v3,button-press-topdown-v3,coffee-button-v3"


class Blind(Policy):
    """A policy that receives black images."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.n_action_steps, self.look_offsets = policy.n_action_steps, policy.look_offsets
        self.randomness, self.place_matters = policy.randomness, policy.place_matters
        self.distributions = policy.distributions
        self.batch_size, self.n_slots = policy.batch_size, policy.n_slots

    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        return self._policy.predict([_blackened(observation) for observation in observations], memories)

    def check_contract(self, features: Features) -> None:
        self._policy.check_contract(features)

    def fingerprint(self) -> Mapping[str, Any]:
        return {"type": "blind", "policy": self._policy.fingerprint()}


def _blackened(observation: Observation) -> Observation:
    arrays = {
        key: np.zeros_like(array) if array.dtype == np.uint8 else array for key, array in observation.arrays.items()
    }
    return replace(observation, arrays=arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default=str(CHECKPOINT), help="a checkpoint: a directory or a Hub id")
    parser.add_argument("--task", default=TASKS)
    parser.add_argument("--episodes", type=int, default=50, help="per task")
    parser.add_argument("--steps", type=int, default=200, help="number of steps after which an episode ends")
    parser.add_argument("--output-dir", help="the run directory; the default is a new one")
    arguments = parser.parse_args()
    result = proctor.evaluate(
        Blind(proctor.make_policy(arguments.policy)),
        {"type": "metaworld", "task": arguments.task, "episode_length": arguments.steps},
        n_episodes=arguments.episodes,
        output_dir=arguments.output_dir,
        video="none",
        display="auto",
    )
    print(f"{result.pc_success:.1f} % success without images; for all results: proctor show {result.directory}")


if __name__ == "__main__":
    main()
