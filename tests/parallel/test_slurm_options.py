"""What the command line says about jobs of Slurm, what becomes of it, and what a job makes of its node."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import signal
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.config import RunConfig
from proctor.errors import ConfigError, MissingExtraError
from proctor.parallel.launchers.requirements import NodeRequirements
from proctor.parallel.launchers.slurm import host, jobs, network
from proctor.parallel.launchers.slurm.folder import FolderHub
from proctor.parallel.launchers.slurm.host import ShardTask
from proctor.parallel.launchers.slurm.hub import CLOSED, OPENED
from proctor.parallel.launchers.slurm.jobs import GONE, JobState, SlurmJobs, require_slurm
from proctor.parallel.launchers.slurm.network import NetworkHub
from proctor.parallel.launchers.slurm.options import SlurmOptions
from proctor.parallel.messages import ShardRun, decode_reports, decode_run, encode

RUN = ["--policy.type=random", "--env.type=gymnasium", "--env.task=CartPole-v1"]


def programs(folder, monkeypatch, **texts: str) -> None:
    """Make programs of Slurm that do what the shell code says, and no others."""
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder))


ALL = {"sbatch": "", "srun": "", "squeue": "", "scancel": ""}


def test_each_option_of_the_command_line_reaches_the_launcher(monkeypatch, tmp_path):
    """Each is a field of the same name."""
    programs(tmp_path, monkeypatch, **ALL)
    monkeypatch.setattr(jobs, "require_slurm", lambda: None)
    given = {}
    monkeypatch.setattr(
        "proctor.cli.parallel.conduct_in_shards", lambda config, num_shards, **how: given.update(how) or 0
    )
    flags = ["--slurm-partition=gpu", "--slurm-account=lab", "--slurm_gres=gpu:1", "--slurm-time=1-02:00:00"]
    flags += ["--slurm-mode=allocation", "--slurm-nodes=2", "--slurm-requeue=false", "--slurm-memory-gb=1.5"]

    assert main(["parallel", *RUN, "--launcher=slurm", "--num-shards=2", *flags]) == 0

    options = given["launcher_options"]["options"]
    assert options == SlurmOptions(
        slurm_mode="allocation",
        slurm_nodes=2,
        slurm_partition="gpu",
        slurm_account="lab",
        slurm_gres="gpu:1",
        slurm_time="1-02:00:00",
        slurm_requeue=False,
        slurm_memory_gb=1.5,
    )
    assert options.given()[0] == "--slurm-mode"


def test_sbatch_is_given_what_was_asked_for_and_nothing_of_submitits_own(tmp_path):
    """submitit's defaults would end a job after five minutes and charge it to a key of its own."""
    options = SlurmOptions(
        slurm_gres="gpu:1",
        slurm_cpus_per_task=6,
        slurm_memory_gb=1.5,
        slurm_setup="module load x",
        slurm_options='{"constraint": "a100"}',
    )

    parameters = SlurmJobs(tmp_path, options)._parameters(n_ranks=5, n_jobs=7)

    assert parameters["time"] is None
    assert parameters["wckey"] is None
    assert parameters["mem"] == "1536M"
    assert "--cpus-per-task=6" in parameters["srun_args"], "srun does not take it from the job"
    assert parameters["setup"] == ["module load x"]
    assert parameters["array_parallelism"] == 7
    assert parameters["additional_parameters"] == {"requeue": True, "constraint": "a100"}
    spread = SlurmOptions(slurm_mode="allocation", slurm_nodes=2, slurm_requeue=False)
    parameters = SlurmJobs(tmp_path, spread)._parameters(n_ranks=5, n_jobs=1)
    assert (parameters["nodes"], parameters["ntasks_per_node"]) == (2, 3)
    assert parameters["additional_parameters"] == {"no-requeue": True}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"slurm_mode": "arrays"}, "--slurm-mode is 'arrays'; it is one of array, allocation. Did you mean 'array'?"),
        ({"slurm_connection": "carrier"}, "--slurm-connection is 'carrier'; it is one of network, files."),
        ({"slurm_time": "soon"}, "--slurm-time is 'soon', not a time; write minutes"),
        ({"slurm_nodes": 2}, "--slurm-nodes is for one allocation"),
        ({"slurm_memory_gb": 0.0}, "--slurm-memory-gb is 0.0; it must be greater than 0."),
        ({"slurm_options": "constraint=a100"}, "--slurm-options is not JSON"),
        ({"slurm_options": "[1]"}, r"--slurm-options is \[1\], not a JSON object"),
        ({"slurm_options": '{"ntasks_per_node": 3}'}, "--slurm-options gives ntasks-per-node, which Proctor sets"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(fields, message):
    """The sentence says what can be given."""
    with pytest.raises(ConfigError, match=message):
        SlurmOptions(**fields)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--slurm-partition=gpu", "--num-shards=2"], "--slurm-partition is for --launcher slurm; leave it out"),
        (["--launcher=slurm", "--num-shards=2", "--devices=cuda:0"], "give --slurm-gres instead of --devices"),
        (["--launcher=slurm"], "num_shards is auto, which measures this machine, not the nodes; give --num-shards=8"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(monkeypatch, tmp_path, capsys, flags, message):
    """No run directory is made."""
    monkeypatch.setattr(jobs, "require_slurm", lambda: None)

    assert main(["parallel", *RUN, *flags, f"--output_dir={tmp_path / 'run'}"]) == 2

    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_machine_without_slurm_is_told_which_commands_are_missing(monkeypatch, tmp_path):
    """Accounting is not among them: a cluster may have none."""
    programs(tmp_path, monkeypatch, sbatch="", srun="")

    with pytest.raises(ConfigError, match="Slurm's commands squeue, scancel are not on this machine's PATH"):
        require_slurm()


def test_the_extra_is_named_if_submitit_is_missing(monkeypatch, tmp_path):
    """As for every extra."""
    programs(tmp_path, monkeypatch, **ALL)
    monkeypatch.setitem(sys.modules, "submitit", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'proctor-eval\[slurm\]'"):
        require_slurm()


# --------------------------------------------------------------------------------------------------- states of jobs


def test_states_are_those_of_squeue_and_a_job_that_it_no_longer_knows_is_over(monkeypatch, tmp_path):
    """Tasks of an array have states of their own."""
    programs(tmp_path, monkeypatch, squeue="echo '7_0|RUNNING'; echo '7_1|PENDING'; echo '8|COMPLETED'")

    states = SlurmJobs(tmp_path / "jobs", SlurmOptions()).look(["7_0", "7_1", "8", "9"])

    assert states == {"7_0": JobState("RUNNING"), "7_1": JobState("PENDING"), "8": JobState("COMPLETED"), "9": GONE}
    assert [states[job].over for job in ("7_0", "7_1", "8", "9")] == [False, False, True, True]
    assert [states[job].waits for job in ("7_0", "7_1", "8", "9")] == [False, True, False, False]


def test_a_slurm_that_does_not_answer_says_nothing_about_jobs(monkeypatch, tmp_path):
    """Else a restart of its controller would cost every shard. A job whose id is invalid is one that is forgotten."""
    found = SlurmJobs(tmp_path / "jobs", SlurmOptions())
    programs(tmp_path, monkeypatch, squeue="echo 'Unable to contact slurm controller' >&2; exit 1")
    assert found.look(["7"]) is None
    programs(tmp_path, monkeypatch, squeue="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert found.look(["7"]) == {"7": GONE}
    programs(tmp_path, monkeypatch, squeue="while :; do :; done")
    monkeypatch.setattr(jobs, "_TIMEOUT_S", 0.2)
    assert found.look(["7"]) is None


def test_no_job_of_somebody_else_is_ever_cancelled(monkeypatch, tmp_path):
    """Only ids that were submitted here are passed on."""
    programs(tmp_path, monkeypatch, scancel=f'echo "$@" >> {tmp_path}/cancelled')
    found = SlurmJobs(tmp_path / "jobs", SlurmOptions())
    found.submitted += ["7_0", "7_1"]

    found.cancel(["8"])
    found.cancel(["7_1", "9", "7"])

    assert (tmp_path / "cancelled").read_text() == "7_1\n"


def test_at_the_end_waiting_jobs_are_cancelled_at_once_and_the_others_after_a_while(monkeypatch, tmp_path):
    """A job that has just ended its shard ends by itself."""
    squeue = f"""
    PATH=/usr/bin:/bin; cd {tmp_path}; read n < n; echo $((n+1)) > n
    [ $n -lt 1 ] && echo '7_1|PENDING'
    [ $n -lt 2 ] && echo '7_2|RUNNING'
    grep -q 7_0 cancelled || echo '7_0|RUNNING'
    """
    programs(tmp_path, monkeypatch, scancel=f'echo "$@" >> {tmp_path}/cancelled', squeue=squeue)
    (tmp_path / "n").write_text("0\n")
    monkeypatch.setattr(jobs, "_LOOK_S", 0.05)
    found = SlurmJobs(tmp_path / "jobs", SlurmOptions())
    found.submitted += ["7_0", "7_1", "7_2", "7_3"]

    found.end({"7_3"}, grace_s=1.5, limit_s=20)

    assert (tmp_path / "cancelled").read_text().splitlines() == ["7_3", "7_1", "7_0"]


# ------------------------------------------------------------------------------------------------------- on a node


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, None),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None),
        ({"CUDA_VISIBLE_DEVICES": "2"}, "cuda:0"),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_LOCALID": "1"}, "cuda:1"),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_LOCALID": "2"}, "cuda:0"),
    ],
)
def test_shards_that_share_a_node_take_its_gpus_in_turn(monkeypatch, variables, expected):
    """The index counts those that Slurm lets the job see."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert host._device() == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 1),
        ({"SLURM_CPUS_PER_TASK": "6", "SLURM_CPUS_ON_NODE": "12"}, 6),
        ({"SLURM_CPUS_ON_NODE": "12", "SLURM_NTASKS_PER_NODE": "3"}, 4),
    ],
)
def test_a_shard_knows_its_part_of_the_node(monkeypatch, variables, expected):
    """Simulators are chosen for it if the user does not say how many."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert host._cpus() == expected


