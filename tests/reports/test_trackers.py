"""Evaluations in the programs in which people follow their trainings: what each of them has stored."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from proctor.cli import main
from proctor.config import RunConfig, TensorBoardConfig, TrackioConfig
from proctor.errors import MissingExtraError
from proctor.reports.trackers import check_trackers, log_evaluation
from proctor.reports.trackers.measurements import TrackerError, measurements_of_step
from proctor.results.summary import summarize
from proctor.testing.fakes import FAKE_BENCHMARK
from result_samples import SPECS, TASKS, done, run_info

OF_A_TRAINING = run_info(policy={"path": "/train/act/checkpoints/004000/pretrained_model"}, env={}, eval={})
SUMMARY = summarize(TASKS, SPECS, [done(spec, success=spec.episode_index > 0) for spec in SPECS])


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("/train/act/checkpoints/004000/pretrained_model", 4000),
        ("outputs/checkpoints/1000000", 1_000_000),
        ("checkpoints/000010/pretrained_model_ema", 10),
        ("/train/act/checkpoints/last/pretrained_model", None),
        ("/train/mycheckpoints/004000", None),
        ("user/repo@main", None),
    ],
)
def test_the_step_is_in_the_path_of_a_checkpoint_of_a_training(path, step):
    """Nothing else is taken for a step."""
    assert run_info(policy={"path": path}, env={}, eval={}).checkpoint_step == step
    assert run_info(policy={"type": "expert"}, env={}, eval={}).checkpoint_step is None


def test_names_belong_into_a_training():
    """They are those of a training's evaluation, by suite."""
    numbers = dict(measurements_of_step(OF_A_TRAINING, SUMMARY))

    assert numbers["eval/overall/pc_success"] == 75.0
    assert numbers["eval/zoo/n_episodes"] == 8
    assert numbers["eval/headline/pc_success_low"] < 75.0 < numbers["eval/headline/pc_success_high"]
    assert numbers["eval/attic/0/n_successes"] == 3
    assert all(name.startswith("eval/") for name in numbers)


def events(folder: Path):
    """The steps and values in TensorBoard's event files: length, checksum, a message, checksum, for each message."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        content, position = path.read_bytes(), 0
        while position < len(content):
            (length,) = struct.unpack_from("<Q", content, position)
            event = Event.FromString(content[position + 12 : position + 12 + length])
            position += 16 + length
            found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
    return found


def test_tensorboard_gets_every_number_at_the_step(tmp_path):
    """Beside what the training has written there."""
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    config = RunConfig(tensorboard=TensorBoardConfig(log_dir=str(tmp_path / "logs")))

    (where,) = log_evaluation(config, tmp_path, OF_A_TRAINING, SUMMARY)

    written = events(tmp_path / "logs")
    numbers = dict(measurements_of_step(OF_A_TRAINING, SUMMARY))
    assert written.keys() == numbers.keys()
    assert written["eval/zoo/pc_success"] == (4000, 75.0)
    assert f"tensorboard --logdir {tmp_path / 'logs'}" in where


def test_trackio_gets_every_number_at_the_step(tmp_path, monkeypatch):
    """In a run that may be the training's; it is asked for what it has stored."""
    trackio = pytest.importorskip("trackio", reason="the extra trackio is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
    config = RunConfig(trackio=TrackioConfig(enable=True, project="robots", name="act-training"))
    trackio.init("robots", "act-training", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    trackio.log({"loss": 0.5}, step=3999)
    trackio.finish()

    (where,) = log_evaluation(config, tmp_path / "run", OF_A_TRAINING, SUMMARY)

    (training, evaluation) = SQLiteStorage.get_logs("robots", "act-training")
    assert (training["loss"], training["step"]) == (0.5, 3999)
    assert (evaluation["eval/zoo/pc_success"], evaluation["eval/step"], evaluation["step"]) == (75.0, 4000, 4000)
    assert "trackio show --project robots" in where
    assert list((tmp_path / "trackio").iterdir()), "nothing was written into the user's home"


def test_a_tracker_that_fails_is_an_answer(tmp_path):
    """The others are logged to, and the reason is given."""
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    (tmp_path / "file").write_text("")
    config = RunConfig(tensorboard=TensorBoardConfig(log_dir=str(tmp_path / "file" / "logs")))

    (error,) = log_evaluation(config, tmp_path, OF_A_TRAINING, SUMMARY)

    assert isinstance(error, TrackerError)
    assert str(error) == f"{tmp_path}/file/logs cannot be written: Not a directory."


@pytest.mark.parametrize(
    ("package", "extra", "config"),
    [
        ("trackio", "trackio", RunConfig(trackio=TrackioConfig(enable=True))),
        ("tensorboardX", "tensorboard", RunConfig(tensorboard=TensorBoardConfig(log_dir="x"))),
    ],
)
def test_a_missing_package_is_named_before_anything_runs(monkeypatch, package, extra, config):
    """With the command that installs it; without being asked for, it is not needed."""
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError, match=rf"pip install 'proctor-eval\[{extra}\]'"):
        check_trackers(config)
    check_trackers(RunConfig())


def test_the_command_logs_after_the_results(tmp_path, capsys):
    """And says where."""
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    command = ["eval", "--policy.type=expert", f"--env.type={FAKE_BENCHMARK}", "--eval.n_episodes=1"]
    command += ["--eval.use_async_envs=false", f"--output_dir={tmp_path / 'run'}"]

    assert main([*command, f"--tensorboard.log_dir={tmp_path / 'logs'}"]) == 0

    assert "Logged to   TensorBoard" in capsys.readouterr().out
    assert events(tmp_path / "logs")["eval/overall/pc_success"] == (0, 100.0)
