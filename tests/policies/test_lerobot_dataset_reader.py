"""A look at a dataset through LeRobot's own reader."""

from __future__ import annotations

import numpy as np
import pytest

from proctor.config import DatasetConfig
from proctor.errors import ConfigError, Note
from training_samples import make_dataset

NAME = "nobody/pusht"
STATE, IMAGE = "observation.state", "observation.image"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("dataset") / "pusht")


def read(root, **fields):
    from proctor.policies.lerobot.dataset_reader import read_training_data

    return read_training_data(DatasetConfig(repo_id=NAME, root=str(root), **fields))


def test_vectors_images_statistics_and_tasks_are_those_that_were_written(root):
    data = read(root)

    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (96, 96, 3), np.uint8)
    state = generator.uniform(0, 512, 2).astype(np.float32)
    action = generator.uniform(0, 512, 2).astype(np.float32)
    assert np.array_equal(data.images[IMAGE][0], image)
    assert np.array_equal(data.episodes[0].vectors[STATE][0], state)
    assert np.array_equal(data.episodes[0].actions[0], action)
    assert [len(episode.actions) for episode in data.episodes] == [12, 12]
    assert (data.tasks, data.fps) == (("push",), 10.0)
    assert len(data.images[IMAGE]) == 2
    assert data.statistics[STATE]["min"][0] < 256 < data.statistics[STATE]["max"][0]
    assert set(data.episodes[0].vectors) == {STATE}


def test_episodes_can_be_chosen(root):
    assert np.array_equal(read(root, episodes=[1]).episodes[0].actions, read(root).episodes[1].actions)


def test_a_note_says_that_a_dataset_is_not_streamed(root):
    """Its user asked for frames in their order, without a download."""
    with pytest.warns(Note, match="--dataset.streaming does not change that"):
        read(root, streaming=True)


def test_a_folder_without_a_dataset_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no LeRobotDataset"):
        read(tmp_path)


def test_a_dataset_that_lerobot_cannot_read_is_a_sentence(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text('{"codebase_version": "v9"}')

    with pytest.raises(ConfigError, match="has the format v9"):
        read(tmp_path)
