"""Shards as jobs of a real Slurm of two nodes: whatever happens to a job, the results are those of a serial run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from real_slurm import RealSlurm

from proctor.cli import main
from proctor.config import EvalConfig, RunConfig
from proctor.evaluation.prepared_run import prepare
from proctor.evaluation.run import run
from proctor.parallel.driver import Sharding, run_in_shards
from proctor.parallel.launchers.slurm import launcher as launcher_module
from proctor.parallel.launchers.slurm.launcher import SlurmLauncher
from proctor.parallel.launchers.slurm.options import SlurmOptions
from proctor.parallel.messages import EpisodeDone
from proctor.results.eval_info import canonical_info
from proctor.results.run_dir import RunDirectory
from proctor.testing.fakes import FAKE_BENCHMARK

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'proctor-eval[slurm]'")

POLICY = """
import os, time
import numpy as np

def act(observation):
    if os.path.exists({slowly!r}):
        time.sleep(0.2)
    goal = int(observation["instruction"].rsplit()[-1])
    return np.clip(goal - observation["observation.state"], -1, 1)
"""
CARTPOLE = ["--policy.type=random", "--env.type=gymnasium", "--env.task=CartPole-v1", "--eval.video=none"]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of two CPUs, and partitions of which one preempts the other."""
    try:
        cluster = RealSlurm()
    except FileNotFoundError as error:
        pytest.skip(f"Slurm is not installed: {error}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        yield cluster
    cluster.stop()


@pytest.fixture
def slurm(cluster):
    """The cluster, whose nodes are idle again after each test, whatever became of its jobs and daemons."""
    yield cluster
    sys.stdout.write(cluster.revive())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a policy that this process can import, and the results of a serial run of it."""
    place = tmp_path_factory.mktemp("slurm")
    (place / "slurm_policy.py").write_text(POLICY.format(slowly=str(place / "slowly")))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])]))
        run(prepare(evaluation(place / "serial")))
        yield place


def evaluation(directory: Path, **fields: object) -> RunConfig:
    """Three tasks of four episodes, of which each takes about half a second. An episode is tried once."""
    return RunConfig(
        policy={"type": "function", "function": "slurm_policy:act"},
        env={"type": FAKE_BENCHMARK, "n_tasks": 3, "max_steps": 12, "step_seconds": 0.05},
        eval=EvalConfig(n_episodes=4, batch_size=1, max_attempts=1, video="none", display="none"),
        output_dir=str(directory),
        **fields,
    )


def results_in(directory: Path) -> str:
    return json.dumps(canonical_info(json.loads((directory / "eval_info.json").read_text())), indent=1)


def n_results(directory: Path) -> int:
    return sum(len(journal.episodes) for journal in RunDirectory(directory).read_journals())


def wait_until(condition, seconds: float = 90) -> None:
    until = monotonic() + seconds
    while not condition():
        assert monotonic() < until
        sleep(0.1)


def left_in(directory: Path) -> set[str]:
    """The kinds of files that the jobs have left; their logs are wanted."""
    return {re.sub(r"^\d+(_\d+)*_", "", path.name) for path in (directory / "slurm_jobs").iterdir()}


def run_with(directory: Path, options: SlurmOptions, on_nth_result, monkeypatch, num_shards: int = 2):
    """Run the evaluation in jobs, and call a function of ``on_nth_result`` when so many results have arrived."""
    real_poll, arrived = SlurmLauncher.poll, 0

    def poll(launcher, timeout_s):
        nonlocal arrived
        events = real_poll(launcher, timeout_s)
        for _, event in events:
            arrived += isinstance(event, EpisodeDone)
            if isinstance(event, EpisodeDone) and arrived in on_nth_result:
                on_nth_result[arrived]()
        return events

    with monkeypatch.context() as patch:
        patch.setattr(SlurmLauncher, "poll", poll)
        patch.setattr(launcher_module, "_LOOK_S", 1.0)
        sharding = Sharding(num_shards, launcher="slurm", launcher_options={"options": options})
        return run_in_shards(prepare(evaluation(directory)), sharding)


# --------------------------------------------------------------------------------------------- what happens to jobs


def test_a_job_cancelled_and_a_node_drained_change_no_result(slurm, place, tmp_path, monkeypatch):
    """The shard of the cancelled job gets another job, on the node that is left; the other jobs go on."""
    seen = []

    def drain_and_cancel():
        seen.append(slurm.run("squeue", "--array"))
        on_first = [job for job, (_, node) in slurm.jobs().items() if node == "n1"]
        slurm.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
        slurm.run("scancel", on_first[0])

    def look():
        seen.append(slurm.run("squeue", "--array"))

    result = run_with(
        tmp_path, SlurmOptions(slurm_cpus_per_task=1), {1: drain_and_cancel, 11: look}, monkeypatch, num_shards=3
    )
    slurm.run("scontrol", "update", "NodeName=n1", "State=RESUME")

    sys.stdout.write("\n".join(seen))
    assert result.summary.complete
    assert results_in(tmp_path) == results_in(place / "serial")
    assert n_results(tmp_path) == 12
    assert len(result.losses) == 1
    assert re.search(r"Shard \d ended with its Slurm job \d+_\d \(CANCELLED\); it is started again", result.losses[0])
    assert not slurm.jobs()
    assert left_in(tmp_path) == {"log.err", "log.out", "submission.sh"}


@pytest.mark.parametrize("connection", ["network", pytest.param("files", marks=pytest.mark.prove)])
def test_requeued_jobs_go_on_by_themselves_and_no_attempt_is_counted(slurm, place, tmp_path, monkeypatch, connection):
    """They are preempted, or their time is nearly up. The driver submits nothing, and no episode becomes an error."""
    before = slurm.last_job()
    urgent = []

    def take_back():
        if connection == "network":
            # While the driver waits for it, no shard is told that there are no more episodes.
            urgent.append(slurm.run("srun", "-p", "urgent", "-N2", "-n4", "echo", "done").split())
        else:  # which Slurm sends a minute before the end of a job's time
            slurm.run("scancel", "--signal=USR2", *slurm.jobs())

    result = run_with(tmp_path, SlurmOptions(slurm_connection=connection), {3: take_back}, monkeypatch)
    assert urgent == ([["done"] * 4] if connection == "network" else [])

    assert results_in(tmp_path) == results_in(place / "serial")
    assert not result.n_errors
    assert n_results(tmp_path) == 12
    assert len(result.losses) == 2
    assert all("with its Slurm job" in loss for loss in result.losses)
    assert slurm.last_job() == before + 2 + len(urgent), "the two tasks of the array, and nothing else of ours"
    assert not slurm.jobs()
    assert left_in(tmp_path) == {"log.err", "log.out", "submission.sh"}
    assert (tmp_path / "slurm_jobs").stat().st_mode & 0o777 == 0o700


def start(directory: Path, *more: str) -> subprocess.Popen:
    """Start the same evaluation from the command line, in three shards of one allocation of both nodes."""
    config = evaluation(directory)
    fields = [f"--policy.{name}={value}" for name, value in config.policy.items()]
    fields += [f"--env.{name}={value}" for name, value in config.env.items()]
    command = ["parallel", *fields, "--eval.n_episodes=4", "--eval.batch_size=1", "--eval.video=none"]
    command += ["--launcher=slurm", "--num-shards=3", "--slurm-mode=allocation", "--slurm-nodes=2", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "proctor", *command, f"--output_dir={directory}"], stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_jobs_end_with_their_driver_and_the_run_can_go_on(slurm, place, tmp_path, number, status):
    """Ctrl-C cancels the one job of all shards; if the driver is killed, the job ends because nobody is left."""
    process = start(tmp_path)
    wait_until(lambda: n_results(tmp_path) > 2)
    (place / "slowly").touch()
    (job,) = slurm.jobs().items()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    (place / "slowly").unlink()
    if number == signal.SIGKILL:
        wait_until(lambda: not slurm.jobs())

    assert process.returncode == status, errors
    assert job[1] == ("RUNNING", "n[1-2]")
    assert not slurm.jobs()
    assert number == signal.SIGKILL or f"proctor resume {tmp_path}" in errors
    if number == signal.SIGINT:
        assert main(["resume", str(tmp_path)]) == 0
        assert results_in(tmp_path) == results_in(place / "serial")


# ------------------------------------------------------------------------------------------------------ what travels


def test_consent_that_was_typed_reaches_the_jobs_and_no_file_keeps_it(slurm, tmp_path):
    """The code of the environment runs in a job. What the run directory holds does not consent to it again.

    The messages go through files, in which they are the same as on a connection.
    """
    code = (
        'import gymnasium\n\ndef make_env(n_envs=1, use_async_envs=False):\n    return gymnasium.make("CartPole-v1")\n'
    )
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "env.py").write_text(code)
    hub = ["--policy.type=random", "--env.type=hub", f"--env.repo={tmp_path / 'repo'}", "--eval.video=none"]
    hub += ["--eval.n_episodes=2", "--eval.batch_size=1", "--trust_remote_code=true"]
    assert main(["eval", *hub, f"--output_dir={tmp_path / 'serial'}"]) == 0
    command = ["parallel", *hub, "--launcher=slurm", "--num-shards=1", "--slurm-connection=files"]

    assert main([*command, f"--output_dir={tmp_path / 'jobs'}"]) == 0

    assert results_in(tmp_path / "jobs") == results_in(tmp_path / "serial")
    texts = [path.read_text(errors="replace") for path in (tmp_path / "jobs").rglob("*") if path.is_file()]
    assert not [text for text in texts if re.search(r"trust_remote_code\W+true", text, re.IGNORECASE)]


def test_the_script_of_the_page_runs_shards_without_a_driver(slurm, tmp_path):
    """An array of whole runs of a part of the plan; merged, they are the serial run."""
    page = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text()
    (script,) = re.findall(r"```text\n(#!/bin/bash\n[^`]*--array[^`]*)```", page)
    own = " ".join([*CARTPOLE, "--eval.n_episodes=6", "--eval.batch_size=1"])
    script, n_replaced = re.subn(r"--policy\.path=(.*\\\n)*.*(?=--output_dir)", f"{own} ", script)
    script = re.sub(r"--array=\S+", "--array=0-1", re.sub("#SBATCH --gres.*\n", "", script)).replace(
        "proctor eval", f"{sys.executable} -m proctor eval"
    )
    (tmp_path / "script.sh").write_text(re.sub(r"--output_dir=\S+", f"--output_dir={tmp_path / 'whole'}", script))
    assert n_replaced == 1

    slurm.run("sbatch", "--wait", f"--output={tmp_path}/job_%a.log", str(tmp_path / "script.sh"))
    assert main(["merge", str(tmp_path / "whole")]) == 0
    assert main(["eval", *CARTPOLE, "--eval.n_episodes=6", f"--output_dir={tmp_path / 'serial'}"]) == 0

    assert results_in(tmp_path / "whole") == results_in(tmp_path / "serial")


# ------------------------------------------------------------------------------------------------- what is refused


def test_what_slurm_refuses_is_one_sentence(slurm, place, tmp_path, capsys):
    """It holds Slurm's own reason, and the exit status is that of a wrong configuration."""
    command = ["parallel", *CARTPOLE, "--launcher=slurm", "--num-shards=2", "--slurm-partition=nowhere"]

    assert main([*command, f"--output_dir={tmp_path / 'run'}"]) == 2

    assert "Slurm refuses the jobs of the shards: sbatch: error: " in capsys.readouterr().err


@pytest.mark.prove
def test_a_sweep_evaluates_each_checkpoint_in_jobs_of_its_own(slurm, tmp_path):
    """Two small checkpoints of ACT; each result is that of the sweep in one process."""
    from checkpoint_makers import checkpoints

    for step in (1000, 2000):
        checkpoints.make_act(tmp_path / "act" / "checkpoints" / f"{step:06d}" / "pretrained_model", seed=step)
    command = ["sweep", str(tmp_path / "act"), "--env.type=pusht", "--env.episode_length=12", "--eval.n_episodes=3"]
    command += ["--eval.video=none", "--policy.device=cpu"]
    before = slurm.last_job()

    assert main([*command, f"--output_dir={tmp_path / 'serial'}"]) == 0
    assert main([*command, "--launcher=slurm", "--num-shards=2", f"--output_dir={tmp_path / 'jobs'}"]) == 0

    assert slurm.last_job() == before + 4
    for step in ("001000", "002000"):
        assert results_in(tmp_path / "jobs" / step) == results_in(tmp_path / "serial" / step)
