"""Shards on a real Ray cluster of this machine: nodes come and go, and the results are those of a serial run."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
from contextlib import suppress
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
from proctor.parallel.launchers import requirements
from proctor.parallel.launchers.ray import launcher as launcher_module
from proctor.parallel.launchers.ray.launcher import RayLauncher, _resources
from proctor.parallel.launchers.ray.options import RayOptions
from proctor.parallel.messages import (
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
from proctor.results.eval_info import canonical_info
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK

CHECKPOINT = Path(__file__).parents[2] / "examples" / "metaworld_act"


@pytest.fixture(scope="module")
def cluster():
    """A head without room for shards, and two nodes with room for one each, on the loopback interface."""
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


def options_for(cluster) -> RayOptions:
    return RayOptions(ray_address=cluster.address, ray_num_cpus=1)


def processes_below(pid: int) -> dict[int, str]:
    """Return the descendants of a process, and their names."""
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
    """Remove a node at the first result and kill an actor at the third.

    Each shard is lost at least once, and no node has room for one of them any more. Both losses may hit one episode.
    """
    doomed = next(iter(cluster.worker_nodes))
    real_poll, n_results, losses = RayLauncher.poll, count(1), []

    def poll(launcher, timeout_s):
        events = real_poll(launcher, timeout_s)
        losses.extend(event.reason for _, event in events if isinstance(event, ShardLost))
        for number in [next(n_results) for _, event in events if isinstance(event, EpisodeDone)]:
            if number == 1:
                cluster.remove_node(doomed, allow_graceful=False)
            if number == 3:
                os.kill(actors_alive()[0], signal.SIGKILL)
        return events

    with monkeypatch.context() as patch:
        patch.setattr(RayLauncher, "poll", poll)
        try:
            result = run_in_shards(
                prepare(config), Sharding(2, launcher="ray", launcher_options={"options": options_for(cluster)})
            )
        finally:
            add_node(cluster)
            cluster.wait_for_nodes()  # until Ray knows that the other one is gone, else it places shards there
    assert len(result.losses) == len(losses) >= 2
    return result


def test_a_node_removed_and_an_actor_killed_change_no_result(cluster, tmp_path, monkeypatch):
    """Only the episodes that had not finished run again, and no process is left."""
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
    """Every shard, also one that was started again, gets it from the object store."""
    policy = {"path": hidden_checkpoint, "device": "cpu"}
    run_with_losses(cluster, evaluation(tmp_path / "cluster", policy, 4), monkeypatch)
    run(prepare(evaluation(tmp_path / "serial", policy, 4)))

    assert results_in(tmp_path / "cluster") == results_in(tmp_path / "serial")


# ------------------------------------------------------------------------------------------------------ what travels


@pytest.fixture
def hidden_checkpoint():
    """The path of a trained checkpoint, which is valid in this process only."""
    descriptor = os.open(CHECKPOINT, os.O_RDONLY)
    yield f"/proc/self/fd/{descriptor}"
    os.close(descriptor)


@pytest.fixture
def launcher(cluster):
    launcher = RayLauncher(options_for(cluster))
    yield launcher
    launcher.close()


def shard(shard_id: int, config: RunConfig, directory: Path) -> ShardRun:
    log = str(directory / f"shard_{shard_id}.log")
    return ShardRun(shard_id, config, {"OMP_NUM_THREADS": "1"}, None, sys.path, log, neighbours=2)


def events_until(launcher, shard_id, kind, seconds=90):
    """Return the events of a shard up to the first one of a kind."""
    received, until = [], monotonic() + seconds
    while not any(isinstance(event, kind) for event in received):
        assert monotonic() < until, received
        received += [event for shard, event in launcher.poll(0.5) if shard == shard_id]
    return received


def test_actors_import_no_module_from_the_working_directory(cluster, tmp_path, monkeypatch):
    """Ray's default is that they search it first."""
    (tmp_path / "msgspec.py").write_text("open(__file__ + '.ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    config = RunConfig(env={"type": FAKE_BENCHMARK}, policy={"type": "random"}, output_dir="run")

    launcher = RayLauncher(options_for(cluster))
    launcher.submit(shard(0, config, tmp_path / "run"))
    events = events_until(launcher, 0, ShardReady | ShardFailed | ShardLost)
    launcher.close()

    assert any(isinstance(event, ShardReady) for event in events), events
    assert not (tmp_path / "msgspec.py.ran").exists()


def test_a_checkpoint_that_a_node_does_not_see_is_copied_there(launcher, tmp_path, hidden_checkpoint):
    """The shard loads the same weights, and the copy is removed when the shard ends."""
    config = evaluation(tmp_path, {"path": hidden_checkpoint, "device": "cpu"}, 1)
    prepared, before = prepare(config), copies_here()

    launcher.submit(shard(0, config, tmp_path))
    events_until(launcher, 0, ShardReady)
    launcher.send(0, RunEpisodes(tuple(prepared.plan[:1])))
    received = events_until(launcher, 0, PolicyLoaded)
    meanwhile = copies_here()
    launcher.send(0, Stop())
    events_until(launcher, 0, ShardEnded)

    (loaded,) = [event for event in received if isinstance(event, PolicyLoaded)]
    assert loaded.fingerprint["sha256"] == prepared.policy.fingerprint()["sha256"]
    assert len(meanwhile - before) == 1
    assert copies_here() == before


def copies_here() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("proctor-checkpoint-*"))


