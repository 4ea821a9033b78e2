"""Evaluations in shards: their results and run directories are those of a serial run, whatever happens to a shard."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace

import pytest

from proctor.cli import main
from proctor.config import RunConfig
from proctor.errors import ConfigError, ResourceError
from proctor.evaluation.prepared_run import prepare
from proctor.parallel import driver
from proctor.parallel.driver import Sharding, choose_devices, shard_runs
from proctor.parallel.launchers.local import device_environment
from proctor.parallel.messages import decode_run, encode
from proctor.results.eval_info import canonical_info, without_timing
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK

EXAMPLES = Path(__file__).parents[2] / "examples"
POLICY = """
import numpy as np

def act(observation):
    goal = int(observation["instruction"].rsplit()[-1])
    return np.clip(goal - observation["observation.state"], -1, 1)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a policy that this process can import."""
    place = tmp_path_factory.mktemp("parallel")
    (place / "sharded_policy.py").write_text(POLICY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield place


def arguments(*more: str, **env: object) -> list[str]:
    """Three tasks of four episodes of at most twelve steps, without videos unless they are asked for."""
    env = {"max_steps": 12, "n_tasks": 3, **env}
    return [
        *("--policy.type=function", "--policy.function=sharded_policy:act", f"--env.type={FAKE_BENCHMARK}"),
        *(f"--env.{name}={json.dumps(value) if isinstance(value, dict) else value}" for name, value in env.items()),
        *("--eval.n_episodes=4", "--eval.batch_size=1", "--eval.video=none", *more),
    ]


def text_of(directory: Path) -> str:
    """Return ``eval_info.json`` without times, the name of the directory, and the present commit."""
    info = without_timing(json.loads((directory / "eval_info.json").read_text()))
    info["config"]["output_dir"] = info["provenance"]["git"] = None
    return json.dumps(info, indent=1)


@pytest.fixture(scope="module")
def serial(place):
    assert main(["eval", *arguments(), f"--output_dir={place / 'serial'}"]) == 0
    return place / "serial"


@pytest.mark.parametrize("how", [["1"], ["3"], ["3", "--static"]])
def test_shards_give_what_the_serial_run_gives(how, serial, tmp_path):
    """``eval_info.json`` is equal byte for byte, and the directory holds the same files."""
    command = ["parallel", *arguments(), "--launcher=inline", f"--output_dir={tmp_path}", "--num-shards", *how]

    assert main(command) == 0

    assert text_of(tmp_path) == text_of(serial)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in serial.iterdir()}


def test_no_more_tasks_run_than_allowed(serial, tmp_path):
    """The limit holds over all shards, and results do not depend on it."""
    command = ["parallel", *arguments(max_parallel_tasks=1), "--launcher=inline", "--num_shards=2"]
    assert main([*command, f"--output_dir={tmp_path}"]) == 0

    episodes = [record.result.spec for journal in RunDirectory(tmp_path).read_journals() for record in journal.episodes]
    task_changes = sum(before.task != after.task for before, after in pairwise(episodes))
    infos = [json.loads((run / "eval_info.json").read_text()) for run in (tmp_path, serial)]
    assert canonical_info(infos[0]) == canonical_info(infos[1])
    assert task_changes == 2


def test_one_process_continues_a_parallel_run_and_shards_continue_it_again(serial, tmp_path):
    """The journal does not depend on who writes it."""
    first = ["parallel", *arguments("--eval.n_episodes=2"), "--launcher=inline", "--num_shards=2"]
    assert main([*first, f"--output_dir={tmp_path}"]) == 0
    assert main(["eval", *arguments("--eval.n_episodes=3"), f"--output_dir={tmp_path}"]) == 0
    assert main(["parallel", *arguments(), "--launcher=inline", "--num_shards=3", f"--output_dir={tmp_path}"]) == 0

    assert text_of(tmp_path) == text_of(serial)
    assert main(["resume", str(tmp_path), "--num_shards=2"]) == 0


def test_auto_takes_what_autotune_recommends(serial, tmp_path, monkeypatch, capsys):
    """It recommends the number of shards, and of simulators in each unless the user says how many."""
    found = SimpleNamespace(num_shards=2, batch_size=3, gl_backend="")
    monkeypatch.setattr("proctor.tuning.recommend", lambda config, on_progress: found)
    for name, more, batch_size in (("chosen", ["--eval.batch_size=0"], 3), ("asked", [], 1)):
        command = ["parallel", "--num-shards=auto", "--launcher=inline", *arguments(*more)]
        assert main([*command, f"--output_dir={tmp_path / name}"]) == 0

        assert RunDirectory(tmp_path / name).read_run().config["eval"]["batch_size"] == batch_size
    infos = [json.loads((run / "eval_info.json").read_text()) for run in (tmp_path / "chosen", serial)]
    assert canonical_info(infos[0]) == canonical_info(infos[1])
    assert "Autotune: 2 shards of 3 simulators" in capsys.readouterr().err


def test_it_stops_early_at_the_same_episode_as_the_serial_run(place, tmp_path):
    """The rule looks at the plan's rounds, and the driver has all results."""
    for name, command in {"serial": ["eval"], "shards": ["parallel", "--launcher=inline", "--num_shards=3"]}.items():
        more = ["--eval.n_episodes=40", "--eval.stop_at_ci_width=0.4", f"--output_dir={tmp_path / name}"]
        assert main([*command, *arguments(*more)]) == 0
    info = json.loads((tmp_path / "shards" / "eval_info.json").read_text())

    assert text_of(tmp_path / "shards") == text_of(tmp_path / "serial")
    assert 0 < info["stopped_early"]["episodes_per_task"] < 40


