"""What a served policy's clients may send, and how it is understood."""

from __future__ import annotations

import numpy as np
import pytest

from proctor.policies.remote.extension import EXTENSION, EpisodeTag
from proctor.serving.wire import RequestError, read_request

IMAGE = np.zeros((4, 4, 3), np.uint8)
TAG = {"client": "a", "suite": "fake", "task_id": 1, "episode_index": 2, "seed": 3, "look": 0}


def test_the_observation_of_an_openpi_client_gets_a_time_axis():
    request = read_request({"observation.image": IMAGE, "prompt": "push"}, (0,))

    assert request.observation.arrays["observation.image"].shape == (1, 4, 4, 3)
    assert request.observation.instruction == "push"
    assert (request.endpoint, request.session, request.tag, request.seed) == ("infer", "", None, None)


def test_an_evaluation_names_its_episode_and_sends_every_look():
    request = read_request({"observation.image": np.stack([IMAGE, IMAGE]), EXTENSION: TAG}, (-1, 0))

    assert request.observation.arrays["observation.image"].shape == (2, 4, 4, 3)
    assert request.tag == EpisodeTag("a", "fake", 1, 2, 3, 0)
    assert str(request.tag.spec) == "fake/1 episode 2 (seed 3)"


def test_the_fields_of_vllm_omni_are_understood():
    request = read_request(
        {"observation.image": IMAGE, "session_id": "a", "seed": 7, "sampling_params": {"num_inference_steps": 4}}, (0,)
    )

    assert (request.session, request.seed) == ("a", 7)
    assert read_request({"endpoint": "reset", "session_id": "a"}, (0,)).endpoint == "reset"


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ([1, 2], "a request is a map with an observation, not list"),
        ({}, "the observation holds no array"),
        ({"observation.state": [1.0, 2.0]}, "every value but prompt must be an array"),
        ({"image": IMAGE, "prompt": 3}, "prompt must be a text"),
        ({"image": IMAGE, "endpoint": "eval"}, "endpoint is 'eval'; it must be one of infer, reset, check"),
        ({"image": IMAGE, "session_id": 3}, "session_id must be a text"),
        ({"image": IMAGE, "session_id": "a" * 300}, "session_id must be a text of at most 256 characters"),
        ({"image": IMAGE, "seed": -1}, "seed must be a whole number from 0"),
        ({"image": IMAGE, "seed": True}, "seed must be a whole number from 0"),
        ({"image": IMAGE, "seed": 1 << 64}, "seed must be a whole number from 0"),
        ({"image": IMAGE, EXTENSION: {"suite": "fake"}}, "proctor does not name an episode"),
        ({"image": IMAGE, EXTENSION: {**TAG, "look": -1}}, "proctor holds a negative number"),
        ({"image": np.ones(()), EXTENSION: TAG}, "image must have a leading axis of 1"),
        ({"image": np.stack([IMAGE] * 3), EXTENSION: TAG}, "image must have a leading axis of 1"),
    ],
)
def test_what_is_not_understood_is_said(message, what):
    with pytest.raises(RequestError, match="The request cannot be answered") as raised:
        read_request(message, (0,))

    assert what in str(raised.value)


def test_a_policy_with_a_history_is_not_asked_by_a_client_that_cannot_send_it():
    with pytest.raises(RequestError, match="needs the observations at steps -1, 0 relative to the present"):
        read_request({"observation.image": IMAGE}, (-1, 0))