FAKE = RunConfig(policy={"type": "random"}, env={"type": FAKE_BENCHMARK, "n_tasks": 1, "max_steps": 3})


def test_a_shard_for_which_no_node_has_room_waits_until_the_cluster_grows(cluster, launcher, tmp_path, monkeypatch):
    """Its status is sent meanwhile, and the other shards run. A cluster that scales automatically grows so."""
    monkeypatch.setattr(launcher_module, "_WAITING_STATUS_S", 0.5)
    for shard_id in range(3):
        launcher.submit(shard(shard_id, FAKE, tmp_path))
    received = {0: [], 1: [], 2: []}
    wait_for(launcher, received, lambda: len(ready(received)) == 2)
    (waiting,) = received.keys() - ready(received)
    wait_for(launcher, received, lambda: any(isinstance(event, ShardStatus) for event in received[waiting]))
    assert waiting not in ready(received)

    node = add_node(cluster)
    wait_for(launcher, received, lambda: waiting in ready(received))
    for shard_id in range(3):
        launcher.send(shard_id, NoMore())
    wait_for(launcher, received, lambda: all(isinstance(events[-1], ShardEnded) for events in received.values()))
    cluster.remove_node(node)

    assert not shards_alive()


def ready(received) -> set[int]:
    """Return the shards that have sent ShardReady."""
    return {shard_id for shard_id, events in received.items() if any(isinstance(one, ShardReady) for one in events)}


def wait_for(launcher, received, condition, seconds=90):
    until = monotonic() + seconds
    while not condition():
        assert monotonic() < until, received
        for shard_id, event in launcher.poll(0.5):
            received[shard_id].append(event)


def test_a_cancelled_shard_is_gone_with_its_processes(launcher, tmp_path):
    """There is no further event of it."""
    launcher.submit(shard(0, FAKE, tmp_path))
    events_until(launcher, 0, ShardReady)
    assert shards_alive()

    launcher.cancel(0)

    assert launcher.poll(0.1) == []
    until = monotonic() + 60
    while shards_alive():
        assert monotonic() < until
        sleep(0.05)


def test_a_node_is_checked_before_anything_runs_there(launcher, tmp_path, monkeypatch):
    """There is a sentence for each package; results depend on the versions of simulators."""
    monkeypatch.setattr(requirements, "_versions", lambda names: {"mujoco": "2.9", "no-such-simulator": "1.0"})
    launcher.submit(shard(0, FAKE, tmp_path))

    *_, failed = events_until(launcher, 0, ShardFailed)

    assert failed.error.exit_code == 2
    first, second = failed.error.message.splitlines()
    assert first == f"On node 127.0.0.1, mujoco is {version('mujoco')}, and 2.9 on the driver's machine."
    assert second == "On node 127.0.0.1, no-such-simulator is not installed, and 1.0 on the driver's machine."


# ----------------------------------------------------------------------------------------------------- who may come in


