"""Weights & Biases, offline: what its own file of a run holds of an evaluation."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.config import WandBConfig
from proctor.reports.export import COLUMNS
from proctor.reports.trackers.measurements import measurements
from proctor.reports.trackers.wandb import log_to_wandb
from proctor.results.summary import load_summary, summarize
from proctor.testing.fakes import FAKE_BENCHMARK
from result_samples import SPECS, TASKS, done, run_info

BLOCK = 32_768


def records(run: Path):
    """The messages in the file of an offline run: a log in LevelDB's format after seven bytes of its own."""
    from wandb.proto import wandb_internal_pb2

    (path,) = run.glob("run-*.wandb")
    content, position, message = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if (rest := BLOCK - position % BLOCK) < 7:
            position += rest
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        message += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            message = b""
            yield record


class Logged:
    """What an offline run holds."""

    def __init__(self, directory: Path):
        (self.folder,) = directory.glob("wandb/offline-run-*")
        found = list(records(self.folder))
        self.run = next(record.run for record in found if record.HasField("run"))
        self.config = {item.key: json.loads(item.value_json) for item in self.run.config.update}
        self.summary = {item.key: json.loads(item.value_json) for record in found for item in record.summary.update}
        items = [item for record in found for item in record.history.item]
        self.history = {"/".join(item.nested_key): json.loads(item.value_json) for item in items}
        self.artifacts = {record.artifact.type: record.artifact for record in found if record.HasField("artifact")}

    def table(self, name):
        path = self.folder / "files" / self.history[f"{name}/path"]
        table = json.loads(path.read_bytes())
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


@pytest.fixture(scope="module", autouse=True)
def _data_of_its_own(tmp_path_factory):
    """Weights & Biases stages artifacts in the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(tmp_path_factory.mktemp(f"wandb_{name}")))
        yield


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Two tasks of three episodes with a video each, logged offline by the command; and how it ended."""
    directory = tmp_path_factory.mktemp("wandb") / "run"
    status = main(
        [
            "eval",
            "--policy.type=expert",
            f"--env.type={FAKE_BENCHMARK}",
            "--eval.n_episodes=3",
            "--eval.n_episodes_to_render=1",
            "--eval.use_async_envs=false",
            f"--output_dir={directory}",
            "--job_name=exam",
            "--wandb.enable=true",
            "--wandb.mode=offline",
            "--wandb.project=robots",
            "--wandb.notes=a remark",
        ]
    )
    assert status == 0
    return directory


@pytest.fixture(scope="module")
def logged(evaluated):
    return Logged(evaluated)


def read(directory):
    return json.loads((directory / "eval_info.json").read_bytes())


def test_the_run_is_what_was_asked_for(logged):
    """Project, name, remark, tags as LeRobot's."""
    assert (logged.run.project, logged.run.display_name, logged.run.notes) == ("robots", "exam", "a remark")
    assert logged.run.job_type == "eval"
    assert sorted(logged.run.tags) == ["env:fake", "policy:expert", "seed:1000"]


def test_every_number_is_there_with_its_interval(evaluated, logged):
    """Overall, of the mean over tasks, of each suite and each task."""
    info = read(evaluated)
    task = info["per_task"][1]
    prefix = f"task/{task['task_group']}/1"

    assert logged.summary["overall/pc_success"] == info["overall"]["pc_success"] == 100.0
    assert logged.summary["macro/pc_success_low"] == info["macro"]["pc_success_interval"][0]
    assert logged.summary[f"suite/{task['task_group']}/n_episodes"] == 6
    assert logged.summary[f"{prefix}/pc_success_low"] == task["pc_success_interval"][0]
    assert logged.summary[f"{prefix}/pc_success_high"] == task["pc_success_interval"][1]
    assert logged.summary[f"{prefix}/avg_sum_reward"] == task["avg_sum_reward"]
    assert not [name for name in logged.summary if name.endswith("task_id")]


def test_tables_hold_tasks_and_episodes(evaluated, logged):
    """The same numbers as the file, the columns of the export."""
    info = read(evaluated)

    tasks, episodes = logged.table("tasks"), logged.table("episodes")
    assert [row["task"] for row in tasks] == [task["task"] for task in info["per_task"]]
    assert [row["pc_success_high"] for row in tasks] == [task["pc_success_interval"][1] for task in info["per_task"]]
    assert list(episodes[0]) == [column.name for column in COLUMNS]
    assert [row["sum_reward"] for row in episodes] == [episode["sum_reward"] for episode in info["per_episode"]]


def test_videos_lie_in_the_offline_run_byte_for_byte(evaluated, logged):
    """A list for each task, with words beside them."""
    for task in read(evaluated)["per_task"]:
        (path,) = task["metrics"]["video_paths"]
        key = Path(path).parent.as_posix()

        assert logged.history[f"{key}/captions"] == [f"{task['task']} episode 0: success"]
        (copy,) = (logged.folder / "files" / video["path"] for video in logged.history[f"{key}/videos"])
        assert copy.read_bytes() == (evaluated / path).read_bytes()


