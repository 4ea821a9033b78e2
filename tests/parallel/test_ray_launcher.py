"""Shards on a real Ray cluster of this machine: nodes come and go, and the results are those of a serial run."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from importlib.metadata import version
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import pytest

from proctor.cli import main
from proctor.config import EvalConfig, RunConfig
from proctor.errors import ConfigError
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run import run
from proctor.parallel.driver import Sharding, run_in_shards
from proctor.parallel.launchers import ray as ray_launcher
from proctor.parallel.launchers.base import (
    EpisodeDone,
    NoMore,
    PolicyLoaded,
    RunEpisodes,
    ShardEnded,
    ShardFailed,
    ShardLost,
    ShardReady,
    ShardRun,
    ShardStatus,
    Stop,
)
from proctor.parallel.launchers.ray import RayLauncher, RayPlace
from proctor.results.eval_info import canonical_info
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK

CHECKPOINT = Path(__file__).parents[2] / "examples" / "metaworld_act"


@pytest.fixture(scope="module")
def cluster():
    """A head without room for shards, and two nodes with room for one each; all of it on the loopback interface."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read when Ray is imported
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 500 << 20})
        for _ in range(2):
            add_node(cluster)
        yield cluster
        cluster.shutdown()


def add_node(cluster):
    return cluster.add_node(num_cpus=1, object_store_memory=500 << 20)


def at(cluster) -> RayPlace:
    return RayPlace(address=cluster.address, num_cpus=1)


def processes_below(pid: int) -> dict[int, str]:
    """The descendants of a process, and their names."""
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found |= {int(folder.name): name} | processes_below(int(folder.name))
    return found


def shards_alive() -> dict[int, str]:
    return {pid: name for pid, name in processes_below(os.getpid()).items() if "proctor.parallel.shard" in name}


def actors_alive() -> list[int]:
    return [pid for pid, name in processes_below(os.getpid()).items() if name.startswith("ray::ShardHost")]


# ------------------------------------------------------------------------------------------------- nodes come and go


def evaluation(directory: Path, policy: dict[str, str], n_episodes: int) -> RunConfig:
    return RunConfig(
        policy=policy,
        env={"type": "metaworld", "task": "reach-v3,button-press-topdown-v3", "episode_length": 30},
        eval=EvalConfig(n_episodes=n_episodes, batch_size=1, max_attempts=3, video="none", display="none"),
        output_dir=str(directory),
    )


def results_in(directory: Path) -> str:
    return json.dumps(canonical_info(json.loads((directory / "eval_info.json").read_text())), indent=1)


def run_with_losses(cluster, config, monkeypatch):
    """With the first result a node is removed, with the third an actor killed: each shard is lost at least once, and
    one has no place any more. An episode may be hit by both.
    """
    doomed = next(iter(cluster.worker_nodes))
    real_poll, n_kept, losses = RayLauncher.poll, count(1), []

    def poll(launcher, timeout_s):
        events = real_poll(launcher, timeout_s)
        losses.extend(event.reason for _, event in events if isinstance(event, ShardLost))
        for number in [next(n_kept) for _, event in events if isinstance(event, EpisodeDone)]:
            if number == 1:
                cluster.remove_node(doomed, allow_graceful=False)
            if number == 3:
                os.kill(actors_alive()[0], signal.SIGKILL)
        return events

    with monkeypatch.context() as patch:
        patch.setattr(RayLauncher, "poll", poll)
        try:
            result = run_in_shards(
                prepare(config), Sharding(2, launcher="ray", launcher_options={"place": at(cluster)})
            )
        finally:
            add_node(cluster)
    assert len(result.losses) == len(losses) >= 2
    return result


def test_a_node_removed_and_an_actor_killed_change_no_result(cluster, tmp_path, monkeypatch):
    """On three nodes, then two. Only what had not finished runs again; nothing is left running."""
    expert = {"type": "expert"}
    result = run_with_losses(cluster, evaluation(tmp_path / "cluster", expert, 8), monkeypatch)
    run(prepare(evaluation(tmp_path / "serial", expert, 8)))

    assert result.summary.complete
    assert results_in(tmp_path / "cluster") == results_in(tmp_path / "serial")
    (journal,) = RunDirectory(tmp_path / "cluster").read_journals()
    assert len(journal.episodes) == 16
    assert not shards_alive()