@pytest.mark.parametrize("address", ["10.1.2.3:6379", "cluster.example:6379", "ray://10.1.2.3:10001", "[fd00::1]:6379"])
def test_a_cluster_that_others_can_reach_must_ask_for_a_token(address, monkeypatch):
    """It would run whatever anybody sends. The address is refused before a connection is made."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    with pytest.raises(ConfigError, match=r"can be reached by other machines.*RAY_AUTH_MODE=token"):
        RayLauncher(RayOptions(address))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "localhost:nonsense"])
def test_an_address_at_which_no_cluster_answers_is_refused_at_once(address):
    """Ray itself would go on trying for minutes."""
    with pytest.raises(ConfigError, match=r"No Ray cluster answers at .* `ray start` printed"):
        RayLauncher(RayOptions(address))


def test_a_cluster_on_this_machine_listens_on_the_loopback_interface_alone(launcher):
    """This holds for every socket of every process of it."""
    ours = {name for pid in processes_below(os.getpid()) for name in open_files(pid)}
    listening = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    addresses = {
        fields[1].rpartition(":")[0] for fields in listening if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours
    }

    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert addresses


def open_files(pid):
    """Return what a process has open; descriptors may be closed and the process may end meanwhile."""
    found = []
    with suppress(FileNotFoundError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(fd.readlink().name)
    return found


# ------------------------------------------------------------------------------------------------------ the options


def test_options_of_a_cluster_are_refused_for_other_launchers(capsys):
    """An option without effect is a misunderstanding, and so is --devices for a cluster."""
    command = ["parallel", "--policy.type=random", f"--env.type={FAKE_BENCHMARK}", "--num-shards=2"]

    assert main([*command, "--ray-num-gpus=0.5"]) == 2
    assert "--ray-num-gpus is for --launcher ray" in capsys.readouterr().err
    assert main([*command, "--launcher=ray", "--devices=cuda:0"]) == 2
    assert "--ray-num-gpus instead of --devices" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [("py_modules", "--ray-runtime-env is not JSON"), ("[1]", r"--ray-runtime-env is \[1\], not a JSON object")],
)
def test_a_runtime_environment_that_is_not_an_object_is_refused_before_anything_starts(text, message, tmp_path, capsys):
    """The sentence shows an example."""
    command = ["parallel", "--policy.type=random", f"--env.type={FAKE_BENCHMARK}", "--num-shards=2", "--launcher=ray"]

    assert main([*command, f"--ray-runtime-env={text}", f"--output_dir={tmp_path / 'run'}"]) == 2

    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error)
    assert '{"py_modules": ["my_policy"]}' in error
    assert not (tmp_path / "run").exists()


def test_the_command_line_passes_its_ray_options_to_the_launcher(monkeypatch):
    """Each option is a field of the same name."""
    given = {}
    monkeypatch.setattr(
        "proctor.cli.parallel.conduct_in_shards", lambda config, num_shards, **how: given.update(how) or 0
    )
    flags = ["--ray-address=h:1", "--ray-num-cpus=2", "--ray_num_gpus=0.5", "--ray-memory-gb=3"]

    assert main(["parallel", "--launcher=ray", *flags, '--ray-runtime-env={"pip": ["x"]}']) == 0

    options = given["launcher_options"]["options"]
    assert options == RayOptions("h:1", 2.0, 0.5, 3.0, '{"pip": ["x"]}')
    assert options.runtime_env() == {"pip": ["x"]}


@pytest.mark.parametrize(
    ("options", "policy", "expected"),
    [
        (RayOptions(), {}, {"num_cpus": 3, "num_gpus": 0.6666, "memory": None}),
        (RayOptions(), {"device": "cpu"}, {"num_cpus": 3, "num_gpus": 0, "memory": None}),
        (RayOptions(None, 0.5, 2, 1.5), {}, {"num_cpus": 0.5, "num_gpus": 2, "memory": 1_500_000_000}),
    ],
)
def test_a_shard_claims_an_equal_part_of_the_cluster_unless_options_say_otherwise(options, policy, expected, tmp_path):
    """The parts are rounded down, so that the cluster has room for all shards."""
    run = ShardRun(0, RunConfig(policy=policy), {}, None, [], str(tmp_path / "log"), neighbours=3)

    assert _resources(options, run, {"CPU": 11, "GPU": 2}) == expected
