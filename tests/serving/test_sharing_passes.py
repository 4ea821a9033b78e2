"""Several clients of one policy: their requests share forward passes, and each gets its own actions."""

from __future__ import annotations

import asyncio

import event_loops
import numpy as np
import pytest

from proctor.policies.base import EpisodeMemory
from proctor.serving.batching import BatchedInference
from proctor.streams import RandomStream
from proctor.testing.fakes import FakePolicy
from proctor.types import AttemptError, EpisodeSpec, Observation


class Gathering(FakePolicy):
    """Remembers how many different observations each pass had, and takes its time."""

    batch_size = 4

    def __init__(self, *, place_matters=False):
        super().__init__()
        self.n_slots = 1
        self.place_matters = place_matters
        self.passes = []

    def predict(self, observations, memories):
        self.passes.append([memory.stream.spec.episode_index for memory in memories])
        return super().predict(observations, memories)


def spec(index):
    return EpisodeSpec("fake", 0, index, 1000 + index)


def seen(index):
    state = np.full((1, 2), float(index))
    return Observation({"observation.state": state}, "steer to 0")


def ask_all(policy, n_clients, wait_s=0.2):
    async def conversation():
        inference = BatchedInference(policy, n_threads=1, batch_size=0, wait_s=wait_s)
        try:
            await inference.load()
            asked = [inference.infer(n, seen(n), EpisodeMemory(RandomStream(spec(n)))) for n in range(n_clients)]
            return await asyncio.gather(*asked)
        finally:
            inference.close()

    return event_loops.run(conversation())


def test_requests_that_come_together_share_a_pass_and_each_gets_its_own_chunk():
    policy = Gathering()
    answers = ask_all(policy, 4)

    assert [n_shared for _, n_shared in answers] == [4, 4, 4, 4]
    assert policy.passes == [[0, 1, 2, 3]]
    for n, (result, _) in enumerate(answers):
        (alone,) = FakePolicy().predict([seen(n)], [])
        np.testing.assert_array_equal(result.chunk, alone)


def test_a_batch_that_is_full_does_not_wait():
    answers = ask_all(Gathering(), 4, wait_s=3600.0)

    assert len(answers) == 4


def test_two_episodes_of_the_same_row_do_not_share_a_pass():
    policy = Gathering(place_matters=True)
    answers = ask_all(policy, 5)

    assert len(answers) == 5
    assert sum(0 in each and 4 in each for each in policy.passes) == 0  # rows of four: 0 and 4 have the same


def test_an_error_of_the_policy_reaches_the_one_whose_observation_it_was():
    answers = ask_all(Broken(), 2)

    assert [isinstance(result.chunk, AttemptError) for result, _ in answers] == [False, True]


class Broken(Gathering):
    """Raises for the second episode's observation."""

    def predict(self, observations, memories):
        if any(memory.stream.spec.episode_index == 1 for memory in memories):
            raise RuntimeError("not this one")
        return super().predict(observations, memories)


def test_a_policy_that_cannot_be_loaded_is_told_to_whom_waits():
    class Unloadable(FakePolicy):
        def open(self, n_threads):
            raise RuntimeError("no weights")

    async def conversation():
        inference = BatchedInference(Unloadable(), n_threads=1, batch_size=0)
        try:
            await inference.load()
        finally:
            inference.close()

    with pytest.raises(RuntimeError, match="no weights"):
        event_loops.run(conversation())
