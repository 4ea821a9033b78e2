"""A policy behind a server of GR00T's kind, asked through real ZeroMQ."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, sleep

import numpy as np
import pytest
from samples import GROOT_INPUTS, fields, memory, observation
from stand_in import steer, unpack_groot

from proctor.errors import ConfigError, EpisodeLostError, FingerprintError, PolicyError, PolicyGoneError
from proctor.policies.remote.groot import load
from proctor.policies.remote.presets import GROOT
from proctor.types import Observation

NESTED = GROOT_INPUTS.replace('["action.x", "action.y"]', '["x", "y"]')
FORMS = {
    "n1.6 flat": (["groot"], {}),
    "n1.6 nested": (["groot", "--nested"], {"keys": "nested", "inputs": NESTED}),
    "n1.5": (["groot15"], {"version": "n1.5"}),
}


@pytest.fixture
def opened():
    """Connects to a server: a function from its address and fields to the policy."""
    policies = []

    def connect(url, **others):
        policies.append(load(fields(url, **{"connect_timeout_s": 60.0, **others})).open(1))
        return policies[-1]

    yield connect
    for policy in policies:
        policy.disconnect()


def ask(policy, *seeds, of=None):
    seeds = seeds or (0,)
    return policy.predict([observation(seed) for seed in seeds], [of or memory(seed) for seed in seeds])


def expected(seed=0):
    return steer(observation(seed).arrays["observation.state"][-1].astype(np.float32), "steer to 1", 3)


def requests(folder):
    return [unpack_groot(path.read_bytes()) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("form", FORMS)
def test_several_episodes_are_one_request_in_each_form(serve, opened, tmp_path, form):
    """The server checks their shapes and dtypes, and each episode gets its own actions."""
    arguments, others = FORMS[form]
    policy = opened(serve(*arguments, f"--record={tmp_path}").url, **others)

    chunks = ask(policy, 3, 4, 5)

    assert all(np.array_equal(chunk, expected(seed)) for chunk, seed in zip(chunks, (3, 4, 5), strict=True))
    assert len(requests(tmp_path)) == 1


def test_rows_that_fill_up_a_batch_are_not_sent(serve, opened, tmp_path):
    policy, seen, other = opened(serve("groot", f"--record={tmp_path}").url), observation(1), observation(2)

    chunks = policy.predict([seen, other, seen, seen], [memory() for _ in range(4)])

    (request,) = requests(tmp_path)
    assert len(request["data"]["observation"]["state.s"]) == 2
    assert np.array_equal(chunks[3], expected(1))
    assert np.array_equal(chunks[1], expected(2))


def test_what_is_sent_of_libero(serve, opened, tmp_path):
    """The keys, shapes and dtypes of GR00T's own LIBERO client, in its order."""
    state = np.arange(8.0)[np.newaxis]
    image = np.zeros((1, 256, 256, 3), np.uint8)
    seen = Observation(
        {"observation.images.image": image, "observation.images.image2": image, "observation.state": state}, "go"
    )
    policy = opened(serve("groot", f"--record={tmp_path}").url, inputs="libero")

    with pytest.raises(PolicyError):  # the stand-in knows no such keys
        policy.predict([seen, seen], [memory(), memory()])

    sent = requests(tmp_path)[0]["data"]["observation"]
    names = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    assert list(sent) == [
        "video.image",
        "video.wrist_image",
        *(f"state.{name}" for name in names),
        "annotation.human.action.task_description",
    ]
    assert sent["video.image"].shape == (1, 1, 256, 256, 3)
    assert [sent[f"state.{name}"].tolist() for name in names[:6]] == [[[[float(n)]]] for n in range(6)]
    assert sent["state.gripper"].tolist() == [[[6.0, 7.0]]]
    assert sent["state.gripper"].dtype == np.float32
    assert sent["annotation.human.action.task_description"] == ["go"]


def test_the_gripper_of_libero_is_turned_round():
    """GR00T's 0 to 1 is LIBERO's 1 to -1."""
    parts = {f"action.{name}": np.zeros((1, 2, 1)) for name in ("x", "y", "z", "roll", "pitch", "yaw")}

    actions = GROOT["libero"].action({**parts, "action.gripper": np.array([[[0.1], [0.9]]])})

    assert actions[0, :, 6].tolist() == [1.0, -1.0]


