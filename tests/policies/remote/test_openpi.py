"""A policy behind a server of openpi's kind, asked through a real websocket."""

from __future__ import annotations

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, sleep

import numpy as np
import pytest
from samples import fields, memory, observation
from stand_in import steer, unpack_openpi

from proctor.errors import ConfigError, EpisodeLostError, FingerprintError, Note, PolicyError, PolicyGoneError
from proctor.policies.remote.connections import Patience
from proctor.policies.remote.openpi import load, seed_of
from proctor.policies.remote.policy import server_seconds


@pytest.fixture
def opened():
    """Connects to a server: a function from its address and fields to the policy."""
    policies = []

    def connect(url, **others):
        policies.append(load(fields(url, connect_timeout_s=60.0, **others)).open(1))
        return policies[-1]

    yield connect
    for policy in policies:
        policy.disconnect()


def ask(policy, seed=0, of=None):
    (chunk,) = policy.predict([observation(seed)], [of or memory(seed)])
    return chunk


def expected(seed=0, noise=None):
    return steer(observation(seed).arrays["observation.state"][-1], "steer to 1", 3, noise)


def requests(folder):
    return [unpack_openpi(path.read_bytes()) for path in sorted(folder.iterdir())]


class TestAsking:
    def test_the_server_s_actions_come_back(self, serve, opened):
        policy = opened(serve("openpi").url)

        assert np.array_equal(ask(policy, 4), expected(4))

    def test_requests_go_side_by_side_on_connections_of_their_own(self, serve, opened, tmp_path):
        """As many as there are requests; each is answered with its own reply."""
        policy = opened(serve("openpi", "--latency=0.02").url)
        with ThreadPoolExecutor(8) as threads:
            chunks = list(threads.map(lambda seed: ask(policy, seed), range(40)))

        assert all(np.array_equal(chunk, expected(seed)) for seed, chunk in enumerate(chunks))
        assert 2 <= policy._connections._n_open <= 8

    def test_no_more_connections_are_made_than_asked_for(self, serve, opened):
        policy = opened(serve("openpi", "--latency=0.01").url, connections=2)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda seed: ask(policy, seed), range(20)))

        assert policy.n_slots == 2
        assert policy._connections._n_open == 2

    def test_what_fills_up_a_batch_is_sent_once(self, serve, opened, tmp_path):
        policy = opened(serve("openpi", f"--record={tmp_path}").url)
        seen, other = observation(1), observation(2)

        chunks = policy.predict([seen, other, seen, seen], [memory() for _ in range(4)])

        assert len(requests(tmp_path)) == 2
        assert np.array_equal(chunks[0], chunks[3])
        assert np.array_equal(chunks[1], expected(2))

    def test_nothing_beside_the_mapping_is_sent(self, serve, opened, tmp_path):
        ask(opened(serve("openpi", f"--record={tmp_path}").url))

        (request,) = requests(tmp_path)
        assert list(request) == ["image", "state", "prompt"]
        assert request["image"].shape == (16, 16, 3)
        assert request["state"].tolist() == observation(0).arrays["observation.state"][0].tolist()

    def test_a_key_is_sent_as_openpi_s_client_sends_it(self, serve, opened, monkeypatch, tmp_path):
        """From the environment or a file; without it the server refuses, which is said with what to do."""
        server = serve("openpi", "--key=abc-123")
        monkeypatch.setenv("THE_KEY", "abc-123")
        (tmp_path / "key").write_text("abc-123\n")

        assert len(ask(opened(server.url, api_key_env="THE_KEY"))) == 3
        assert len(ask(opened(server.url, api_key_file=str(tmp_path / "key")))) == 3
        with pytest.raises(ConfigError, match=r"HTTP 401.*--policy\.api_key_env"):
            opened(server.url)

    def test_an_encrypted_connection_is_to_a_server_whose_certificate_is_trusted(self, serve, opened, tmp_path):
        pem = tmp_path / "server.pem"
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(tmp_path / "ca.pem")]
        subprocess.run(words, check=True, capture_output=True)
        pem.write_text(pem.read_text() + (tmp_path / "ca.pem").read_text())
        url = serve("openpi", f"--certificate={pem}").url.replace("ws:", "wss:")

        assert len(ask(opened(url, ca_file=str(tmp_path / "ca.pem")))) == 3
        with pytest.raises(ConfigError, match=r"not trusted.*--policy\.ca_file"):
            opened(url)


