"""Checkpoints as people have them: of another LeRobot, another machine, another library's way to save."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from lerobot_samples import Episode, LeRobotLoop, edit_json, frames, new_memory, write_safetensors

from proctor.errors import CheckpointError, ConfigError, ContractError
from proctor.machine.resources import usable_cores
from proctor.policies.lerobot import load
from proctor.policies.lerobot.weights import find_weights
from proctor.types import ArraySpec, Features

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")


@pytest.fixture(scope="module")
def actions_of_act(checkpoints):
    return actions(checkpoints["act"])


@pytest.fixture
def act(checkpoints, tmp_path):
    return shutil.copytree(checkpoints["act"], tmp_path / "copy")


def actions(path, **fields):
    return Episode(load({"path": str(path), "device": "cpu", **fields}).open(1), frames(seed=1)).run()


def refusal(path, error=CheckpointError, **fields):
    with pytest.raises(error) as raised:
        load({"path": str(path), **fields}).open(1)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def into_shards(directory):
    """The weights in two files and an index, as transformers and accelerate save them."""
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    places = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(sorted(weights))}
    for name in set(places.values()):
        save_file({key: weights[key] for key in places if places[key] == name}, directory / name)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (directory / "model.safetensors").unlink()


def test_weights_in_shards_are_the_same_weights(act, actions_of_act):
    """Each shard and the index count for the fingerprint."""
    into_shards(act)

    np.testing.assert_array_equal(actions(act), actions_of_act)
    before = load({"path": str(act)}).fingerprint()
    index = act / "model.safetensors.index.json"
    edit_json(index, metadata={"changed": True})
    changed = load({"path": str(act)}).fingerprint()
    shutil.copy(act / "model-00002-of-00002.safetensors", act / "keep")
    content = bytearray((act / "keep").read_bytes())
    content[-1] ^= 1
    (act / "model-00002-of-00002.safetensors").write_bytes(content)
    digests = {each["sha256"] for each in (before, changed, load({"path": str(act)}).fingerprint())}
    assert len(digests) == 3


def shards_of(bare, **changes):
    """Two shards with hardly anything in them."""
    (bare / "model.safetensors").unlink()
    write_safetensors(bare / "model-00001-of-00002.safetensors", {"a": 4})
    write_safetensors(bare / "model-00002-of-00002.safetensors", {"b": 4})
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (bare / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {**places, **changes}}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"c": "model-00003-of-00003.safetensors"}, "lacks model-00003-of-00003.safetensors, a shard that model.safe"),
        ({"c": "model-00001-of-00002.safetensors"}, "does not hold the weights that model.safetensors.index.json"),
        ({"c": "../model.safetensors"}, "names '../model.safetensors', which is not a safetensors file beside it"),
        ({"c": "/etc/passwd"}, "names '/etc/passwd', which is not a safetensors file beside it"),
        ({"c": 3}, "has no weight_map from tensors to files"),
    ],
)
def test_shards_that_are_not_what_their_index_says(bare, changes, sentence):
    shards_of(bare, **changes)

    with pytest.raises(CheckpointError) as raised:
        find_weights(bare)
    assert sentence in str(raised.value)


def test_shards_without_their_index(bare):
    shards_of(bare)
    (bare / "model.safetensors.index.json").unlink()

    assert "(model-00001-of-00002.safetensors) and no model.safetensors.index.json; copy that file" in refusal(bare)


@pytest.mark.parametrize("names", [("pre",), ("post",), ("pre", "post")])
def test_processors_that_were_pinned_to_a_gpu_follow_the_policy(act, actions_of_act, names):
    """On a machine without one, and normalised."""
    for name in names:
        file = act / f"policy_{name}processor.json"
        steps = json.loads(file.read_text())["steps"]
        for step in steps:
            if step["registry_name"] in ("device_processor", "unnormalizer_processor", "normalizer_processor"):
                step["config"]["device"] = "cuda"
        edit_json(file, steps=steps)

    np.testing.assert_array_equal(actions(act), actions_of_act)


def test_a_flag_makes_no_adapter(act, actions_of_act):
    """``use_peft`` beside whole weights: they are evaluated as they are, which is said until the user says it."""
    edit_json(act / "config.json", use_peft=True)

    with pytest.warns(
        UserWarning, match=r"config\.json has use_peft, but there is no adapter_config\.json: the weights"
    ):
        assert not load({"path": str(act)}).checkpoint.files.is_adapter
    np.testing.assert_array_equal(actions(act, use_peft="false"), actions_of_act)


def test_a_configuration_without_a_type_is_of_the_type_the_user_gives(act, actions_of_act):
    """As some libraries save a LeRobot policy."""
    config = json.loads((act / "config.json").read_text())
    del config["type"]
    (act / "config.json").write_text(json.dumps({**config, "model_type": "act"}))
    assert "names no policy type, so it is an older LeRobot's or another library's; if you know" in refusal(act)

    np.testing.assert_array_equal(actions(act, type="act", model_type=None), actions_of_act)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"model_type": "llama"}, "it is a model of the transformers library ('llama'), not a LeRobot policy"),
        ({"input_shapes": {}, "output_shapes": {}}, "it was written by LeRobot of 2024 (input_shapes)"),
        ({}, "without them it is not known what the policy was trained on"),
    ],
)
def test_a_configuration_of_something_else(bare, fields, sentence):
    (bare / "config.json").write_text(json.dumps(fields))

    assert sentence in refusal(bare)


def test_a_field_that_had_no_use_when_lerobot_dropped_it_is_ignored(checkpoints, tmp_path):
    """First-party VQ-BeT checkpoints have one. It is said."""
    old = shutil.copytree(checkpoints["vqbet"], tmp_path / "old")
    edit_json(old / "config.json", mlp_hidden_dim=1024)

    with pytest.warns(UserWarning, match=r"has dropped mlp_hidden_dim, which had no use; it is ignored"):
        np.testing.assert_array_equal(actions(old), actions(checkpoints["vqbet"]))
    assert "does not know (mlp_hidden_dim)" in refusal(old, strict=False), "nothing says then that all weights fit"


def test_a_field_that_lerobot_does_not_know_is_refused_with_its_option(act, actions_of_act):
    """The user knows whether it mattered."""
    edit_json(act / "config.json", wings=2, claws="long")
    assert refusal(act).endswith(", if it does the same without them: --policy.claws=null --policy.wings=null")

    np.testing.assert_array_equal(actions(act, claws=None, wings="null"), actions_of_act)


def test_a_model_that_has_moved_is_found_where_the_user_says(checkpoints, tmp_path):
    """Its tokenizer too, which SmolVLA's preprocessor names by the same path."""
    moved = shutil.copytree(checkpoints["smolvla"], tmp_path / "moved")
    for name in ("config.json", "policy_preprocessor.json"):
        text = (moved / name).read_text()
        (moved / name).write_text(text.replace(str(checkpoints["smolvla"] / "vlm"), "/home/somebody/vlm"))

    message = refusal(moved)
    assert "config.json names /home/somebody/vlm as vlm_model_name, which is not here" in message
    assert message.endswith("--policy.vlm_model_name=<directory or Hub id>")
    vlm = str(checkpoints["smolvla"] / "vlm")
    np.testing.assert_array_equal(actions(moved, vlm_model_name=vlm), actions(checkpoints["smolvla"]))