def test_a_token_is_sent_with_every_request(serve, opened, monkeypatch, tmp_path):
    """From the environment or a file; without it the server refuses, which is said with what to do."""
    server = serve("groot", "--key=abc-123")
    monkeypatch.setenv("THE_TOKEN", "abc-123")
    (tmp_path / "token").write_text("abc-123\n")

    assert len(ask(opened(server.url, api_token_env="THE_TOKEN"))) == 1
    assert len(ask(opened(server.url, api_token_file=str(tmp_path / "token")))) == 1
    with pytest.raises(ConfigError, match=r"Unauthorized.*--policy\.api_token_env"):
        opened(server.url)


def test_a_server_that_is_not_there_is_a_sentence_after_a_bounded_wait(free_port):
    began = monotonic()

    with pytest.raises(ConfigError, match=rf"No policy server answers at tcp://127\.0\.0\.1:{free_port}"):
        load(fields(f"tcp://127.0.0.1:{free_port}", connect_timeout_s=0.5)).open(1)

    assert monotonic() - began < 60


@pytest.mark.parametrize(
    ("arguments", "others", "message"),
    [
        (["groot", "--fault=raise"], {}, "the network is out of order"),
        (["groot", "--fault=garbage"], {}, "not msgpack"),
        (["groot15"], {}, "the server failed"),
        (["groot"], {"version": "n1.5"}, "the server failed"),
        (["groot"], {"keys": "nested"}, "the server failed"),
        (["groot", "--latency=3"], {"timeout_s": 0.3}, "no reply in time"),
    ],
)
def test_a_wrong_answer_is_described(serve, opened, arguments, others, message):
    with pytest.raises(PolicyError, match=message):
        ask(opened(serve(*arguments).url, **others))


def test_after_a_reply_that_was_too_slow_the_next_one_is_its_own(serve, opened):
    """The late reply is not taken for it: its socket is gone."""
    policy = opened(serve("groot", "--latency=0.4").url, timeout_s=0.3)
    with pytest.raises(PolicyError, match="in time"):
        ask(policy, 1)
    sleep(0.6)
    policy.exchange.patience = type(policy.exchange.patience)(10.0)

    assert np.array_equal(ask(policy, 2)[0], expected(2))


def test_actions_of_a_wrong_shape_are_described(serve, opened):
    """They lack the axis of episodes."""
    with pytest.raises(PolicyError, match=r"shape \(3, 2\); expected \(1, steps, action size\)"):
        ask(opened(serve("groot", "--fault=alone").url))


def test_an_episode_starts_again_where_its_server_did(serve, opened):
    server = serve("groot")
    policy, episode = opened(server.url), memory(0)
    ask(policy, 0, of=episode)
    server.kill()
    server.start()
    sleep(0.5)  # ZeroMQ has connected to the new one by then, without a word

    with pytest.raises(EpisodeLostError):
        ask(policy, 0, of=episode)
    assert np.array_equal(ask(policy)[0], expected())


def test_a_request_whose_server_dies_fails_at_once(serve, opened, tmp_path):
    """ZeroMQ itself would wait for ever."""
    server = serve("groot", "--latency=600", f"--record={tmp_path}")
    policy = opened(server.url)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask, policy)
        began = monotonic()
        while not list(tmp_path.iterdir()) and monotonic() < began + 60:
            sleep(0.01)
        server.kill()
        with pytest.raises(PolicyError, match="closed the connection before it replied"):
            asked.result(60)


def test_a_server_that_came_back_with_another_policy_ends_the_run(serve, opened):
    server = serve("groot")
    policy = opened(server.url)
    ask(policy)
    server.kill()
    server.start("--name=two")

    with pytest.raises(FingerprintError, match="another policy"):
        ask_twice(policy)


def test_a_server_that_is_gone_ends_the_run(serve, opened):
    server = serve("groot")
    policy = opened(server.url, reconnect_timeout_s=0.5)
    ask(policy)
    server.kill()

    with pytest.raises(PolicyGoneError, match="is gone"):
        ask_twice(policy)


def ask_twice(policy):
    """First requests of episodes; how it shows that the old connection is lost is not what is looked at."""
    with suppress(PolicyError):
        ask(policy)
    ask(policy)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "ws://localhost:5555"}, "an address such as tcp://host:5555"),
        ({"version": "n2"}, r"n1\.5 or n1\.6"),
        ({"keys": "deep"}, "flat or nested"),
        ({"api_token": "abc"}, "Unknown field"),
        ({"api_token_env": "NO_SUCH_VARIABLE"}, "not set"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(given, message):
    with pytest.raises(ConfigError, match=message):
        load(fields("tcp://localhost:5555") | given)