class TestServerTime:
    def test_round_trips_and_what_the_server_states_of_them_add_up_in_the_episode_s_memory(self, serve, opened):
        policy, episode = opened(serve("openpi", "--latency=0.02").url), memory(0)
        ask(policy, 0, episode)
        first = episode.server
        ask(policy, 1, episode)

        assert 0.02 <= first < episode.server
        assert 0.04 <= episode.server < episode.round_trip < 2

    @pytest.mark.parametrize("fault", ["untimed", "boastful"])
    def test_a_time_that_one_reply_lacks_or_that_cannot_be_right_is_unknown(self, serve, opened, fault):
        """Also if the replies before and after it have one."""
        policy, episode = opened(serve("openpi", f"--fault={fault}", "--at=1", "--times=1").url), memory(0)
        for seed in range(3):
            ask(policy, seed, episode)

        assert episode.server is None
        assert episode.round_trip > 0

    def test_a_server_without_times_leaves_the_round_trip(self, serve, opened):
        policy, episode = opened(serve("vllm").url), memory(0)
        ask(policy, 0, episode)

        assert episode.server is None
        assert episode.round_trip > 0

    @pytest.mark.parametrize("stated", [True, "3", None, [1], float("nan"), -1.0, np.zeros(2), 2001])
    def test_what_is_no_time_within_the_round_trip_is_unknown(self, stated):
        assert server_seconds({"server_timing": {"infer_ms": stated}}, 2.0) is None

    @pytest.mark.parametrize("stated", [1500, 1500.0, np.float32(1500)])
    def test_milliseconds_become_seconds(self, stated):
        assert server_seconds({"server_timing": {"infer_ms": stated}}, 2.0) == 1.5


class TestVllm:
    def test_the_dialect_is_known_by_the_handshake(self, serve, opened):
        assert opened(serve("vllm").url).exactness == "numerical"
        assert opened(serve("openpi").url).exactness == "statistical"

    def test_each_request_has_a_seed_that_follows_from_the_episode_and_its_number(self, serve, opened, tmp_path):
        policy, episode = opened(serve("vllm", f"--record={tmp_path}").url), memory(3)
        chunks = [ask(policy, 0, episode), ask(policy, 0, episode)]
        again = memory(3)

        seeds = [request["seed"] for request in requests(tmp_path) if request["endpoint"] == "infer"]
        assert np.array_equal(chunks[0], expected(0, noise=seeds[0]))
        assert not np.array_equal(chunks[0], chunks[1])
        assert seeds[0] == seed_of(again) != seed_of(memory(4))
        assert np.array_equal(ask(policy, 0, again), chunks[0])

    def test_a_request_that_fails_moves_no_seed(self, serve, opened):
        policy, episode = opened(serve("vllm", "--fault=raise", "--at=1", "--times=1").url), memory(0)
        with pytest.raises(PolicyError, match="Internal inference error"):
            ask(policy, 0, episode)

        assert seed_of(episode) == seed_of(memory(0))

    def test_a_request_that_fails_moves_no_seed_of_the_episodes_beside_it(self, serve, opened):
        """They are asked again one by one."""
        policy, first, second = opened(serve("vllm", "--fault=raise", "--at=3").url), memory(0), memory(1)
        with pytest.raises(PolicyError, match="Internal inference error"):
            policy.predict([observation(0), observation(1)], [first, second])

        assert seed_of(first) == seed_of(memory(0))

    def test_an_episode_has_a_session_which_is_reset_before_another_s(self, serve, opened, tmp_path):
        """On one connection: the first episode is forgotten before the second one uses it."""
        policy = opened(serve("vllm", f"--record={tmp_path}").url, connections=1)
        first = memory(0)
        ask(policy, 0, first)
        ask(policy, 0, first)
        del first
        ask(policy, 0, memory(1))

        sent = [(request["endpoint"], request["session_id"]) for request in requests(tmp_path)]
        one, two = "fake/1/0/1000", "fake/1/1/1001"
        assert sent == [("reset", one), ("infer", one), ("infer", one), ("reset", two), ("infer", two)]

    def test_a_connection_is_free_for_others_once_its_episode_is_over(self, serve, opened):
        policy = opened(serve("vllm").url)
        for episode in range(6):
            ask(policy, 0, memory(episode))

        assert policy._connections._n_open == 1

    def test_an_episode_whose_session_another_one_took_is_not_continued(self, serve, opened):
        policy, first, second = opened(serve("vllm").url, connections=1), memory(0), memory(1)
        ask(policy, 0, first)
        ask(policy, 0, second)

        with pytest.raises(PolicyError, match=r"as many --policy\.connections as environments"):
            ask(policy, 0, first)

    def test_a_reply_may_be_a_map_of_one_array(self, serve, opened):
        assert ask(opened(serve("vllm", "--nested").url)).shape == (3, 2)


