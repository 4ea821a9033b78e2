"""``proctor open-loop`` on a real dataset: known errors, LeRobot's own predictions, the same bytes after any crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from recorded_samples import (
    FEATURES,
    LENGTHS,
    OFFSET,
    REPO_ID,
    LeRobotOnRecordings,
    actions_of,
    files_of,
    open_loop,
    record,
)

import proctor
from checkpoint_makers.checkpoints import make_act, make_diffusion
from proctor.cli import main
from proctor.evaluation.open_loop.predictions import Predictions
from proctor.results.files import write_json
from proctor.results.provenance import collect_provenance
from proctor.results.run_info import RunInfo
from proctor.streams import RandomStream
from proctor.testing.fakes import FAKE_BENCHMARK
from proctor.types import EpisodeSpec

N = sum(LENGTHS)
STD = np.concatenate([actions_of(episode) for episode in range(3)]).astype(np.float64).std(axis=0)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return record(tmp_path_factory.mktemp("data") / "recorded")


@pytest.fixture(scope="session")
def act(tmp_path_factory):
    return make_act(tmp_path_factory.mktemp("act"), chunk_size=8, n_action_steps=5)


def result_of(output):
    return json.loads((output / "open_loop.json").read_text())


def predictions(output, episode):
    return Predictions.read(output / "episodes" / f"episode_{episode:06d}.npz")


# ------------------------------------------------------------------------------------------------------ known answers


def test_a_policy_that_gives_the_recorded_actions_has_no_error(dataset, tmp_path, capsys):
    """Every step is compared once, and what was predicted beyond an episode's end is not compared."""
    assert open_loop(dataset, tmp_path) == 0
    found = result_of(tmp_path)

    zero = {"mae": 0, "mse": 0, "mae_interval": {"low": 0, "high": 0}, "mse_interval": {"low": 0, "high": 0}}
    assert found["overall"] == {"n": N, "physical": zero, "std": zero, "network": None}
    assert [each["errors"]["n"] for each in found["positions"]] == [10, 8, 8, 7]  # of 13, 9 and 11 steps, by four
    assert [each["n_inferences"] for each in found["episodes"]] == [4, 3, 3]
    assert "MAE 0 std" in capsys.readouterr().out


def test_a_constant_offset_is_found_in_every_number(dataset, tmp_path):
    """In physical units to the last bit: by dimension, position, episode and task."""
    assert open_loop(dataset, tmp_path, function="beside_truth") == 0
    found = result_of(tmp_path)

    for each, offset, std in zip(found["dimensions"], OFFSET, STD, strict=True):
        assert each["errors"]["physical"]["mae"] == abs(offset)
        assert each["errors"]["physical"]["mse"] == offset**2
        assert each["bias"] == offset
        assert each["std"] == pytest.approx(std, rel=1e-6)  # LeRobot's own, of float32 numbers
        assert each["errors"]["std"]["mae"] == pytest.approx(abs(offset) / std, rel=1e-6)
        assert each["errors"]["std"]["mse"] == pytest.approx((offset / std) ** 2, rel=1e-6)
    assert [each["name"] for each in found["dimensions"]] == ["shoulder", "elbow"]
    rows = [*found["positions"], *found["episodes"], *found["tasks"]]
    assert {row["errors"]["physical"]["mae"] for row in rows} == {np.abs(OFFSET).mean()}
    assert {row["errors"]["physical"]["mse"] for row in rows} == {np.square(OFFSET).mean()}
    assert [(each["task"], each["n_episodes"]) for each in found["tasks"]] == [("pull", 1), ("push", 2)]
    assert [each["errors"]["physical"]["mae_interval"] is None for each in found["tasks"]] == [True, False]


def test_errors_that_depend_on_position_episode_and_task_are_told_apart(dataset, tmp_path):
    """Compared with the sums written out."""
    assert open_loop(dataset, tmp_path, function="farther_from_truth") == 0
    found = result_of(tmp_path)

    def error(episode, step):
        return np.array([1.0, 0.5]) * (step % 4) * (1 + episode)

    errors = {episode: np.stack([error(episode, step) for step in range(n)]) for episode, n in enumerate(LENGTHS)}
    everything = np.concatenate(list(errors.values()))
    assert found["overall"]["physical"]["mae"] == pytest.approx(everything.mean())
    assert found["overall"]["physical"]["mse"] == pytest.approx(np.square(everything).mean())
    assert found["overall"]["std"]["mae"] == pytest.approx((everything / STD).mean(), rel=1e-6)
    for each in found["episodes"]:
        assert each["errors"]["physical"]["mae"] == pytest.approx(errors[each["episode_index"]].mean())
    for each in found["positions"]:
        at = np.concatenate([found[each["position"] :: 4] for found in errors.values()])
        assert each["errors"]["physical"]["mae"] == pytest.approx(at.mean())
    pull, push = found["tasks"]
    assert pull["errors"]["physical"]["mae"] == pytest.approx(errors[2].mean())
    assert push["errors"]["physical"]["mae"] == pytest.approx(np.concatenate([errors[0], errors[1]]).mean())
    low, high = (found["overall"]["physical"]["mae_interval"][end] for end in ("low", "high"))
    assert errors[0].mean() <= low < everything.mean() < high <= errors[2].mean()


