"""Whole evaluations of a policy behind a server, on the command line and from Python, whatever the server does."""

from __future__ import annotations

import json
import threading
from itertools import count
from time import monotonic, sleep

import numpy as np
import pytest
from samples import env, fields, rows

import proctor
from proctor.cli.main import main
from proctor.errors import ContractError, FingerprintError, NoResultError, PolicyGoneError
from proctor.results.summary import load_summary
from proctor.testing.fakes import FakeEnv, FakePolicy


class SinglePrecision(FakePolicy):
    """What GR00T's server sees: states in single precision."""

    def _chunk(self, observation):
        single = {name: array.astype(np.float32) for name, array in observation.arrays.items()}
        state = single["observation.state"].astype(np.float64)
        return super()._chunk(type(observation)({"observation.state": state}, observation.instruction))


@pytest.fixture(scope="module")
def clean():
    """The same episodes by the same policy in this process."""
    return rows(proctor.evaluate(FakePolicy(3), env(), n_episodes=8, batch_size=1))


@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_results_are_those_of_the_policy_in_this_process(serve, clean, n_workers):
    """To the bit, whatever the number of environments."""
    result = proctor.evaluate(fields(serve("openpi").url), env(), n_episodes=8, batch_size=n_workers)

    assert rows(result) == clean


@pytest.mark.parametrize("kind", ["groot", "groot15"])
def test_episodes_that_share_requests_have_the_results_of_the_policy_in_this_process(serve, kind):
    expected = proctor.evaluate(SinglePrecision(3), env(), n_episodes=6, batch_size=1)
    version = "n1.5" if kind == "groot15" else "n1.6"

    result = proctor.evaluate(fields(serve(kind).url, version=version), env(), n_episodes=6, batch_size=4)

    assert rows(result) == rows(expected)


def test_with_seeds_of_its_own_for_each_request_a_run_can_be_repeated(serve):
    """Whatever the number of environments, and on a server that has served others before."""
    server = serve("vllm")
    one, other = (
        proctor.evaluate(fields(server.url), env(), n_episodes=6, batch_size=n_workers) for n_workers in (1, 3)
    )

    assert rows(one) == rows(other)


def test_a_server_that_is_killed_and_started_again_changes_nothing(serve, clean):
    """Twice, with requests under way: every episode ends as in the clean run."""
    server = serve("openpi", "--latency=0.01")

    def disturb():
        for _ in range(2):
            sleep(0.6)
            server.kill()
            sleep(0.3)
            server.start()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        result = proctor.evaluate(
            fields(server.url), env(step_seconds=0.01), n_episodes=8, batch_size=3, max_attempts=5
        )
    finally:
        disturber.join()

    assert [row[1:] for row in rows(result)] == [row[1:] for row in clean]


def test_an_episode_whose_request_never_arrived_has_no_attempt_counted(serve, monkeypatch):
    """The server is away between two requests of the only environment, amid the three steps of the first chunk."""
    server, steps, step = serve("openpi"), count(1), FakeEnv.step

    def disturbed(*args, **look):
        if next(steps) == 2:
            server.kill()
            server.start()
        return step(*args, **look)

    monkeypatch.setattr(FakeEnv, "step", disturbed)

    result = proctor.evaluate(fields(server.url), env(n_tasks=1), n_episodes=2, batch_size=1, max_attempts=1)

    assert result.pc_success == 100
    assert not any(episode.errors for episode in result.summary.episodes)


def test_a_server_that_is_gone_for_good_leaves_results_which_another_session_completes(serve, clean, tmp_path):
    server = serve("openpi")
    given = fields(server.url, reconnect_timeout_s=0.5)
    slow = {"env": env(step_seconds=0.03), "n_episodes": 8, "batch_size": 2, "max_attempts": 3}
    journal = tmp_path / "run" / "journal.jsonl"

    def kill():
        until = monotonic() + 60
        while not (journal.exists() and b'"kind":"episode"' in journal.read_bytes()) and monotonic() < until:
            sleep(0.01)
        server.kill()

    threading.Thread(target=kill).start()
    with pytest.raises(PolicyGoneError) as raised:
        proctor.evaluate(given, output_dir=tmp_path / "run", **slow)
    assert raised.value.exit_code == 4
    assert "episodes are kept; go on with" in raised.value.hint

    server.start()
    result = proctor.evaluate(given, output_dir=tmp_path / "run", **slow)
    assert [row[1:] for row in rows(result)] == [row[1:] for row in clean]


def test_results_of_a_policy_without_a_name_are_never_added_to(serve, tmp_path):
    server = serve("openpi")
    nameless = fields(server.url, name=None)
    proctor.evaluate(nameless, env(), n_episodes=1, output_dir=tmp_path / "run")

    with pytest.raises(FingerprintError, match=r"--policy\.name"):
        proctor.evaluate(nameless, env(), n_episodes=2, output_dir=tmp_path / "run")