def task(tmp_path, *, requirements=None, addresses=(), requeues=True):
    run = ShardRun(0, RunConfig(output_dir=str(tmp_path)), {}, None, [], str(tmp_path / "shard_0.log"), 1)
    requirements = requirements or NodeRequirements({}, str(tmp_path), "")
    return ShardTask((encode(run),), addresses, requirements, requeues)


@pytest.fixture
def handlers(monkeypatch):
    """The handlers that a job installs; this process keeps its own."""
    installed = {}
    monkeypatch.setattr(host.signal, "signal", lambda number, handler: installed.update({number: handler}))
    return installed


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (
            NodeRequirements({"numpy": "0.1", "no-such-simulator": None}, "/", ""),
            r"On node \S+, numpy is .* and 0\.1 on",
        ),
        (
            NodeRequirements({}, "/", "/no/checkpoint"),
            r"Node \S+ does not see /no/checkpoint; put the checkpoint where",
        ),
    ],
)
def test_a_node_that_lacks_something_fails_with_a_sentence_before_a_shard_starts(
    handlers, tmp_path, requirements, message
):
    """The failure holds for every node, so that the run ends with it."""
    with closing(FolderHub(tmp_path)) as hub:
        task(tmp_path, requirements=requirements, addresses=(hub.expect(0),))()
        (_, opened), (_, report), (_, closed) = [*hub.poll(1), *hub.poll(1)]

    (failed,) = decode_reports(report)
    assert (opened, closed) == (OPENED, CLOSED)
    assert failed.error.exit_code == 2
    assert re.search(message, failed.error.message)
    assert not (tmp_path / "shard_0.log").exists()


