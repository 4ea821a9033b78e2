"""`proctor eval` against `proctor serve`: the results are those of the policy in one process, to the bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import proctor
from proctor.errors import ConfigError, ContractError
from proctor.policies.remote.openpi import load
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

MODULE = """
import os, signal
from pathlib import Path

from proctor.testing.fakes import FakePolicy


class Remembering(FakePolicy):
    \"\"\"Steers differently at each look, by what it remembers of the episode.\"\"\"

    randomness = "global"

    def check_contract(self, features):
        if (dies := Path(__file__).with_name("dies")).exists():
            dies.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def predict(self, observations, memories):
        chunks = super().predict(observations, memories)
        for chunk, memory in zip(chunks, memories):
            memory.state["looks"] = memory.state.get("looks", 0) + 1
            chunk /= memory.state["looks"]
        return chunks


def load(fields, rename_map=None):
    return Remembering(noise=0.2, look_offsets=(-1, 0) if fields.get("history") else (0,))
"""
"""A policy with memory, noise of its own and, if asked for, a history."""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The policy's module, found here and by processes."""
    (tmp_path / "remembering.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield tmp_path
    sys.modules.pop("remembering", None)


SERVER = """
import sys
from remembering import load
from proctor.serving.server import PolicyServer, ServerOptions
source = load({"history": sys.argv[2] == "history"})
PolicyServer(source, ServerOptions(port=int(sys.argv[1])), on_started=lambda url: print(url, flush=True)).run()
"""


class Server:
    """A server in a process of its own, which can be killed and started again at the same port."""

    def __init__(self, kind):
        self._kind, self._port = kind, 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self._port), self._kind], stdout=subprocess.PIPE, text=True
        )
        self.url = self.process.stdout.readline().strip()
        self._port = int(re.search(r":(\d+)$", self.url)[1])

    def restart(self):
        self.process.kill()
        self.process.communicate()
        self.start()


@pytest.fixture
def serve(module):
    started = []

    def start(kind=""):
        started.append(Server(kind))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.communicate()


def env(**fields):
    return {"type": FAKE_BENCHMARK, "n_tasks": 2, "max_steps": 20, **fields}


def rows(result):
    keys = ("task_id", "episode_index", "success", "sum_reward", "length", "final_state_hash")
    return [[episode[key] for key in keys] for episode in result.info["per_episode"]]


def here(kind):
    from remembering import load as load_here

    return rows(proctor.evaluate(load_here({"history": bool(kind)}), env(), n_episodes=4, batch_size=1))


@pytest.mark.parametrize("kind", ["", "history"])
@pytest.mark.parametrize(("n_workers", "n_connections"), [(1, None), (4, None), (4, 2), (4, 8)])
def test_the_results_are_those_of_one_process(serve, kind, n_workers, n_connections):
    """To the bit, for any number of environments and connections; and again on the same server."""
    policy = {"type": "openpi", "url": serve(kind).url, "connections": n_connections}
    policy = {name: value for name, value in policy.items() if value is not None}

    for _ in range(2):
        result = proctor.evaluate(policy, env(), n_episodes=4, batch_size=n_workers)
        assert rows(result) == here(kind)


def test_a_server_that_is_killed_in_between_changes_nothing(serve):
    """The episodes under way start again, and no attempt is counted."""
    server = serve()
    policy = {"type": "openpi", "url": server.url}

    def kill():
        time.sleep(1.0)
        server.restart()

    killer = threading.Thread(target=kill)
    killer.start()
    result = proctor.evaluate(policy, env(step_seconds=0.05), n_episodes=4, batch_size=4)
    still_running = killer.is_alive()
    killer.join()
    assert not still_running

    assert rows(result) == here("")
    assert all(not episode.get("errors") for episode in result.info["per_episode"])


def test_a_server_that_is_killed_before_the_first_episode_changes_nothing(module, serve):
    """While it compares its policy with the environment; it is asked again once it is back."""
    server = serve()
    (module / "dies").touch()

    def start_again():
        server.process.wait(timeout=60)
        server.restart()

    restarter = threading.Thread(target=start_again)
    restarter.start()
    result = proctor.evaluate({"type": "openpi", "url": server.url}, env(), n_episodes=4, batch_size=4)
    restarter.join()

    assert not (module / "dies").exists()
    assert rows(result) == here("")


def test_a_policy_that_does_not_fit_says_so_as_it_does_here(module, serve):
    """The server compares it with the environment before the first episode."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "proctor", "serve", "--policy.path=examples/metaworld_act", "--port=0"),
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = next(found[0] for line in server.stdout if (found := re.search(r"ws://\S+", line)))
        with pytest.raises(ContractError, match="Policy and environment do not fit each other"):
            proctor.evaluate({"type": "openpi", "url": url}, env(), n_episodes=1)
    finally:
        server.kill()
        server.communicate()


def test_a_server_of_another_kind_is_not_a_proctor_serve():
    with pytest.raises(ConfigError, match="No policy server answers"):
        load({"url": "ws://127.0.0.1:9", "dialect": "proctor", "connect_timeout_s": 0.2})


def test_more_steps_than_the_server_has_are_refused(serve):
    with pytest.raises(ConfigError, match="gives 3 actions at a time"):
        load({"url": serve().url, "n_action_steps": 4})


def test_the_run_is_identified_by_the_served_policy(serve):
    """So it can be resumed without a name, and not with another policy."""
    source = load({"url": serve().url})

    assert source.fingerprint()["type"] == "fake"
    assert source.fingerprint()["exactness"] == "bitwise"
    assert source.unidentified == ""
    assert FakePolicy().fingerprint()["type"] == "fake"