class TestFailures:
    def test_a_server_that_is_not_there_is_a_sentence_after_a_bounded_wait(self, free_port):
        began = monotonic()

        with pytest.raises(ConfigError, match=rf"No policy server answers at ws://127\.0\.0\.1:{free_port}.*start it"):
            load(fields(f"ws://127.0.0.1:{free_port}", connect_timeout_s=0.5)).open(1)

        assert monotonic() - began < 60

    def test_a_server_that_comes_up_late_is_waited_for(self, serve, opened, free_port):
        server = serve("openpi")
        server.kill()
        with ThreadPoolExecutor(1) as threads:
            policy = threads.submit(opened, server.url)
            server.start()

        assert np.array_equal(ask(policy.result()), expected())

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("raise", "the network is out of order"),
            ("text", "no idea"),
            ("garbage", "not msgpack"),
            ("object", r"dtype '\|O'"),
            ("list", "not a map but list"),
            ("other", "no 'actions'; it holds 'acts'"),
            ("huge", "larger than 64 MiB"),
            ("mute", r"no reply within 0\.5 s"),
            ("close", "closed the connection before it replied"),
            ("abort", "closed the connection before it replied"),
        ],
    )
    def test_a_wrong_answer_is_the_episode_s_error_and_the_next_request_is_answered(
        self, serve, opened, fault, message
    ):
        policy = opened(serve("openpi", f"--fault={fault}", "--times=1").url, timeout_s=0.5 if fault == "mute" else 30)
        with pytest.raises(PolicyError, match=message):
            ask(policy)
        policy.exchange.patience = Patience(30.0)

        assert np.array_equal(ask(policy), expected())

    def test_a_traceback_is_shown_whole(self, serve, opened):
        with pytest.raises(PolicyError, match=r"(?s)Traceback.*in actions.*RuntimeError: the network"):
            ask(opened(serve("openpi", "--fault=raise").url))

    def test_an_idle_connection_that_the_server_closed_is_made_again(self, serve, opened):
        """The server goes on, so the episode does too."""
        policy, episode = opened(serve("openpi", "--idle=0.2").url), memory(0)
        ask(policy, 0, episode)
        sleep(0.6)

        assert np.array_equal(ask(policy, 1, episode), expected(1))

    def test_an_episode_starts_again_where_its_server_did(self, serve, opened):
        """Its request was never sent; another episode's first request is answered by the new server."""
        server = serve("openpi")
        policy, episode = opened(server.url), memory(0)
        ask(policy, 0, episode)
        server.kill()
        server.start()

        with pytest.raises(EpisodeLostError):
            ask(policy, 0, episode)
        assert np.array_equal(ask(policy, 0, memory(0)), expected())

    def test_every_episode_under_way_starts_again_whoever_noticed_first(self, serve, opened):
        """The connections are new by then: that the server has forgotten the other episode, they do not show."""
        server = serve("openpi")
        policy, one, other = opened(server.url), memory(0), memory(1)
        ask(policy, 0, one)
        ask(policy, 0, other)
        server.kill()
        server.start()
        with pytest.raises(EpisodeLostError):
            ask(policy, 0, one)

        with pytest.raises(EpisodeLostError, match="started again"):
            ask(policy, 0, other)

    def test_a_server_that_came_back_with_another_policy_ends_the_run(self, serve, opened):
        server = serve("openpi")
        policy = opened(server.url)
        ask(policy)
        server.kill()
        server.start("--name=two")

        with pytest.raises(FingerprintError, match="another policy"):
            ask_twice(policy)

    def test_a_server_that_is_gone_ends_the_run(self, serve, opened):
        server = serve("openpi")
        policy = opened(server.url, reconnect_timeout_s=0.5)
        ask(policy)
        server.kill()

        with pytest.raises(PolicyGoneError, match="is gone"):
            ask_twice(policy)

    def test_a_request_that_waits_ends_soon_after_the_run(self, serve, opened):
        policy = opened(serve("openpi", "--fault=mute").url)
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(ask, policy)
            sleep(0.2)
            policy.disconnect()
            began = monotonic()
            with pytest.raises(PolicyError, match="the run ended"):
                asked.result()

        assert monotonic() - began < 60

    def test_a_closed_policy_can_be_opened_again(self, serve, opened):
        policy = opened(serve("openpi").url)
        policy.disconnect()

        assert np.array_equal(ask(policy.open(1)), expected())