def test_the_artifact_holds_the_files(evaluated, logged):
    """Which say everything."""
    files = {entry.path: entry.size for entry in logged.artifacts["evaluation"].manifest.contents}

    assert files == {name: (evaluated / name).stat().st_size for name in ("run.json", "eval_info.json")}


def test_nothing_of_the_machine_is_sent(logged):
    """Beyond the provenance that is in the results."""
    assert not logged.run.host
    assert not logged.run.git.commit
    assert not list(logged.folder.glob("files/*.*"))  # no metadata, no requirements, no output
    assert set(logged.config) == {"_wandb", "config", "fingerprint", "provenance"}


def test_secrets_stay_here(evaluated, tmp_path):
    """As in every file; and without the artifact, without tags, where they are not wanted."""
    run, summary = load_summary(evaluated)
    fields = {group: {**run.config[group], name: "hunter2"} for group, name in (("policy", "api_key"), ("env", "pwd"))}
    fingerprint = {**run.fingerprint, "env": {"kwargs": {"api_key": "hunter2"}}}
    run = replace(run, config={**run.config, **fields}, fingerprint=fingerprint)
    config = WandBConfig(
        enable=True, mode="offline", disable_artifact=True, add_tags=False, run_id="abc123", notes="pwd=hunter2"
    )

    where = log_to_wandb(config, tmp_path, "token=hunter2", run, replace(summary, videos={}))

    logged = Logged(tmp_path)
    assert logged.run.run_id == "abc123"
    assert logged.config["config"]["policy"]["api_key"] == "<redacted>"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert not logged.run.tags
    assert "evaluation" not in logged.artifacts
    assert where == f"{logged.folder} (upload it with: wandb sync {logged.folder})"


def test_a_checkpoint_is_logged_into_its_trainings_run_over_the_step(evaluated, tmp_path):
    """The training's name, tags and configuration stay as they are."""
    run, summary = load_summary(evaluated)
    policy = {"path": "/train/act/checkpoints/004000/pretrained_model"}
    run = replace(run, config={**run.config, "policy": policy})
    config = WandBConfig(enable=True, mode="offline", disable_artifact=True, run_id="abc123")

    log_to_wandb(config, tmp_path, "exam", run, replace(summary, videos={}))

    logged = Logged(tmp_path)
    assert (logged.run.run_id, logged.run.display_name, list(logged.run.tags)) == ("abc123", "", [])
    assert logged.config.keys() == {"_wandb"}
    assert logged.history["eval/step"] == 4000
    assert logged.history["eval/overall/pc_success"] == logged.history["eval/fake/pc_success"] == 100.0
    assert logged.history["eval/fake/pc_success_low"] < 100.0
    assert len(logged.table("eval/tasks")) == 2
    assert not [name for name in logged.history if not name.startswith(("eval/", "_"))]


def test_a_failure_costs_no_results_and_no_exit_status(evaluated, tmp_path, capsys, monkeypatch):
    """It is said, with what to do; going on with a finished run tries it again."""
    run = shutil.copytree(evaluated, tmp_path / "run")
    before = (run / "eval_info.json").read_bytes()

    def refuse(**_):
        raise ConnectionError("the server is on holiday")

    monkeypatch.setattr("wandb.init", refuse)
    assert main(["resume", str(run)]) == 0

    out = capsys.readouterr().out
    assert "Not logged  Weights & Biases did not take them: the server is on holiday." in out
    assert f"proctor resume {run}" in out
    assert json.loads((run / "eval_info.json").read_bytes())["per_episode"] == json.loads(before)["per_episode"]


def test_without_the_package_nothing_begins(tmp_path, capsys, monkeypatch):
    """Rather than hours later; but where it is disabled, it is not needed."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    command = [
        "eval",
        "--policy.type=expert",
        f"--env.type={FAKE_BENCHMARK}",
        "--eval.n_episodes=1",
        "--eval.video=none",
    ]
    command += ["--eval.use_async_envs=false", f"--output_dir={tmp_path}/run", "--wandb.enable=true"]

    assert main(command) == 2
    assert "pip install 'proctor-eval[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--wandb.mode=disabled"]) == 0


def test_numbers_that_do_not_exist_are_left_out():
    """A rate of no episodes, an interval of one; those that exist are there."""
    results = [*map(done, SPECS[:4]), done(SPECS[4])]

    numbers = dict(measurements(run_info(), summarize(TASKS, SPECS, results)))

    assert (numbers["task/attic/0/n_episodes"], numbers["task/attic/0/n_missing"]) == (0, 4)
    assert not {name for name in numbers if name.startswith(("task/attic/0/pc_", "task/attic/0/avg_", "macro/"))}
    assert numbers["task/zoo/1/avg_length"] == 10.0
    assert "task/zoo/1/avg_length_low" not in numbers
    assert numbers["task/zoo/0/avg_length_low"] < 11.5 < numbers["task/zoo/0/avg_length_high"]
