"""Inference in open loop without LeRobot: what a policy sees, which episodes share a pass, what becomes of failures."""

from __future__ import annotations

import numpy as np
import pytest

from proctor.errors import ConfigError, ContractError, EpisodeLostError, NoResultError
from proctor.evaluation.open_loop.inference import OpenLoopInference
from proctor.policies.base import Policy, Randomness
from proctor.policies.lerobot.recordings import RecordedEpisode
from proctor.types import ArraySpec, Features

LENGTHS = [7, 5, 6, 4, 9]


class Reader:
    def __init__(self, index, actions):
        self.index, self._actions = index, actions

    def frame(self, step):
        return {"observation.state": np.array([self.index, step], np.float32)}, f"task {self.index}"

    def actions(self):
        return self._actions


class Recordings:
    """Five episodes whose state is the index of the episode and the step."""

    features = Features({"observation.state": ArraySpec((2,), "float32")}, ArraySpec((1,), "float32"))
    identity = {"repo_id": "nobody/fake"}  # noqa: RUF012 - never changed
    episodes = tuple(RecordedEpisode(index, length, ("push",)) for index, length in enumerate(LENGTHS))

    def __init__(self, *, in_order=False, truth=0.0):
        self.in_order, self._truth = in_order, truth

    def readers(self, episodes, history):
        return (Reader(each.index, np.full((each.length, 1), self._truth, np.float32)) for each in episodes)


class Seen(Policy):
    """Remembers what it was given; predicts a chunk of three: episode, step, and a draw of the episode's stream."""

    look_offsets = (-2, 0)
    n_action_steps = 2
    batch_size = 4
    n_slots = 2
    place_matters = True
    randomness = Randomness.PER_ROW

    def __init__(self, loses=(), fails=()):
        self.passes, self.observations, self._loses, self._fails = [], {}, {*loses}, {*fails}

    def predict(self, observations, memories):
        keys = [tuple(map(int, each.arrays["observation.state"][-1])) for each in observations]
        for key in {*keys} & self._fails:
            raise ValueError(f"no answer to {key}")
        for key in {*keys} & self._loses:
            self._loses.remove(key)
            raise EpisodeLostError("the server was started again")
        self.passes.append(keys)
        chunks = []
        for key, observation, memory in zip(keys, observations, memories, strict=True):
            self.observations[key] = observation.arrays["observation.state"], observation.instruction
            chunks.append(np.array([[*key, memory.stream.generator.random()]]).T)
        return chunks


def predict(policy, recordings=None, batch_size=0):
    recordings = recordings or Recordings()
    options = {"seed": 3, "n_threads": 1, "batch_size": batch_size, "on_progress": lambda done: None}
    with OpenLoopInference(policy, recordings, **options) as inference:
        inference.load()
        return {episode.index: found for episode, found in inference.predict(recordings.episodes)}


def numbers(found):
    return {index: (each.starts.tolist(), [chunk.tolist() for chunk in each.chunks]) for index, each in found.items()}


def test_a_policy_sees_the_steps_that_it_declares_at_every_horizon():
    """The first frame is repeated before there is a history; the instruction is that of the step."""
    policy = Seen()
    found = predict(policy)

    assert policy.observations.keys() == {(index, step) for index, n in enumerate(LENGTHS) for step in range(0, n, 2)}
    for (index, step), (state, instruction) in policy.observations.items():
        assert state.tolist() == [[index, max(0, step - 2)], [index, step]]
        assert instruction == f"task {index}"
    assert found[4].starts.tolist() == [0, 2, 4, 6, 8]
    assert found[4].executed[:, 0].tolist()[:3] == [4, 0, 4]  # two actions of each chunk of three
    assert len(found[4].executed) == 9


def test_passes_are_shared_and_what_comes_out_does_not_depend_on_it():
    """Nor on reading the dataset in its order, with one episode at a time."""
    together, alone, in_order = Seen(), Seen(), Seen()

    expected = numbers(predict(together))
    assert max(len({*keys}) for keys in together.passes) == 4
    assert numbers(predict(alone, batch_size=1)) == expected
    assert numbers(predict(in_order, Recordings(in_order=True))) == expected
    assert {len({*keys}) for keys in in_order.passes} == {1}


def test_an_episode_that_the_policy_lost_begins_again_with_the_same_random_numbers():
    """As in an evaluation in a simulator; a stream of frames cannot be read again."""
    expected = numbers(predict(Seen()))

    assert numbers(predict(Seen(loses=[(1, 2), (4, 6)]))) == expected
    with pytest.raises(NoResultError, match="Episode 1: the server was started again; run the same command again"):
        predict(Seen(loses=[(1, 2)]), Recordings(in_order=True))


def test_a_policy_that_fails_is_named_with_the_step():
    """Only the episode that fails is blamed, though others share its pass."""
    with pytest.raises(NoResultError, match=r"Step 4 of episode 2: ValueError: no answer to \(2, 4\)"):
        predict(Seen(fails=[(2, 4)]))


def test_recorded_actions_that_are_not_finite_are_refused():
    with pytest.raises(ConfigError, match=r"Episode \d of the dataset records actions that are NaN or infinite"):
        predict(Seen(), Recordings(truth=np.nan))


def test_a_contract_speaks_of_the_dataset():
    """A policy's own message is about an environment."""

    class Picky(Seen):
        def check_contract(self, features):
            raise ContractError("Policy and environment do not fit each other: the environment has no camera.")

    with pytest.raises(ContractError, match=r"^Policy and dataset do not fit each other: the dataset has no camera\.$"):
        predict(Picky())
