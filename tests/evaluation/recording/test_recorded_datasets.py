"""A recorded PushT run is a LeRobotDataset: LeRobot reads it and trains on it, and it holds what the policy saw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import proctor
from proctor.engine.worker.messages import Codec
from proctor.evaluation.recording import staging
from proctor.results.run_dir import RunDirectory

N_EPISODES, N_STEPS = 3, 16
LOSSLESS = Codec("libx264rgb", "rgb24", {"qp": "0"})


class Watcher:
    """A policy that keeps what it sees at each step: observations by the name of the array."""

    def __init__(self) -> None:
        self.seen: dict[str, list[np.ndarray]] = {"observation.image": [], "observation.state": []}
        self.done: list[np.ndarray] = []

    def __call__(self, observation):
        for key, arrays in self.seen.items():
            arrays.append(np.array(observation[key]))
        action = np.array([100.0 + 7 * (len(self.done) % N_STEPS), 300.0])
        self.done.append(action)
        return action


def evaluate(directory: Path, policy, **fields):
    fields = {"n_episodes": N_EPISODES, "batch_size": 1, "recording": True, **fields}
    return proctor.evaluate(policy, {"type": "pusht", "episode_length": N_STEPS}, output_dir=directory, **fields)


@pytest.fixture(scope="module")
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, watcher) -> Path:
    """A run whose videos are as LeRobot's."""
    directory = tmp_path_factory.mktemp("recorded") / "run"
    result = evaluate(directory, watcher)
    assert (result.recording.n_episodes, result.recording.problems) == (N_EPISODES, {})
    return directory


