"""One connection: its episodes, their memory, and their random numbers."""

from __future__ import annotations

import event_loops
import numpy as np
import pytest

from proctor.errors import ContractError
from proctor.policies.remote.extension import EXTENSION, describe_features
from proctor.serving.batching import BatchedInference
from proctor.serving.session import Connection, Sessions
from proctor.serving.status import Status
from proctor.testing.fakes import FakePolicy
from proctor.types import ArraySpec, EpisodeSpec, Features

FEATURES = Features({"observation.state": ArraySpec((2,), "float64")}, ArraySpec((2,), "float32"))


class Counting(FakePolicy):
    """Its actions say how many observations of the episode it has seen."""

    def predict(self, observations, memories):
        for memory in memories:
            memory.state["seen"] = memory.state.get("seen", 0) + 1
        return [np.full((1, 2), memory.state["seen"], np.float32) for memory in memories]


def answers(policy, messages, **options):
    """What one connection answers to messages, one after another."""

    async def conversation():
        inference = BatchedInference(policy, n_threads=1, batch_size=1)
        sessions = Sessions(inference, **{"limit": 8, "seed": 1000, **options})
        connection = Connection(policy, inference, sessions, Status())
        try:
            await inference.load()
            return [await connection.answer(message) for message in messages]
        finally:
            connection.close()
            inference.close()

    return event_loops.run(conversation())


def seen(**fields):
    return {"observation.state": np.zeros(2), "prompt": "steer to 0", **fields}


def tagged(look, episode=0):
    spec = EpisodeSpec("fake", 0, episode, 1000 + episode)
    tag = {"client": "a", "suite": spec.suite, "task_id": 0, "episode_index": episode, "seed": spec.seed, "look": look}
    return {"observation.state": np.zeros((1, 2)), "prompt": "steer to 0", EXTENSION: tag}


def counts(replies):
    return [int(reply["actions"][0, 0]) for reply in replies]


def test_a_connection_is_one_episode_until_it_is_reset():
    replies = answers(Counting(), [seen(), seen(), {"endpoint": "reset"}, seen()])

    assert replies[2] == {"status": "reset successful"}
    assert counts([*replies[:2], replies[3]]) == [1, 2, 1]


def test_sessions_on_one_connection_do_not_share_memory():
    replies = answers(Counting(), [seen(session_id=name) for name in "abaab"])

    assert counts(replies) == [1, 1, 2, 3, 2]


def test_the_session_that_was_used_longest_ago_makes_room():
    replies = answers(Counting(), [seen(session_id=name) for name in "abcab"], limit=2)

    assert counts(replies) == [1, 1, 1, 1, 1]


def test_an_evaluation_names_the_observation_it_sends():
    replies = answers(Counting(), [tagged(0), tagged(1), tagged(0), tagged(1), tagged(0, episode=1), tagged(1)])

    assert counts(replies[:5]) == [1, 2, 1, 2, 1]
    assert replies[5][EXTENSION]["kind"] == "restart"


def test_equal_seeds_give_equal_noise_whatever_came_before():
    policy = FakePolicy(noise=1.0)
    first, other, again = answers(policy, [seen(seed=7), seen(seed=8), seen(seed=7, session_id="another")])

    np.testing.assert_array_equal(first["actions"], again["actions"])
    assert (first["actions"] != other["actions"]).any()


def test_without_a_seed_the_noise_goes_on_and_is_the_servers():
    policy = FakePolicy(noise=1.0)
    one, two = answers(policy, [seen(), seen()])
    same = answers(policy, [seen(), seen()])
    (elsewhere, _) = answers(policy, [seen(), seen()], seed=1)

    assert (one["actions"] != two["actions"]).any()
    np.testing.assert_array_equal(one["actions"], same[0]["actions"])
    assert (one["actions"] != elsewhere["actions"]).any()


def test_an_episode_has_the_noise_that_it_has_in_one_process():
    from proctor.policies.base import EpisodeMemory
    from proctor.streams import RandomStream
    from proctor.types import Observation

    policy = FakePolicy(noise=1.0)
    memory = EpisodeMemory(RandomStream(EpisodeSpec("fake", 0, 5, 1005)))
    with memory.stream.swapped_in():
        (here,) = policy.predict([Observation({"observation.state": np.zeros((1, 2))}, "steer to 0")], [memory])
    (served,) = answers(policy, [tagged(0, episode=5)])

    np.testing.assert_array_equal(served["actions"], here)


def test_the_policy_is_told_that_nobody_knows_how_late_its_actions_are():
    """With the noise of the episode, and with a seed in the request."""

    class Told(FakePolicy):
        delays = ()

        def predict(self, observations, memories):
            self.delays = [*self.delays, *(memory.n_delay_steps for memory in memories)]
            return super().predict(observations, memories)

    policy = Told()

    answers(policy, [tagged(0), seen(), seen(seed=3)])

    assert policy.delays == [None, None, None]


@pytest.mark.parametrize("fits", [True, False])
def test_the_policy_says_whether_it_fits_an_environment(fits):
    class Particular(FakePolicy):
        def check_contract(self, features):
            assert features == FEATURES
            if not fits:
                raise ContractError("They do not fit.")

    (reply,) = answers(Particular(), [describe_features(FEATURES)])

    wanted = {"status": "fits"} if fits else {"kind": "contract", "message": "They do not fit."}
    assert {key: reply[EXTENSION][key] for key in wanted} == wanted