@pytest.mark.parametrize("deterministic", [True, False])
def test_videos_are_made_as_in_a_serial_run(place, tmp_path, deterministic):
    """They are replayed at the end; if a simulator cannot be replayed, the shards record them while they run."""
    more = ["--eval.video=first", "--eval.n_episodes_to_render=2", f"--output_dir={tmp_path}"]
    command = ["parallel", *arguments(*more, deterministic=deterministic), "--launcher=inline", "--num_shards=2"]

    assert main(command) == 0

    videos = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("videos/*/*")}
    assert videos == {f"videos/fake_{task}/eval_episode_{n}.mp4" for task in range(3) for n in range(2)}
    info = json.loads((tmp_path / "eval_info.json").read_text())
    assert len(info["overall"]["video_paths"]) == 6


def test_a_simulator_that_cannot_be_built_ends_the_run_with_the_shards_sentence(place, tmp_path, capsys):
    """The exit status is the shard's, too."""
    (tmp_path / "faults").mkdir()
    faults = {f"{task}/construct": "raise" for task in range(3)}
    more = arguments(f"--output_dir={tmp_path / 'run'}", faults=faults, scratch=tmp_path / "faults", times=99)

    assert main(["parallel", *more, "--launcher=inline", "--num_shards=2"]) == 2

    assert "failed to construct 3 times alike" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------- real processes


def start(place: Path, directory: Path, *more: str) -> subprocess.Popen[str]:
    """Start a run in three shards of two workers, slow enough to be disturbed."""
    command = [
        "parallel",
        "--num_shards=3",
        *arguments("--eval.n_episodes=8", "--eval.batch_size=2", step_seconds=0.02),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "proctor", *command, f"--output_dir={directory}", *more],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, seconds: float = 60) -> None:
    until = monotonic() + seconds
    while not condition():
        assert monotonic() < until, "the condition did not come true in time"
        sleep(0.02)