def ask_twice(policy):
    """First requests of episodes; how it shows that the old connection is lost is not what is looked at."""
    with suppress(PolicyError):
        ask(policy)
    ask(policy)


# ------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "localhost:8000"}, "an address such as ws://host:8000"),
        ({"url": "http://localhost:8000"}, "an address such as ws://host:8000"),
        ({"url": "ws://user:word@localhost:8000"}, "holds a user or a password"),
        ({"dialect": "roboarena"}, "one of auto, openpi, vllm"),
        ({"connections": 0}, "at least 1"),
        ({"timeout_s": 0}, "must be positive"),
        ({"connect_timeout_s": "nan"}, "must be positive"),
        ({"n_action_steps": 0}, "at least 1"),
        ({"api_key_env": "NO_SUCH_VARIABLE"}, "not set"),
        ({"api_key_file": "/no/such/file"}, "cannot be read"),
        ({"replan_steps": 5}, "Unknown field"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(given, message):
    with pytest.raises(ConfigError, match=message):
        load(fields("ws://localhost:8000") | given)


def test_loading_does_not_connect_and_identifies_the_policy_by_the_options(free_port):
    """The address is no part of it: a server may move."""
    one, two = (load(fields(f"ws://127.0.0.1:{port}")).fingerprint() for port in (free_port, 1))

    assert one == two
    assert one != load(fields("ws://127.0.0.1:1", name="two")).fingerprint()
    assert one != load(fields("ws://127.0.0.1:1", n_action_steps=4)).fingerprint()


def test_a_policy_without_a_name_cannot_be_recognised():
    assert "--policy.name" in load(fields("ws://localhost:8000", name=None)).unidentified
    assert not load(fields("ws://localhost:8000")).unidentified


def test_what_the_server_says_of_itself_identifies_the_policy_that_is_opened(serve, opened):
    one, two = serve("openpi"), serve("openpi", "--name=two")

    assert opened(one.url).fingerprint() == opened(one.url).fingerprint() != opened(two.url).fingerprint()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the results are statistical"),
        ({"url": "ws://127.0.0.1:1", "inputs": None}, "no server answers at .* if it will be a proctor serve"),
        ({"dialect": "vllm"}, "as exact as its kernels"),
        ({"url": "ws://localhost:8000/v1/realtime/robot/openpi"}, "as exact as its kernels"),
    ],
)
def test_how_exact_the_results_can_be_and_what_is_not_known_yet_is_said_before_anything_starts(given, said):
    with pytest.warns(Note, match=said):
        load(fields("ws://localhost:8000") | given)


def test_closing_ends_a_request_that_a_server_does_not_even_read(serve, opened):
    """The request is larger than what the system keeps of it while the server is stopped."""
    server = serve("openpi")
    policy = opened(server.url, timeout_s=600.0)
    connection = policy._connections._idle[0].connection
    server.process.send_signal(signal.SIGSTOP)
    asking = ThreadPoolExecutor(1).submit(send, policy, b"\0" * (60 << 20))
    until = monotonic() + 60
    while not connection._is_sending and monotonic() < until:
        sleep(0.01)

    policy.disconnect()

    with pytest.raises(PolicyError, match="the run ended before the server replied"):
        asking.result(timeout=60)


def send(policy, request):
    return policy.exchange.request([memory()], lambda _: request, bytes)


def test_a_reply_that_nobody_asked_for_is_not_taken_for_the_next_one_s(serve, opened):
    """Else every action from then on would be that of an observation before."""
    policy, episode = opened(serve("openpi", "--fault=twice", "--times=1").url), memory()
    policy.predict([observation()], [episode])
    sleep(0.3)

    with pytest.raises(PolicyError, match="a message that no request had asked for"):
        policy.predict([observation(1)], [episode])

    np.testing.assert_array_equal(ask(policy, 1), expected(1))