def test_a_job_that_cannot_reach_its_driver_says_so_in_the_log_of_its_shard(handlers, tmp_path, monkeypatch):
    """The log of the shard is where the driver's message points to."""
    monkeypatch.setattr(network, "_CONNECT_TIMEOUT_S", 0.1)
    with closing(NetworkHub("127.0.0.1")) as hub:
        address = hub.expect(0)
    with pytest.raises(SystemExit):
        task(tmp_path, addresses=(address,))()

    assert re.search(r"The driver cannot be reached from \S+: .*refused", (tmp_path / "shard_0.log").read_text())


def test_a_rank_without_a_shard_does_nothing(handlers, tmp_path, monkeypatch):
    """The nodes of an allocation may have room for more."""
    monkeypatch.setenv("SLURM_PROCID", "1")
    task(tmp_path)()

    assert not handlers


@pytest.mark.parametrize("case", [("0", True, "requeue 77\n"), ("0", False, None), ("1", True, None)])
def test_a_job_whose_time_is_nearly_up_asks_slurm_once_to_put_it_into_the_queue(handlers, tmp_path, monkeypatch, case):
    """Its first rank does, if the user allows that; Slurm then ends the others, too."""
    rank, requeues, asked = case
    programs(tmp_path, monkeypatch, scontrol=f'echo "$@" >> {tmp_path}/asked')
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_PROCID", rank)
    with closing(FolderHub(tmp_path)) as hub:
        addresses = (hub.expect(0), hub.expect(1))
        made = task(
            tmp_path, addresses=addresses, requeues=requeues, requirements=NodeRequirements({"no": "1"}, "/", "")
        )
        dataclasses.replace(made, runs=made.runs * 2)()
    if callable(handlers[signal.SIGUSR2]):
        handlers[signal.SIGUSR2](signal.SIGUSR2, None)

    assert ((tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else None) == asked
    with pytest.raises(SystemExit, match="143"):
        handlers[signal.SIGTERM](signal.SIGTERM, None)


def test_a_shard_is_not_ended_by_the_signal_that_the_time_of_its_job_is_nearly_up(tmp_path):
    """Slurm sends it to every process of the job; a shard that it ended would count as one that has failed."""
    made = task(tmp_path, addresses=(OPENED,))
    with closing(host._start(decode_run(made.runs[0]))) as process:
        status = Path(f"/proc/{process._process.pid}/status").read_text()
        os.kill(process._process.pid, signal.SIGUSR2)
        process.wire.connection.poll(0.1)
        process.kill()
        ended = process._how_it_ended()

    blocked = int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16)
    assert blocked & 1 << signal.SIGUSR2 - 1
    assert "SIGKILL" in ended
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="submitit is not installed")
def test_a_driver_inside_of_a_job_keeps_the_users_choices(monkeypatch):
    """New jobs inherit nothing of the driver's own job, but find the same Slurm."""
    users = {"SLURM_CONF": "c", "SBATCH_ACCOUNT": "a"}
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "2", **users}.items():
        monkeypatch.setenv(name, value)

    with jobs._outside_of_a_job():
        seen = subprocess.check_output(["env"], text=True).splitlines()

    seen = dict(line.split("=", 1) for line in seen if line.startswith(("SLURM_", "SBATCH_")))
    assert seen == users
    assert os.environ["SLURM_JOB_ID"] == "1"