def n_lines(directory: Path) -> int:
    path = directory / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def children(pid: int) -> list[int]:
    """Return the processes whose parent is ``pid``."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def shards_of(pid: int) -> list[int]:
    return [
        child for child in children(pid) if b"proctor.parallel.shard" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.fixture(scope="module")
def slow_serial(place):
    command = ["eval", *arguments("--eval.n_episodes=8", "--eval.batch_size=2", step_seconds=0.02)]
    assert main([*command, f"--output_dir={place / 'slow'}"]) == 0
    return place / "slow"


def test_a_killed_shard_costs_no_result(place, slow_serial, tmp_path):
    """It is replaced, and the command says so; each shard has an environment and a log of its own."""
    process = start(place, tmp_path / "run")
    wait_until(lambda: n_lines(tmp_path / "run") > 4)
    shards = shards_of(process.pid)
    variables = Path(f"/proc/{shards[0]}/environ").read_bytes().split(b"\0")
    os.kill(shards[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert "was ended by SIGKILL; it is started again" in errors
    assert text_of(tmp_path / "run") == text_of(slow_serial)
    assert len(shards) == 3
    assert b"OMP_NUM_THREADS=1" in variables
    assert {path.name for path in (tmp_path / "run").glob("*.log")} >= {
        f"shard_{shard_id}.log" for shard_id in range(3)
    }


def test_ctrl_c_ends_all_shards_and_the_run_can_go_on(place, slow_serial, tmp_path, monkeypatch):
    """The exit status is 130, and no process is left; shards run the rest afterwards."""
    monkeypatch.setenv("PYTHONPATH", str(place))
    process = start(place, tmp_path / "run")
    wait_until(lambda: n_lines(tmp_path / "run") > 4)
    shards = shards_of(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 130, errors
    assert f"go on with: proctor resume {tmp_path / 'run'} --num_shards=3" in errors
    assert not any(Path(f"/proc/{shard}").exists() for shard in shards)
    assert main(["resume", str(tmp_path / "run"), "--num_shards=2"]) == 0
    assert text_of(tmp_path / "run") == text_of(slow_serial)


def test_shards_end_with_their_driver(place, slow_serial, tmp_path):
    """This holds for a driver that is killed, and another process can continue the run."""
    process = start(place, tmp_path / "run")
    wait_until(lambda: n_lines(tmp_path / "run") > 4)
    shards = shards_of(process.pid)
    workers = [worker for shard in shards for worker in children(shard)]
    process.kill()
    process.communicate(timeout=30)

    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in [*shards, *workers]), 5)
    assert len(shards) == 3
    assert workers
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert text_of(tmp_path / "run") == text_of(slow_serial)


@pytest.mark.prove
def test_a_real_checkpoint_gives_in_four_shards_what_it_gives_in_one_process(tmp_path):
    """ACT from pixels on Meta-World gives equal results to the bit, also in two shards that are merged."""
    command = [
        f"--policy.path={EXAMPLES / 'metaworld_act'}",
        "--env.type=metaworld",
        "--env.task=reach-v3,coffee-button-v3",
    ]
    command += ["--env.episode_length=60", "--eval.n_episodes=4", "--eval.n_episodes_to_render=1"]
    assert main(["eval", *command, f"--output_dir={tmp_path / 'serial'}"]) == 0
    assert main(["parallel", *command, "--num-shards=4", f"--output_dir={tmp_path / 'shards'}"]) == 0
    for shard in (0, 1):
        part = [f"--eval.shard_id={shard}", "--eval.num_shards=2", f"--output_dir={tmp_path / 'merged'}"]
        assert main(["eval", *command, *part]) == 0
    assert main(["merge", str(tmp_path / "merged")]) == 0

    assert text_of(tmp_path / "shards") == text_of(tmp_path / "serial")
    assert text_of(tmp_path / "merged") == text_of(tmp_path / "serial")


# ------------------------------------------------------------------------------------------------ what is decided


def prepared_run(place, tmp_path, **policy):
    fields = {"type": "function", "function": "sharded_policy:act", **policy}
    env = {"type": FAKE_BENCHMARK, "n_tasks": 3}
    return prepare(RunConfig(policy=fields, env=env, output_dir=str(tmp_path)))


def test_devices_are_assigned_in_turn(place, tmp_path):
    """The shards' runs are the same after they were encoded and decoded."""
    runs = shard_runs(prepared_run(place, tmp_path), Sharding(5, ("cuda:0", "cuda:1")), batch_size=3)

    assert [run.device for run in runs] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert {run.config.eval.batch_size for run in runs} == {3}
    assert [decode_run(encode(run)) for run in runs] == runs


@pytest.mark.parametrize(("devices", "expected"), [(("cuda:0", "cuda:1"), "cuda"), ((), "cuda:0,cuda:1")])
def test_a_shard_that_has_a_device_for_itself_is_given_no_device_index(place, tmp_path, devices, expected):
    """It sees one device only, whose index there is 0."""
    prepared = prepared_run(place, tmp_path)
    config = replace(prepared.config, policy={**prepared.config.policy, "device": "cuda:0,cuda:1"})

    (run,) = shard_runs(replace(prepared, config=config), Sharding(1, devices), batch_size=3)

    assert run.config.policy == {**prepared.config.policy, "device": expected}


