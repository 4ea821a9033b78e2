"""A file that a checkpoint says it holds lies in its directory; another model on disk may lie anywhere."""

import json
import os

import pytest
from lerobot_samples import edit_json, write_safetensors

from proctor.errors import CheckpointError
from proctor.policies.lerobot import load

OUTSIDE = ["../stats.safetensors", "/stats.safetensors", "a/../../stats.safetensors", "..", ".", ""]
OUTSIDE += ["..\\stats.safetensors", "C:stats.safetensors", "\\\\host\\stats.safetensors"]
NO_NAMES = ["a\0b", "\ud800.safetensors", None, 3, ["stats.safetensors"], {}]


def refusal(directory):
    with pytest.raises(CheckpointError) as raised:
        load({"path": str(directory)})
    assert raised.value.exit_code == 2
    message = str(raised.value)
    assert message.isprintable()
    message.encode()
    return message


def name_state(directory, name, side="policy_preprocessor.json"):
    steps = [{"registry_name": "normalizer_processor", "config": {}, "state_file": name}]
    (directory / side).write_text(json.dumps({"name": side, "steps": steps}))


@pytest.mark.parametrize("side", ["policy_preprocessor.json", "policy_postprocessor.json"])
@pytest.mark.parametrize("name", [*OUTSIDE, *NO_NAMES])
def test_a_state_that_lies_elsewhere_is_refused(bare, side, name):
    """Although the file is there."""
    write_safetensors(bare.parent / "stats.safetensors", {"mean": 1})
    name_state(bare, name, side)

    assert f"{side} names {name!a} as a file that lies beside it" in refusal(bare)


@pytest.mark.parametrize(
    "name", ["stats.safetensors", "folder/stats.safetensors", "./stats.safetensors", "ä.safetensors"]
)
def test_a_state_in_the_directory_is_read(bare, name):
    (bare / "folder").mkdir()
    write_safetensors(bare / name, {"mean": 1})
    name_state(bare, name)

    assert bare / name in load({"path": str(bare)}).checkpoint.files.all_files


def test_links_are_followed(bare, tmp_path):
    """Every file in the Hub's cache is one, and so is ``checkpoints/last``."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "a" / "pretrained_model"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    write_safetensors(bare / "stats.safetensors", {"mean": 1})
    name_state(bare, "stats.safetensors")
    for number, file in enumerate([*bare.iterdir()]):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(os.path.relpath(blobs / str(number), snapshot))
    (tmp_path / "last").symlink_to(snapshot.parent)

    assert load({"path": str(tmp_path / "last")}).checkpoint.type == "act"


@pytest.mark.parametrize("name", [*OUTSIDE[:4], *NO_NAMES])
@pytest.mark.parametrize("where", ["config.json", "policy_preprocessor.json", "the checkpoint itself"])
@pytest.mark.parametrize("folder", ["", "part"])
def test_a_list_of_weights_that_leads_elsewhere_is_refused(bare, tmp_path, where, folder, name):
    """The checkpoint's own, or that of a model on disk, or of a part of it."""
    model = bare if where == "the checkpoint itself" else tmp_path / "vlm"
    (model / folder).mkdir(parents=True, exist_ok=True)
    index = model / folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": name}}))
    if where == "config.json":
        edit_json(bare / where, vlm_model_name=str(model))
    elif where != "the checkpoint itself":
        edit_json(
            bare / where, steps=[{"registry_name": "tokenizer_processor", "config": {"of": [{"it": str(model)}]}}]
        )

    assert f"{index} names {name!a}" in refusal(bare)


def test_statistics_of_a_model_that_lie_elsewhere_are_refused(bare, tmp_path):
    """MolmoAct2 reads them where its model says."""
    (tmp_path / "config.json").write_text(json.dumps({"norm_stats_filename": "../norm_stats.json"}))
    edit_json(bare / "config.json", checkpoint_path=str(tmp_path))

    assert "config.json names '../norm_stats.json'" in refusal(bare)


def test_another_model_on_disk_may_lie_anywhere(bare, tmp_path):
    """And hold what it likes: what is no list of files is not looked at."""
    (tmp_path / "vlm").mkdir()
    for content in ("[1", "[]", '{"weight_map": []}', '{"weight_map": {"a": "b.safetensors"}}'):
        (tmp_path / "vlm" / "model.safetensors.index.json").write_text(content)
        edit_json(bare / "config.json", vlm_model_name=str(tmp_path / "vlm"), other="~nobody/\0", third="\ud800")

        assert load({"path": str(bare)}).checkpoint.type == "act"


@pytest.mark.parametrize(
    "name", ["config.json", "adapter_config.json", "policy_preprocessor.json", "model.safetensors.index.json"]
)
def test_a_file_too_deep_to_be_checked_is_refused(bare, name):
    """Who reads it later might get deeper."""
    (bare / name).write_text('{"steps": ' + "[" * 200_000)

    assert f"{name} is nested deeper than any configuration" in refusal(bare)


def test_an_adapter_names_no_module(bare):
    """PEFT would import it; what it says of the base's class PEFT does not use."""
    edit_json(bare / "config.json", use_peft=True)
    write_safetensors(bare / "adapter_model.safetensors", {"lora_A": 1})
    adapter = {"base_model_name_or_path": str(bare), "megatron_core": "megatron.core", "megatron_config": None}
    adapter |= {
        "auto_mapping": {"base_model_class": "ACTPolicy", "parent_library": "lerobot.policies.act.modeling_act"}
    }
    (bare / "adapter_config.json").write_text(json.dumps(adapter))
    assert load({"path": str(bare)}).checkpoint.files.is_adapter

    edit_json(bare / "adapter_config.json", megatron_core="antigravity", megatron_config={"a": 1})
    assert "for which PEFT would import 'antigravity'" in refusal(bare)
