"""What a checkpoint's files tell of its training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from lerobot_samples import Checkpoints, edit_json

from proctor.policies.lerobot import load
from proctor.policies.lerobot.training_statistics import IMAGENET, is_imagenet

BUNDLED = Path(__file__).parents[2] / "examples" / "metaworld_act"
STATE, IMAGE = "observation.state", "observation.image"


def training_of(directory, **fields):
    return load({"path": str(directory), **fields}).training()


@pytest.fixture
def act(checkpoints: Checkpoints, tmp_path):
    """A copy of a small ACT's files, without its weights' bytes being copied."""
    directory = tmp_path / "act"
    directory.mkdir()
    for file in Path(checkpoints["act"]).iterdir():
        if file.name == "model.safetensors":
            (directory / file.name).symlink_to(file)
        else:
            shutil.copy(file, directory)
    return directory


def test_all_statistics_of_the_dataset_are_read_whichever_the_normaliser_uses(act):
    training = training_of(act)

    state = training.features[STATE]
    assert (state.type, state.shape, state.why_not) == ("STATE", (2,), "")
    assert state.statistics.keys() >= {"mean", "std", "min", "max", "q01", "q99"}
    assert state.statistics["max"] == [512.0, 512.0]
    assert training.features["action"].statistics["mean"] == [256.0, 256.0]
    assert training.features[IMAGE].statistics["mean"] == [0.5] * 3
    assert training.reads_text is False


def test_the_number_of_steps_is_the_one_that_was_saved_and_not_the_one_that_is_asked_for(act):
    assert training_of(act, n_action_steps=12).n_action_steps == 5


def test_a_policy_that_reads_text_is_recognised_by_its_steps(checkpoints):
    assert training_of(checkpoints["smolvla"]).reads_text is True


def test_imagenets_statistics_in_place_of_the_datasets_are_recognised(act):
    from safetensors.numpy import load_file, save_file

    (file,) = act.glob("policy_preprocessor*.safetensors")
    tensors = load_file(file)
    for name, values in IMAGENET.items():
        tensors[f"{IMAGE}.{name}"] = np.array(values, np.float32).reshape(3, 1, 1)
    save_file(tensors, file)

    assert "ImageNet's statistics" in training_of(act).features[IMAGE].why_not
    assert not is_imagenet({"mean": [0.485, 0.456, 0.406]})


def test_a_step_that_changes_images_before_they_are_normalised_is_named():
    training = training_of(BUNDLED)

    assert "image_crop_resize_processor changes it" in training.features[IMAGE].why_not
    assert training.features[STATE].why_not == ""


def test_a_step_that_nobody_can_know_makes_no_feature_comparable(act):
    file = act / "policy_preprocessor.json"
    steps = json.loads(file.read_text())["steps"]
    edit_json(file, steps=[{"registry_name": "evo1_pad_state_processor", "config": {}}, *steps])

    from proctor.policies.lerobot.files import read_files
    from proctor.policies.lerobot.training_statistics import training_of as of_files

    files = read_files(act)
    assert "evo1_pad_state_processor" in of_files(files, files.config, {}).features[STATE].why_not


def test_a_policy_object_tells_what_its_processors_hold_although_its_files_are_gone(act):
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    from proctor.policies.lerobot.live import live_policy

    policy = ACTPolicy.from_pretrained(act)
    source = live_policy(policy, *make_pre_post_processors(policy.config, str(act)))

    assert not source.checkpoint.files.directory.exists()
    assert source.training().features == training_of(act).features


def test_a_checkpoint_whose_file_of_statistics_is_gone_tells_nothing(act):
    source = load({"path": str(act)})
    (file,) = act.glob("policy_preprocessor*.safetensors")
    file.unlink()

    assert source.training() is None
