"""A first look at a policy behind a server, through a real websocket and through ZeroMQ."""

from __future__ import annotations

import pytest
from samples import env, fields

from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.probe import probe
from proctor.types import Outcome


@pytest.fixture
def look(tmp_path):
    """Looks at the policy behind a server: a function from the server's address to the probe."""

    def look(url, **others):
        evaluation = EvalConfig(n_episodes=1, video="none")
        config = RunConfig(policy=fields(url, **others), env=env(), eval=evaluation, output_dir=str(tmp_path))
        return probe(prepare(config), 9)

    return look


def test_what_was_sent_is_shown_as_the_server_received_it(serve, look, tmp_path):
    """After the mapping: the image in the size that the mapping asks for, and the sentence under its key."""
    records = tmp_path / "records"
    records.mkdir()
    found = look(serve("openpi", f"--record={records}", "--name=first").url)
    requests = sorted(records.iterdir())

    image, state = found.wire.arrays
    assert (image.key, image.shape, image.dtype) == ("image", (16, 16, 3), "uint8")
    assert (state.key, state.shape, state.dtype) == ("state", (2,), "float64")
    assert image.n == found.latency.n == found.actions.n_chunks == len(requests)
    assert found.wire.request_bytes == len(requests[0].read_bytes())
    assert found.wire.reply_bytes > 0
    assert found.wire.values == {"prompt": "steer to 0"}
    assert found.wire.server == {"policy": "first", "reset_pose": "float64[7]"}
    assert found.exactness == "statistical"
    assert found.actions.chunks == ((3, 2),)


def test_a_request_that_the_server_cannot_answer_is_shown(serve, look):
    """It is the first thing that one wants to see."""
    found = look(serve("openpi", "--fault=raise").url)

    assert found.outcome is Outcome.ERROR
    assert "the network is out of order" in found.error
    assert [each.key for each in found.wire.arrays] == ["image", "state"]
    assert found.actions is None


def test_what_groot_s_server_is_sent_is_shown_without_its_token(serve, look, monkeypatch):
    monkeypatch.setenv("GROOT_TOKEN", "very-secret-token")
    found = look(serve("groot", "--key=very-secret-token").url, api_token_env="GROOT_TOKEN")

    assert [each.key for each in found.wire.arrays] == ["data/observation/video.image", "data/observation/state.s"]
    assert found.wire.arrays[1].shape == (1, 1, 2)
    assert not found.wire.arrays[1].is_image
    assert found.wire.values["api_token"] == "<redacted>"
    assert "very-secret-token" not in str(found)
    assert found.error == ""