def test_the_error_of_a_constant_prediction_is_told_beside_it(dataset, tmp_path):
    """That is of the dataset's mean action, in its standard deviations."""
    assert open_loop(dataset, tmp_path) == 0

    everything = np.concatenate([actions_of(episode) for episode in range(3)]).astype(np.float64)
    expected = (np.abs(everything - everything.mean(axis=0)) / STD).mean()
    assert result_of(tmp_path)["constant_std"] == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------------------- LeRobot's policies


@pytest.fixture(scope="module")
def of_act(dataset, act, tmp_path_factory):
    """The ACT's own evaluation."""
    output = tmp_path_factory.mktemp("of_act")
    assert open_loop(dataset, output, f"--policy.path={act}", "--policy.device=cpu", function="") == 0
    return output


def test_a_checkpoint_predicts_what_lerobots_own_loop_gives(dataset, act, of_act):
    """To the last bit: whole chunks of ``predict_action_chunk``, and what ``select_action`` executes of them."""
    theirs = LeRobotOnRecordings(act, dataset)

    for episode in range(3):
        ours = predictions(of_act, episode)
        np.testing.assert_array_equal(np.stack(ours.chunks), np.stack(theirs.chunks(episode, every=5)))
        np.testing.assert_array_equal(ours.executed, theirs.selected(episode, RandomStream(EpisodeSpec("", 0, 0, 0))))
        np.testing.assert_array_equal(ours.truth, actions_of(episode))
    found = result_of(of_act)
    assert [each["executed"] for each in found["positions"]] == [True] * 5 + [False] * 3
    assert found["n_action_steps"] == 5


def test_errors_are_also_given_in_the_units_of_the_checkpoints_normalisation(of_act):
    """The ACT un-normalises by mean and standard deviation, of numbers between 0 and 512."""
    for each in result_of(of_act)["dimensions"]:
        scale = each["network_scale"]
        assert scale == pytest.approx(512 / np.sqrt(12))
        assert each["errors"]["network"]["mae"] == pytest.approx(each["errors"]["physical"]["mae"] / scale)


def test_a_policy_with_history_and_noise_predicts_what_lerobots_own_loop_gives(dataset, tmp_path):
    """A Diffusion Policy sees the step before, too, and draws from the stream of the episode."""
    checkpoint = make_diffusion(tmp_path / "checkpoint")
    options = [f"--policy.path={checkpoint}", "--policy.device=cpu", "--seed=7"]
    assert open_loop(dataset, tmp_path / "all", *options, "--inference_batch_size=1", function="") == 0
    theirs = LeRobotOnRecordings(checkpoint, dataset)

    for episode in (0, 2):
        stream = RandomStream(EpisodeSpec(REPO_ID, 0, episode, 7 + episode))
        np.testing.assert_array_equal(predictions(tmp_path / "all", episode).executed, theirs.selected(episode, stream))


def test_predictions_do_not_depend_on_the_episodes_beside_them(dataset, act, of_act, tmp_path):
    """Nor on streaming the dataset; an episode alone has the same file."""
    options = [f"--policy.path={act}", "--policy.device=cpu"]
    assert open_loop(dataset, tmp_path / "one", *options, "--dataset.episodes=[2]", function="") == 0
    assert open_loop(dataset, tmp_path / "streamed", *options, "--dataset.streaming=true", function="") == 0

    assert files_of(tmp_path / "streamed") == files_of(of_act)
    alone = files_of(tmp_path / "one")
    assert alone.keys() == {"open_loop.json", "episode_000002.npz"}
    assert alone["episode_000002.npz"] == files_of(of_act)["episode_000002.npz"]


def test_n_action_steps_can_be_overridden(dataset, act, tmp_path):
    """The policy then looks more often."""
    options = [f"--policy.path={act}", "--policy.device=cpu", "--policy.n_action_steps=2"]
    assert open_loop(dataset, tmp_path, *options, function="") == 0

    assert predictions(tmp_path, 1).starts.tolist() == [0, 2, 4, 6, 8]