def test_a_tokenizer_that_only_a_processor_names_is_corrected_there(checkpoints, tmp_path):
    moved = shutil.copytree(checkpoints["smolvla"], tmp_path / "moved")
    text = (moved / "policy_preprocessor.json").read_text()
    (moved / "policy_preprocessor.json").write_text(
        text.replace(str(checkpoints["smolvla"] / "vlm"), "/home/somebody/vlm")
    )

    assert "policy_preprocessor.json names /home/somebody/vlm as tokenizer_name, which is not here" in refusal(moved)


def test_a_camera_that_is_not_there_is_empty_if_the_user_says_so(checkpoints, tmp_path):
    """As in LeRobot, whose SmolVLA sees nothing in its place."""
    more = shutil.copytree(checkpoints["smolvla"], tmp_path / "more")
    inputs = json.loads((more / "config.json").read_text())["input_features"]
    edit_json(
        more / "config.json", input_features={**inputs, "observation.images.camera3": inputs["observation.image"]}
    )
    loop = LeRobotLoop(more, new_memory().stream, overrides=["--empty_cameras=1"])

    ours = actions(more, empty_cameras="1")

    np.testing.assert_array_equal(ours, np.stack([loop.act(frame) for frame in frames(seed=1)]))
    assert np.abs(ours - actions(checkpoints["smolvla"])).max() > 0, "an empty camera is not the same as none"


PUSHT = Features(
    observation={"observation.image": ArraySpec((96, 96, 3), "uint8"), "observation.state": ArraySpec((2,), "float64")},
    action=ArraySpec((2,), "float32"),
)


def test_images_of_another_size_than_declared_need_a_word(act, actions_of_act):
    """LeRobot's ``make_policy`` declares 384 for PushT, whose images have 96, and compares nothing."""
    config = json.loads((act / "config.json").read_text())
    config["input_features"]["observation.image"]["shape"] = [3, 384, 384]
    (act / "config.json").write_text(json.dumps(config))
    checkpoint = load({"path": str(act)})
    with pytest.raises(ContractError, match=r"images of any size .* say so: --policy\.any_image_size=true$"):
        checkpoint.check_contract(PUSHT)

    source = load({"path": str(act), "any_image_size": "true"})
    source.check_contract(PUSHT)
    assert source.fingerprint()["overrides"] == {"any_image_size": True}
    assert checkpoint.fingerprint()["overrides"] == {}
    np.testing.assert_array_equal(actions(act, any_image_size=True), actions_of_act)
    assert "policy.any_image_size is 'maybe'; it is true or false" in refusal(act, ConfigError, any_image_size="maybe")


def test_threads_are_as_many_as_the_container_may_use(checkpoints, tmp_path, monkeypatch):
    """Its quota is in a file of its cgroup; the machine's cores are others' too."""
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    monkeypatch.setattr("proctor.policies.lerobot.policy.usable_cores", partial(usable_cores, quota))

    assert load({"path": str(checkpoints["act"]), "device": "cpu"}).open(1).n_slots == 1
