"""Policies of every kind keep what every policy promises, and the kit sees those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from proctor.policies.base import Policy, Randomness
from proctor.policies.function import FunctionPolicy
from proctor.policies.lerobot import load
from proctor.testing.policy_conformance import PolicyConformance


def towards_the_middle(observation):
    """Some steps, a little at random."""
    here = observation["observation.state"]
    return np.linspace(here, [256.0, 256.0], 5) + np.random.normal(size=(5, 2))


class TestFunction(PolicyConformance):
    """A function runs alone."""

    @pytest.fixture
    def policy(self):
        return FunctionPolicy(towards_the_middle)


class OfLeRobot(PolicyConformance):
    """A checkpoint's."""

    name = ""

    @pytest.fixture
    def policy(self, checkpoints):
        pytest.importorskip("lerobot")
        return load({"path": str(checkpoints[self.name]), "device": "cpu"})


class TestAct(OfLeRobot):
    """Remembers an ensemble for each episode."""

    name = "ensemble"


class TestDiffusion(OfLeRobot):
    """Draws numbers row by row, and looks back."""

    name = "diffusion"


class Steering(Policy):
    """Right in every way; the subclasses below each break one promise."""

    randomness = Randomness.PER_ROW
    look_offsets = (-1, 0)

    def predict(self, observations, memories):
        seen = [observation.arrays["observation.state"] for observation in observations]
        return [self.chunk(*pair) for pair in zip(seen, memories, strict=True)]

    def chunk(self, seen, memory):
        memory.state["n"] = memory.state.get("n", 0) + 1
        return np.tile(seen[-1], (2, 1)) + memory.state["n"] + memory.stream.generator.normal(size=(2, 2))

    def fingerprint(self):
        return {"type": "steering"}


class TestSteering(PolicyConformance):
    """A class of the user's."""

    @pytest.fixture
    def policy(self):
        return Steering()


class Remembers(Steering):
    """Keeps what it knows of episodes in itself."""

    n = 0

    def chunk(self, seen, memory):
        self.n += 1
        return np.tile(seen[-1], (2, 1)) + self.n


class DependsOnNeighbours(Steering):
    """Subtracts the mean over the batch."""

    def predict(self, observations, memories):
        seen = np.stack([observation.arrays["observation.state"][-1] for observation in observations])
        return list((seen - seen.mean(0))[:, np.newaxis])


class DependsOnItsRow(Steering):
    """Says nothing of places that matter."""

    def predict(self, observations, memories):
        return [chunk + row for row, chunk in enumerate(super().predict(observations, memories))]


class DrawsBeforeItFails(Steering):
    """A memory is touched before the observations are read."""

    def predict(self, observations, memories):
        noise = [memory.stream.generator.normal() for memory in memories]
        return [chunk + more for chunk, more in zip(super().predict(observations, memories), noise, strict=True)]


class Overwrites(Steering):
    """Normalises in place."""

    def chunk(self, seen, memory):
        seen /= 2
        return super().chunk(seen, memory)


class Counts(Steering):
    """Its fingerprint is another one each time."""

    n = 0

    def fingerprint(self):
        self.n += 1
        return {"n": self.n}


class Flat(Steering):
    """Forgets the axis of steps."""

    def chunk(self, seen, memory):
        return super().chunk(seen, memory)[0]


@pytest.mark.parametrize(
    ("policy", "test", "words"),
    [
        (Remembers, "test_an_episode_is_the_same_alone_and_beside_others", "beside others, its actions differ"),
        (DependsOnNeighbours, "test_an_episode_is_the_same_alone_and_beside_others", "its actions differ from look 0"),
        (DependsOnItsRow, "test_an_episode_is_the_same_in_another_row", "in another row, its actions differ"),
        (DrawsBeforeItFails, "test_a_pass_that_fails_changes_no_memory", "after a pass that failed"),
        (Overwrites, "test_observations_are_left_as_they_are", "predict has changed observation.state"),
        (Counts, "test_its_fingerprint_stays_the_same", "its fingerprint has changed"),
        (Flat, "test_it_gives_a_chunk_of_finite_actions_for_each_observation", r"has the shape \(2,\)"),
    ],
)
def test_a_broken_promise_is_seen(policy, test, words):
    """Each by the test that is for it."""
    with pytest.raises(AssertionError, match=words):
        getattr(PolicyConformance(), test)(policy())