def opened(directory: Path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("user/name", root=RunDirectory(directory).recording, video_backend="pyav")


def images_of(dataset) -> np.ndarray:
    """All images that the dataset gives, uint8 ``(frames, height, width, 3)``."""
    images = np.stack([dataset[index]["observation.image"].numpy() for index in range(len(dataset))])
    return np.round(images.transpose(0, 2, 3, 1) * 255).astype(np.uint8)


def test_lerobot_lists_its_episodes_with_seed_success_and_task(run_dir):
    """And its frames, with the key names of LeRobot's environments."""
    dataset = opened(run_dir)

    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (N_EPISODES, N_EPISODES * N_STEPS, 10)
    episodes = [dataset.meta.episodes[index] for index in range(N_EPISODES)]
    assert [episode["episode_seed"] for episode in episodes] == [1000, 1001, 1002]
    assert [episode["success"] for episode in episodes] == [False] * N_EPISODES
    assert [episode["init_state_id"] for episode in episodes] == [None] * N_EPISODES
    info = json.loads((run_dir / "eval_info.json").read_text())["per_episode"]
    assert [episode["sum_reward"] for episode in episodes] == [each["sum_reward"] for each in info]
    assert {episode["tasks"][0] for episode in episodes} == {dataset[0]["task"]} == {"PushT-v0"}
    shapes = {key: tuple(feature["shape"]) for key, feature in dataset.features.items()}
    assert shapes["observation.image"] == (96, 96, 3)
    assert shapes["observation.state"] == shapes["action"] == (2,)


def test_its_rows_are_what_the_policy_saw_and_did(run_dir, watcher):
    """At each step the observation before it, and the action that was executed."""
    dataset = opened(run_dir).hf_dataset.with_format("numpy")

    assert np.array_equal(np.stack(dataset["observation.state"]), np.float32(watcher.seen["observation.state"]))
    assert np.array_equal(np.stack(dataset["action"]), np.float32(watcher.done))
    assert np.flatnonzero(dataset["next.done"]).tolist() == [N_STEPS - 1, 2 * N_STEPS - 1, 3 * N_STEPS - 1]


def test_its_images_are_what_the_policy_saw_before_they_are_encoded(tmp_path):
    """With a codec that loses nothing, what LeRobot reads is equal; the statistics are LeRobot's."""
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    watcher = Watcher()
    # LeRobot 0.4.4 cannot describe the codec, and reads it all the same.
    undescribed = patch.object(LeRobotDatasetMetadata, "update_video_info")
    with patch.object(staging, "CODEC", LOSSLESS), undescribed:
        evaluate(tmp_path, watcher, n_episodes=2)
    dataset = opened(tmp_path)

    images = images_of(dataset)
    assert np.array_equal(images, np.stack(watcher.seen["observation.image"]))
    for index in range(2):
        expected = statistics_of(images[index * N_STEPS : (index + 1) * N_STEPS])
        ours = episode_statistics(tmp_path, index, "observation.image")
        for name, values in expected.items():
            assert np.allclose(ours[name], np.ravel(values), atol=1e-4), name


def statistics_of(images: np.ndarray):
    """The statistics that LeRobot computes of these images."""
    from lerobot.datasets.compute_stats import get_feature_stats

    channels_first = images.transpose(0, 3, 1, 2).astype(np.float64)
    statistics = get_feature_stats(channels_first, axis=(0, 2, 3), keepdims=True)
    return {name: value if name == "count" else value / 255 for name, value in statistics.items()}


def episode_statistics(directory: Path, index: int, key: str) -> dict[str, np.ndarray]:
    import pyarrow.parquet as pq

    (path,) = (RunDirectory(directory).recording / "meta" / "episodes").rglob("*.parquet")
    row = pq.read_table(path).slice(index, 1).to_pydict()
    prefix = f"stats/{key}/"
    return {name.removeprefix(prefix): np.ravel(row[name][0]) for name in row if name.startswith(prefix)}


def test_the_codec_is_lerobots_and_its_images_are_near(run_dir, watcher):
    """PushT's images come back with more than 30 dB."""
    configs = pytest.importorskip("lerobot.configs")
    if hasattr(configs, "RGBEncoderConfig"):  # LeRobot 0.4.4 has none
        theirs = configs.RGBEncoderConfig()
        assert (theirs.vcodec, theirs.pix_fmt) == (staging.CODEC.name, staging.CODEC.pixel_format)
        assert theirs.get_codec_options(1, as_strings=True) == staging.CODEC.options

    error = (images_of(opened(run_dir)).astype(float) - np.stack(watcher.seen["observation.image"])) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 30


def test_images_that_count_for_statistics_are_those_of_lerobot():
    """The indices of an episode's images, and the pixels of a large one."""
    from lerobot.datasets.compute_stats import auto_downsample_height_width, sample_indices

    from proctor.engine.worker.rollout_recorder import count_pixels, sampled

    for length in (1, 7, 100, 101, 500, 3000):
        assert sampled(length).tolist() == sample_indices(length)
    generator = np.random.default_rng(0)
    for height, width in ((96, 96), (299, 299), (480, 480), (480, 640), (640, 480), (300, 20)):
        image = generator.integers(0, 256, (height, width, 3), np.uint8)
        theirs = auto_downsample_height_width(image.transpose(2, 0, 1))
        expected = [np.bincount(channel.ravel(), minlength=256) for channel in theirs]
        assert np.array_equal(count_pixels(image), expected)


def test_lerobot_trains_on_it(run_dir, tmp_path):
    """Ten steps of a policy that takes the images, the state, the action and the reward."""
    policy = {"type": "tdmpc", "device": "cpu", "push_to_hub": "false", "horizon": 2, "n_action_steps": 1}
    policy |= {"image_encoder_hidden_dim": 8, "state_encoder_hidden_dim": 16, "latent_dim": 8, "mlp_dim": 16}
    training = {"steps": 10, "batch_size": 1, "num_workers": 0, "log_freq": 5, "save_checkpoint": "false"}
    dataset = {"repo_id": "user/name", "root": RunDirectory(run_dir).recording, "video_backend": "pyav"}
    options = {**{f"policy.{name}": value for name, value in policy.items()}, **training}
    options |= {**{f"dataset.{name}": value for name, value in dataset.items()}, "output_dir": tmp_path / "out"}
    command = [sys.executable, "-m", "lerobot.scripts.lerobot_train"]
    command += [f"--{name}={value}" for name, value in options.items()]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    assert "End of training" in done.stderr