@pytest.mark.prove
def test_the_same_with_a_trained_checkpoint_that_nodes_do_not_see(cluster, tmp_path, monkeypatch, hidden_checkpoint):
    """Every shard, the replaced ones too, has it from the object store."""
    policy = {"path": hidden_checkpoint, "device": "cpu"}
    run_with_losses(cluster, evaluation(tmp_path / "cluster", policy, 4), monkeypatch)
    run(prepare(evaluation(tmp_path / "serial", policy, 4)))

    assert results_in(tmp_path / "cluster") == results_in(tmp_path / "serial")


# ------------------------------------------------------------------------------------------------------ what travels


@pytest.fixture
def hidden_checkpoint():
    """The path of a trained checkpoint that means something in this process only."""
    descriptor = os.open(CHECKPOINT, os.O_RDONLY)
    yield f"/proc/self/fd/{descriptor}"
    os.close(descriptor)


@pytest.fixture
def launcher(cluster):
    launcher = RayLauncher(at(cluster))
    yield launcher
    launcher.close()


def shard(number: int, config: RunConfig, directory: Path) -> ShardRun:
    log = str(directory / f"shard_{number}.log")
    return ShardRun(number, config, {"OMP_NUM_THREADS": "1"}, None, sys.path, log, neighbours=2)


def events_until(launcher, number, kind, seconds=90):
    """What a shard says up to the first event of a kind."""
    said, until = [], monotonic() + seconds
    while not any(isinstance(event, kind) for event in said):
        assert monotonic() < until, said
        said += [event for shard, event in launcher.poll(0.5) if shard == number]
    return said


def test_actors_import_no_module_from_the_working_directory(cluster, tmp_path, monkeypatch):
    """Ray itself would have them search it first."""
    (tmp_path / "msgspec.py").write_text("open(__file__ + '.ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    config = RunConfig(env={"type": FAKE_BENCHMARK}, policy={"type": "random"}, output_dir="run")

    launcher = RayLauncher(at(cluster))
    launcher.submit(shard(0, config, tmp_path / "run"))
    said = events_until(launcher, 0, ShardReady | ShardFailed | ShardLost)
    launcher.close()

    assert any(isinstance(event, ShardReady) for event in said), said
    assert not (tmp_path / "msgspec.py.ran").exists()


def test_a_checkpoint_that_a_node_does_not_see_travels_there(launcher, tmp_path, hidden_checkpoint):
    """What the shard loads is what lies here, and is gone from there once the shard has ended."""
    config = evaluation(tmp_path, {"path": hidden_checkpoint, "device": "cpu"}, 1)
    job, before = prepare(config), copies_here()

    launcher.submit(shard(0, config, tmp_path))
    events_until(launcher, 0, ShardReady)
    launcher.send(0, RunEpisodes(tuple(job.plan[:1])))
    said = events_until(launcher, 0, PolicyLoaded)
    meanwhile = copies_here()
    launcher.send(0, Stop())
    events_until(launcher, 0, ShardEnded)

    (opened,) = [event for event in said if isinstance(event, PolicyLoaded)]
    assert opened.fingerprint["sha256"] == job.policy.fingerprint()["sha256"]
    assert len(meanwhile - before) == 1
    assert copies_here() == before


def copies_here() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("proctor-checkpoint-*"))


FAKE = RunConfig(policy={"type": "random"}, env={"type": FAKE_BENCHMARK, "n_tasks": 1, "max_steps": 3})