def test_results_of_another_server_s_policy_are_not_added_to(serve, tmp_path):
    """It says something else of itself on connecting."""
    proctor.evaluate(fields(serve("openpi").url), env(), n_episodes=1, output_dir=tmp_path / "run")

    with pytest.raises(FingerprintError, match="server_sha256"):
        proctor.evaluate(fields(serve("openpi", "--name=two").url), env(), n_episodes=2, output_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("fault", "message"),
    [("nan", "gave nan as action"), ("narrow", r"shape \(3, 1\)"), ("raise", "its traceback")],
)
def test_a_policy_that_answers_wrongly_everywhere_is_found_out(serve, fault, message):
    with pytest.raises(NoResultError, match=message):
        proctor.evaluate(fields(serve("openpi", f"--fault={fault}").url), env(), n_episodes=8)


def test_an_environment_that_lacks_what_is_sent_is_refused_before_the_first_episode(serve):
    inputs = [{"key": "state", "source": "observation.joints"}]

    with pytest.raises(ContractError, match=r"lacks observation\.joints"):
        proctor.evaluate(fields(serve("openpi").url, inputs=inputs), env(), n_episodes=1)


def test_the_journal_says_how_much_of_the_inference_time_was_the_server_s(serve, tmp_path):
    """Within the inference time are the round trips, and within them what the server states."""
    server = serve("openpi", "--latency=0.01")
    result = proctor.evaluate(fields(server.url), env(), n_episodes=2, output_dir=tmp_path / "run")

    _, read_again = load_summary(result.directory)
    for episode in read_again.episodes:
        timings = episode.timings
        assert 0.01 * episode.n_looks <= timings.server < timings.round_trip < timings.inference


def test_a_policy_in_this_process_has_no_time_of_a_server():
    result = proctor.evaluate(FakePolicy(3), env(), n_episodes=1)

    assert all(episode.timings.round_trip is None for episode in result.summary.episodes)


# --------------------------------------------------------------------------------------------------- the command line


def words(given, **others):
    policy = [f"--policy.{name}={value}" for name, value in given.items()]
    return ["eval", *policy, *(f"--{name}={value}" for name, value in others.items()), "--eval.video=none"]


def test_a_real_simulator_is_evaluated_from_the_command_line(serve, tmp_path):
    """What identifies policy and server is in the result, and how exact it is."""
    inputs = json.dumps([{"key": "state", "source": "observation.state"}, {"key": "prompt", "source": "instruction"}])
    given = fields(serve("openpi", "--steps=8").url, inputs=inputs, n_action_steps=4)
    others = {"env.type": "pusht", "env.episode_length": 20, "eval.n_episodes": 2, "output_dir": tmp_path / "run"}

    assert main(words(given, **others)) == 0

    said = json.loads((tmp_path / "run" / "run.json").read_text())["opened_policy"]
    assert said["exactness"] == "statistical"
    assert said["name"] == "one"
    assert len(said["server_sha256"]) == 64
    assert json.loads((tmp_path / "run" / "eval_info.json").read_text())["overall"]["n_episodes"] == 2


@pytest.mark.parametrize(("kind", "shown"), [("openpi", ["server", "network,"]), ("groot", ["round"])])
def test_profile_shows_the_server_s_part_or_says_that_it_is_unknown(serve, capsys, tmp_path, kind, shown):
    proctor.evaluate(fields(serve(kind).url), env(), n_episodes=1, output_dir=tmp_path / "run")

    assert main(["profile", str(tmp_path / "run")]) == 0

    said = capsys.readouterr().out
    names = [line.split()[0] for line in said.splitlines() if " s" in line]
    after = names.index("inference") + 1
    assert names[after : after + len(shown) + 1] == [*shown, "this"]
    assert ("its part of the round trip is unknown" in " ".join(said.split())) == (kind == "groot")


def test_a_server_that_is_not_there_ends_the_command_with_status_2(free_port, capsys, tmp_path):
    given = fields(f"ws://127.0.0.1:{free_port}", connect_timeout_s=0.5)
    others = {"env.type": "proctor.testing.fakes:FakeBenchmark", "output_dir": tmp_path / "run"}

    assert main(words(given, **others)) == 2
    assert "No policy server answers at" in capsys.readouterr().err


def test_a_key_is_written_nowhere(serve, monkeypatch, tmp_path):
    monkeypatch.setenv("THE_KEY", "abc-123-very-secret")
    given = fields(serve("openpi", "--key=abc-123-very-secret").url, api_key_env="THE_KEY")
    others = {"env.type": "proctor.testing.fakes:FakeBenchmark", "eval.n_episodes": 1, "output_dir": tmp_path / "run"}

    assert main(words(given, **others)) == 0

    written = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not any(b"very-secret" in content for content in written)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["policy"]["api_key_env"] == "THE_KEY"