@pytest.mark.parametrize(("asked", "in_process"), [(0, False), (1, True), (3, False)])
def test_simulators_run_in_a_shards_own_process_only_if_the_user_asks_for_one_at_a_time(
    place, tmp_path, asked, in_process
):
    """A batch size of 1 that the driver has chosen means a worker process."""
    prepared = prepared_run(place, tmp_path)
    config = replace(prepared.config, eval=replace(prepared.config.eval, batch_size=asked))

    (run,) = shard_runs(replace(prepared, config=config), Sharding(1), batch_size=asked or 1)

    assert run.config.eval.use_async_envs is not in_process


@pytest.mark.parametrize(
    ("visible", "device", "expected"),
    [
        (None, None, {}),
        (None, "cuda:1", {"CUDA_VISIBLE_DEVICES": "1", "MUJOCO_EGL_DEVICE_ID": "1"}),
        ("4,6", "cuda:1", {"CUDA_VISIBLE_DEVICES": "6", "MUJOCO_EGL_DEVICE_ID": "6"}),
        ("GPU-1f2e,GPU-77aa", "cuda:0", {"CUDA_VISIBLE_DEVICES": "GPU-1f2e"}),
    ],
)
def test_a_shard_sees_its_device_alone_and_draws_on_it(monkeypatch, visible, device, expected):
    """The variables hold the device's index on the machine, or its UUID."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert device_environment(device) == expected


@pytest.mark.parametrize(
    ("policy", "asked", "expected"),
    [
        ({}, None, ("cuda:0", "cuda:1")),
        ({"device": "cuda"}, None, ("cuda:0", "cuda:1")),
        ({"device": "cpu"}, None, ()),
        ({"device": "cuda:1"}, None, ("cuda:1",)),
        ({}, "cuda:1, cuda:0", ("cuda:1", "cuda:0")),
    ],
)
def test_all_accelerators_are_used_unless_some_are_named(monkeypatch, policy, asked, expected):
    """They are named by --devices, or by --policy.device."""
    monkeypatch.setattr(driver, "visible_gpus", lambda: ["one", "another"])

    assert choose_devices(RunConfig(policy=policy), asked) == expected


@pytest.mark.parametrize(
    ("policy", "asked", "message"),
    [
        ({}, "cuda", "--devices: 'cuda' has no device index; write cuda:0,cuda:1."),
        ({}, "cuda:0,mps:0", "--devices: 'mps:0' is not a CUDA device with an index; write cuda:0,cuda:1."),
        ({}, "cuda:2", "--devices: there is no cuda:2; this process sees 2 GPUs"),
        ({"device": "cuda:0,cuda:7"}, None, "--policy.device: there is no cuda:7; this process sees 2 GPUs"),
    ],
)
def test_devices_that_do_not_exist_are_refused(monkeypatch, policy, asked, message):
    """The sentence begins with the option that names them."""
    monkeypatch.setattr(driver, "visible_gpus", lambda: ["one", "another"])
    with pytest.raises(ConfigError, match=re.escape(message)):
        choose_devices(RunConfig(policy=policy), asked)


def test_the_machine_is_divided_among_its_shards(place, tmp_path, monkeypatch):
    """A chosen batch size fits the cores and the memory; a shard's memory that is too small for one is an error."""
    monkeypatch.setattr(driver, "usable_cores", lambda: 32)
    prepared = prepared_run(place, tmp_path)

    assert driver._batch_size_per_shard(prepared, 4) == 5
    monkeypatch.setattr(driver, "simulators_in_memory", lambda benchmark, otherwise: 9)
    assert driver._batch_size_per_shard(prepared, 4) == 2
    monkeypatch.setattr(driver, "simulators_in_memory", lambda benchmark, otherwise: 3)
    with pytest.raises(ResourceError, match=r"4 shards of 1 simulators .* lower num_shards or eval\.batch_size"):
        driver._batch_size_per_shard(prepared, 4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_shards=many"], "num_shards is 'many'; give a number, or auto"),
        (["--num_shards=0"], "it must be at least 1"),
        (["--num_shards=2", "--launcher=lokal"], "Unknown launcher 'lokal'. Did you mean 'local'?"),
        (["--num_shards=2", "--eval.num_shards=2"], "leave out eval.shard_id"),
        (["--num_shards=2", "--eval.trace=true"], "eval.trace shows the workers of one process"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(place, tmp_path, capsys, flags, message):
    """No run directory is made."""
    assert main(["parallel", *arguments(), *flags, f"--output_dir={tmp_path / 'run'}"]) == 2

    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