def test_a_shard_without_a_place_waits_and_says_so_until_the_cluster_grows(cluster, launcher, tmp_path, monkeypatch):
    """As with autoscaling. Meanwhile the others run."""
    monkeypatch.setattr(ray_launcher, "_HEARTBEAT_S", 0.5)
    for number in range(3):
        launcher.submit(shard(number, FAKE, tmp_path))
    said = {0: [], 1: [], 2: []}
    wait_for(
        launcher, said, lambda: sum(any(isinstance(e, ShardReady) for e in events) for events in said.values()) == 2
    )
    (waiting,) = [number for number, events in said.items() if not any(isinstance(e, ShardReady) for e in events)]
    wait_for(launcher, said, lambda: any(isinstance(event, ShardStatus) for event in said[waiting]))
    assert not any(isinstance(event, ShardReady) for event in said[waiting])

    node = add_node(cluster)
    wait_for(launcher, said, lambda: any(isinstance(event, ShardReady) for event in said[waiting]))
    for number in range(3):
        launcher.send(number, NoMore())
    wait_for(launcher, said, lambda: all(isinstance(events[-1], ShardEnded) for events in said.values()))
    cluster.remove_node(node)

    assert not shards_alive()


def wait_for(launcher, said, condition, seconds=90):
    until = monotonic() + seconds
    while not condition():
        assert monotonic() < until, said
        for number, event in launcher.poll(0.5):
            said[number].append(event)


def test_a_cancelled_shard_is_gone_with_its_processes(launcher, tmp_path):
    """At once, and there is no further word of it."""
    launcher.submit(shard(0, FAKE, tmp_path))
    events_until(launcher, 0, ShardReady)
    assert shards_alive()

    launcher.cancel(0)

    assert launcher.poll(0.1) == []
    until = monotonic() + 20
    while shards_alive():
        assert monotonic() < until
        sleep(0.05)


def test_a_node_says_what_it_lacks_before_anything_runs_there(launcher, tmp_path, monkeypatch):
    """A sentence for each package; physics of another version is other physics."""
    monkeypatch.setattr(ray_launcher, "_versions", lambda names: {"mujoco": "2.9", "no-such-simulator": "1.0"})
    launcher.submit(shard(0, FAKE, tmp_path))

    (failed,) = events_until(launcher, 0, ShardFailed)

    assert failed.exit_code == 2
    first, second = failed.message.splitlines()
    assert first == f"On node 127.0.0.1, mujoco is {version('mujoco')} there, and 2.9 here."
    assert second == "On node 127.0.0.1, no-such-simulator is not installed there, and 1.0 here."


# ----------------------------------------------------------------------------------------------------- who may come in


@pytest.mark.parametrize("address", ["10.1.2.3:6379", "cluster.example:6379", "ray://10.1.2.3:10001", "[fd00::1]:6379"])
def test_a_cluster_that_others_can_reach_must_ask_for_a_token(address, monkeypatch):
    """It would run whatever anybody sends. Nothing is connected to before that is clear."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    with pytest.raises(ConfigError, match=r"can be reached by others.*RAY_AUTH_MODE=token"):
        RayLauncher(RayPlace(address))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "localhost:nonsense"])
def test_where_no_cluster_answers_is_said_at_once(address):
    """Ray would go on trying for minutes."""
    with pytest.raises(ConfigError, match=r"No Ray cluster answers at .* `ray start` printed"):
        RayLauncher(RayPlace(address))


def test_everything_of_it_listens_on_the_loopback_interface(launcher):
    """Of a cluster on this machine."""
    ours = {
        Path(f"/proc/{pid}/fd/{fd.name}").readlink().name for pid in [*processes_below(os.getpid())] for fd in fds(pid)
    }
    listening = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    addresses = {
        fields[1].rpartition(":")[0] for fields in listening if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours
    }

    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert addresses


def fds(pid):
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return []


def test_flags_of_a_cluster_are_refused_elsewhere(capsys):
    """A flag without effect is a misunderstanding."""
    command = ["parallel", "--policy.type=random", f"--env.type={FAKE_BENCHMARK}", "--num-shards=2"]

    assert main([*command, "--ray-num-gpus=0.5"]) == 2
    assert "--ray-num-gpus is for --launcher ray" in capsys.readouterr().err
    assert main([*command, "--launcher=ray", "--devices=cuda:0"]) == 2
    assert "--ray-num-gpus instead of --devices" in capsys.readouterr().err