def test_a_policy_behind_a_server_gives_the_same_predictions(dataset, act, of_act, tmp_path):
    """The server is ``proctor serve``, which is given whole chunks of the same seeds."""
    command = [sys.executable, "-m", "proctor", "serve", f"--policy.path={act}", "--policy.device=cpu", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = next(line for line in server.stdout if line.startswith("ws://")).split()[0]
        options = ["--policy.type=openpi", f"--policy.url={url}", "--policy.name=act"]
        status = open_loop(dataset, tmp_path, *options, function="")
        server.kill()

    assert status == 0
    ours, there = files_of(tmp_path), files_of(of_act)
    assert {name: ours[name] for name in ours if name.endswith("npz")} == {
        name: there[name] for name in there if name.endswith("npz")
    }


# --------------------------------------------------------------------------------------------------------- beside a run


def test_beside_a_run_that_fails_it_says_that_the_inputs_differ(dataset, tmp_path, capsys):
    """With the run's own policy, which is right on the dataset and useless in this environment."""
    run = tmp_path / "run"
    env = [f"--env.type={FAKE_BENCHMARK}", "--env.n_tasks=1", "--env.max_steps=5", "--eval.n_episodes=20"]
    policy = ["--policy.type=function", "--policy.function=recorded_samples:truth"]
    options = ["--eval.video=none", "--eval.display=none", "--eval.batch_size=1", f"--output_dir={run}"]
    assert main(["eval", *env, *policy, *options]) == 0
    capsys.readouterr()

    assert open_loop(dataset, tmp_path / "same", f"--beside={run}", function="") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Open loop is good (MAE 0 of a standard deviation), and closed loop is 5.0 % (0.9 … 23.6)" in out
    assert f"see proctor audit {run}." in out
    assert result_of(tmp_path / "same")["verdict"]["finding"] == "inputs differ"

    assert open_loop(dataset, tmp_path / "other", f"--beside={run}", function="beside_truth") == 0
    sentence = result_of(tmp_path / "other")["verdict"]["sentence"]
    assert sentence.endswith("cannot be said: the run is of another policy.")


def test_a_run_directory_cannot_name_code_of_the_working_directory(dataset, tmp_path, capsys, monkeypatch):
    """It may come from somebody else."""
    run = RunInfo(
        {"policy": {"type": "function", "function": "only_here:truth"}, "env": {}, "eval": {}},
        {},
        collect_provenance([], 1),
        (),
        (),
    )
    write_json(tmp_path / "run" / "run.json", msgspec.to_builtins(run))
    (tmp_path / "only_here.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.chdir(tmp_path)

    assert open_loop(dataset, tmp_path / "out", f"--beside={tmp_path / 'run'}", function="") == 2

    err = " ".join(capsys.readouterr().err.split())
    assert "module only_here" in err
    assert "--trust_remote_code=true" in err
    assert "it was imported" not in err


# ------------------------------------------------------------------------------------------------------- interruptions


@pytest.fixture
def signal_file(tmp_path, monkeypatch):
    """While it exists, the policy sends its own process the signal whose number it holds."""
    monkeypatch.setenv("SIGNAL_FILE", str(tmp_path / "signal"))
    return tmp_path / "signal"


def test_a_killed_evaluation_goes_on_and_ends_with_the_same_bytes(dataset, tmp_path, signal_file):
    """What was finished before is not predicted again."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert open_loop(dataset, whole, function="stopped") == 0
    signal_file.write_text(str(int(signal.SIGKILL)))
    call = "from recorded_samples import open_loop; import sys; open_loop(*sys.argv[1:], function='stopped')"
    process = subprocess.run(
        [sys.executable, "-c", call, str(dataset), str(killed)],
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(proctor.__file__).parents[1]}"},
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    (first,) = killed.glob("episodes/*.npz")
    written = first.stat().st_mtime_ns
    (killed / "episodes" / ".episode_000001.npz.99.tmp").write_bytes(b"a part")

    assert open_loop(dataset, killed, function="stopped") == 0

    assert first.stat().st_mtime_ns == written
    assert files_of(killed) == files_of(whole)


def test_ctrl_c_gives_the_result_so_far_and_says_how_to_go_on(dataset, tmp_path, signal_file, capsys):
    """The status is that of a process that was interrupted."""
    signal_file.write_text(str(int(signal.SIGINT)))
    output = tmp_path / "out"

    assert open_loop(dataset, output, function="stopped") == 130

    out, err = capsys.readouterr()
    assert "2 of 3 episodes have no result yet." in out
    hint = f"1 of 3 episodes are done; go on with the same command and --output_dir={output}"
    assert hint in " ".join(err.split())
    assert result_of(output)["missing"] == [1, 2]
    assert open_loop(dataset, output, function="stopped") == 0
    assert result_of(output)["missing"] == []


def test_more_episodes_are_added_to_what_is_there(dataset, tmp_path):
    """The result is then that of all, as if they had been chosen at once."""
    assert open_loop(dataset, tmp_path / "steps", "--dataset.episodes=[1]") == 0
    assert open_loop(dataset, tmp_path / "steps") == 0
    assert open_loop(dataset, tmp_path / "once") == 0

    assert files_of(tmp_path / "steps") == files_of(tmp_path / "once")


@pytest.mark.parametrize(
    ("options", "function", "reason"),
    [
        (["--seed=5"], "truth", "seed: was 1000, now 5"),
        ([], "beside_truth", "policy.sha256"),
        (["--inference_batch_size=3"], "truth", "inference.batch_size: was 0, now 3"),
    ],
)
def test_another_evaluation_in_the_same_directory_is_refused(  # noqa: PLR0917 - fixtures and cases
    dataset, tmp_path, capsys, options, function, reason
):
    """And nothing that is there changes."""
    assert open_loop(dataset, tmp_path) == 0
    before = files_of(tmp_path)

    assert open_loop(dataset, tmp_path, *options, function=function) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert files_of(tmp_path) == before


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "function", "message"),
    [
        (
            ["--dataset.episodes=[1,7,9]"],
            "truth",
            "dataset.episodes contains [7, 9], but nobody/recorded has 3 episodes: 0",
        ),
        (["--dataset.episodes=[1,1]"], "truth", "dataset.episodes contains [1] more than once"),
        (["--dataset.root=/nowhere/at/all"], "truth", "The dataset nobody/recorded (/nowhere/at/all) cannot be read"),
        (["--dataset.root=/usr"], "truth", "dataset.root is /usr, which holds no LeRobotDataset"),
        ([], "of_three_numbers", "gave actions of shape (1, 3); the dataset records (steps, 2)"),
        (["--policy.type=expert"], "", "--policy.type=expert acts on a simulator, which open loop does not have"),
        (
            ["--dataset.image_transforms={enable: true, most: 3}"],
            "truth",
            "Unknown field dataset.image_transforms.most",
        ),
    ],
)
def test_an_error_is_a_sentence(  # noqa: PLR0917 - fixtures and cases
    dataset, tmp_path, capsys, monkeypatch, options, function, message
):
    """And no traceback."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    status = open_loop(dataset, tmp_path, *options, function=function)

    err = " ".join(capsys.readouterr().err.split())
    assert status == (3 if function == "of_three_numbers" else 2)
    assert message in err
    assert "Traceback" not in err


def test_a_checkpoint_for_other_inputs_is_refused(dataset, tmp_path, capsys):
    """The table shows both sides."""
    from checkpoint_makers.checkpoints import METAWORLD

    checkpoint = make_act(tmp_path / "checkpoint", METAWORLD)

    assert open_loop(dataset, tmp_path / "out", f"--policy.path={checkpoint}", "--policy.device=cpu", function="") == 2
    err = capsys.readouterr().err
    assert "Policy and dataset do not fit each other" in err
    assert "vector 4" in err


# ------------------------------------------------------------------------------------------------------------- datasets


def test_image_transforms_change_images_and_nothing_else_and_are_the_same_every_time(dataset, act, of_act, tmp_path):
    """LeRobot's own, with random numbers that follow from the episode and the step, streamed or not."""
    options = [f"--policy.path={act}", "--policy.device=cpu", "--dataset.episodes=[1,2]"]
    options += ['--dataset.image_transforms={"enable": true, "max_num_transforms": 6}']
    assert open_loop(dataset, tmp_path / "one", *options, function="") == 0
    assert open_loop(dataset, tmp_path / "other", *options, "--dataset.streaming=true", function="") == 0

    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")
    assert (predictions(tmp_path / "one", 1).executed != predictions(of_act, 1).executed).any()


@pytest.mark.filterwarnings("ignore:The video decoding and encoding capabilities:UserWarning")  # of LeRobot 0.4's pyav
def test_frames_of_a_video_are_those_that_lerobot_decodes(tmp_path):
    """With one camera's video, as most datasets of the Hub have."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from proctor.config import DatasetConfig
    from proctor.policies.lerobot.recordings import open_recordings

    video = {**FEATURES["observation.image"], "dtype": "video"}
    root = record(tmp_path / "videos", {**FEATURES, "observation.image": video}, lengths=(6, 5))
    recordings = open_recordings(DatasetConfig(repo_id=REPO_ID, root=str(root), episodes=[1]), seed=0)
    theirs = LeRobotDataset(REPO_ID, root=root, video_backend="pyav")

    (reader,) = recordings.readers(recordings.episodes, 0)
    for step in (0, 4):
        arrays, task = reader.frame(step)
        expected = theirs[6 + step]["observation.image"].numpy().transpose(1, 2, 0)
        np.testing.assert_array_equal(arrays["observation.image"].astype(np.float32) / 255, expected)
        assert task == "push"
