"""Loading: what is refused, and with which sentence, before torch, lerobot or a worker is started."""

import json
import os
import re
import subprocess
import sys

import pytest
from lerobot_samples import edit_json, write_safetensors

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot import load

pytest.importorskip("lerobot")


def refusal(path, error=CheckpointError, **fields):
    with pytest.raises(error) as raised:
        load({"path": str(path), **fields})
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_checkpoint_knows_what_the_engine_must_know(bare):
    """Also as the directory of a training step, and with dashes in the names of fields."""
    checkpoint = load({"path": str(bare.parent), "n-action-steps": "4", "device": "cpu"}).checkpoint

    assert (checkpoint.type, checkpoint.n_action_steps, checkpoint.chunk_size) == ("act", 4, 12)
    assert checkpoint.look_offsets == (0,)


def test_a_diffusion_policy_looks_back(bare):
    """As far as its number of observation steps, and executes what remains of the horizon at most."""
    edit_json(bare / "config.json", type="diffusion", n_obs_steps=3, horizon=16)
    checkpoint = load({"path": str(bare)}).checkpoint

    assert (checkpoint.look_offsets, checkpoint.chunk_size) == ((-2, -1, 0), 14)
    assert "at most 14 steps" in refusal(bare, ConfigError, n_action_steps=15)


def test_the_fingerprint_follows_every_file_and_override(bare):
    """And nothing else: not where the checkpoint lies."""

    def fingerprint(**fields):
        return load({"path": str(bare), **fields}).fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    assert fingerprint(n_action_steps=3) != before
    assert fingerprint(n_action_steps="5", type="act") == before, "the value it has anyway"
    edit_json(bare / "policy_postprocessor.json", name="changed")
    assert fingerprint()["sha256"] != before["sha256"]


def test_a_checkpoint_is_written_down_as_what_a_link_led_to(bare, tmp_path, monkeypatch):
    """``checkpoints/last`` moves on; a relative path is another one elsewhere. Told so, it is the same checkpoint."""
    step = tmp_path / "checkpoints" / "000010"
    step.mkdir(parents=True)
    bare.rename(step / "pretrained_model")
    (tmp_path / "checkpoints" / "last").symlink_to("000010")
    monkeypatch.chdir(tmp_path)

    checkpoint = load({"path": "checkpoints/last"})

    assert checkpoint.pinned == {"path": str(step.resolve() / "pretrained_model")}
    (tmp_path / "checkpoints" / "last").unlink()
    monkeypatch.chdir("/")
    assert load(dict(checkpoint.pinned)).fingerprint() == checkpoint.fingerprint()


def test_a_checkpoint_of_the_hub_is_written_down_as_its_commit(bare, tmp_path, monkeypatch):
    """Which a revision names today."""
    commit = tmp_path / "snapshots" / "0123abc"
    commit.parent.mkdir()
    bare.rename(commit)
    asked = []
    monkeypatch.setattr(
        "proctor.policies.lerobot.location.snapshot_of", lambda name, at, **_: asked.append((name, at)) or commit
    )
    monkeypatch.chdir("/")

    first = load({"path": "user/act", "revision": "main"})
    again = load({"path": "user/act", "revision": "main", **first.pinned})

    assert first.pinned == again.pinned == {"path": "user/act@0123abc", "revision": None}
    assert asked == [("user/act", "main"), ("user/act", "0123abc")]


def test_a_missing_path(bare):
    with pytest.raises(ConfigError, match=r"policy\.path is missing"):
        load({"device": "cpu"})
    assert "the directory does not exist" in refusal("/nowhere/at/all")
    assert "is a file" in refusal(bare / "config.json")
    assert "is for checkpoints from the Hub" in refusal(bare, ConfigError, revision="main")


def test_a_repository_that_is_not_in_the_cache_without_a_network(tmp_path):
    """In an interpreter of its own, because huggingface_hub reads its environment once."""
    script = "from proctor.policies.lerobot import load; load({'path': 'somebody/nothing@v1'})"
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert "CheckpointError: Cannot get the checkpoint somebody/nothing" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("config.json", "holds no config.json; policy.path is the directory"),
        ("model.safetensors", "holds no model.safetensors"),
        ("policy_preprocessor.json", "policy_preprocessor.json is missing; without it"),
        ("policy_postprocessor.json", "policy_postprocessor.json is missing; without it"),
    ],
)
def test_a_missing_file(bare, name, sentence):
    (bare / name).unlink()

    assert sentence in refusal(bare)


@pytest.mark.parametrize("name", ["config.json", "policy_preprocessor.json"])
def test_a_broken_json(bare, name):
    (bare / name).write_text('{"type": "act",')

    assert f"{name} is not valid JSON" in refusal(bare)


def test_weights_cut_short_or_of_another_kind(bare):
    """An interrupted copy, a page of HTML, a pointer of Git LFS."""
    weights = bare / "model.safetensors"
    whole = weights.read_bytes()

    weights.write_bytes(whole[:-1])
    assert f"has {len(whole) - 1} bytes where its header announces {len(whole)}" in refusal(bare)
    deep = b"[" * 100_000
    for content in (
        *(b"", whole[:20], b"<!DOCTYPE html><title>404</title>", (2**62).to_bytes(8, "little")),
        *(len(deep).to_bytes(8, "little") + deep, len(deep).to_bytes(8, "little") + deep.replace(b"[", b'{"a":')),
    ):
        weights.write_bytes(content)
        assert "is not a whole safetensors file" in refusal(bare)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS pointer" in refusal(bare)


@pytest.mark.parametrize("offsets", [[0, 8], [8, 16], [-4, 8], [4, 0], [4.0, 8.0], ["a", "b"], [4], None, [4, 10**40]])
def test_tensors_that_do_not_follow_one_another(bare, offsets):
    """The safetensors library itself would refuse them, once the simulators have started."""
    vector = {"dtype": "F32", "shape": [1]}
    header = json.dumps({"a": vector | {"data_offsets": [0, 4]}, "b": vector | {"data_offsets": offsets}}).encode()
    (bare / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))

    assert re.search("is not a whole safetensors file|bytes where its header announces", refusal(bare))


@pytest.mark.parametrize("name", ["config.json", "policy_preprocessor.json"])
def test_a_pipe_is_not_waited_for(bare, name):
    (bare / name).unlink()
    os.mkfifo(bare / name)

    assert name in refusal(bare)


def test_a_missing_or_broken_state_of_a_processor(bare):
    step = {"registry_name": "normalizer_processor", "config": {}, "state_file": "normalizer.safetensors"}
    edit_json(bare / "policy_preprocessor.json", steps=[step])
    assert "normalizer.safetensors cannot be read: No such file" in refusal(bare)

    os.mkfifo(bare / "normalizer.safetensors")
    assert "normalizer.safetensors cannot be read: it is not a regular file." in refusal(bare)

    (bare / "normalizer.safetensors").unlink()
    (bare / "normalizer.safetensors").write_bytes(b"12345678")
    assert "normalizer.safetensors is not a whole" in refusal(bare)

    edit_json(bare / "policy_preprocessor.json", steps=[{**step, "state_file": "x" * 5000}])
    assert "cannot be read: File name too long" in refusal(bare)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "policy.pkl"])
def test_pickles_are_refused(bare, name):
    (bare / "model.safetensors").rename(bare / name)

    assert f"{name}, a pickle, which can run any code" in refusal(bare)


def test_an_adapters_weights_are_no_pickle_either(bare):
    """Older PEFT wrote ``adapter_model.bin``."""
    edit = {"base_model_name_or_path": str(bare), "peft_type": "LORA"}
    (bare / "adapter_config.json").write_text(json.dumps(edit))
    (bare / "adapter_model.bin").touch()

    assert "adapter_model.bin, a pickle, which can run any code when it is loaded; only adapter_model.saf" in refusal(
        bare
    )


def test_an_old_checkpoint_with_its_normalisation_inside_needs_no_processors(bare):
    """They are made of it when the checkpoint is opened."""
    write_safetensors(bare / "model.safetensors", {"normalize_inputs.buffer_observation_state.mean": 2})
    (bare / "policy_preprocessor.json").unlink()

    assert load({"path": str(bare)}).checkpoint.files.preprocessor is None


def adapter_of(base, directory):
    """A PEFT adapter's files, with hardly anything in them."""
    directory.mkdir()
    for name in ("config.json", "policy_preprocessor.json", "policy_postprocessor.json"):
        (directory / name).write_bytes((base / name).read_bytes())
    edit_json(directory / "config.json", use_peft=True)
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    write_safetensors(directory / "adapter_model.safetensors", {"base_model.model.lora_A.weight": 4})
    return directory


def test_an_adapter_is_found_together_with_its_base(bare, tmp_path):
    """Both count for the fingerprint; ``--policy.use_peft`` must agree."""
    adapter = adapter_of(bare, tmp_path / "adapter")
    source = load({"path": str(adapter), "use_peft": "true"})

    assert source.checkpoint.files.is_adapter
    assert source.checkpoint.files.weights == (bare / "model.safetensors",)
    assert "peft" in source.distributions
    before = source.fingerprint()["sha256"]
    write_safetensors(bare / "model.safetensors", {"weight": 5})
    assert load({"path": str(adapter)}).fingerprint()["sha256"] != before
    assert "policy.use_peft is True, but" in refusal(bare, ConfigError, use_peft=True)
    assert "is a PEFT adapter" in refusal(adapter, ConfigError, use_peft=False)


def test_an_adapter_without_its_base(bare, tmp_path):
    adapter = adapter_of(bare, tmp_path / "adapter")

    for base, sentence in (
        (
            str(tmp_path / "gone"),
            f"adapter_config.json names {tmp_path / 'gone'} as base_model_name_or_path (There is no",
        ),
        ("", "adapter_config.json has no base_model_name_or_path"),
        (None, "adapter_config.json has no base_model_name_or_path"),
    ):
        edit_json(adapter / "adapter_config.json", base_model_name_or_path=base)
        message = refusal(adapter)
        assert sentence in message
        assert message.endswith("--policy.base_path=<directory or Hub id>.")
        files = load({"path": str(adapter), "base_path": str(bare)}).checkpoint.files
        assert files.weights == (bare / "model.safetensors",)
    assert "policy.base_path is the base of a PEFT adapter, but" in refusal(bare, ConfigError, base_path=str(bare))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"type": None}, "names no policy type, so it is an older LeRobot's or another library's; if"),
        ({"input_features": {}}, "has no input_features"),
        ({"chunk_size": None}, "chunk_size of config.json is None; it must be a whole number, at least 1 and at most "),
        ({"chunk_size": 10**30}, "chunk_size of config.json is 1000000000000000000000000000000; it must be"),
        ({"empty_cameras": 10**30}, "it must be a whole number, at least 0 and at most 100"),
        ({"empty_cameras": "two"}, "empty_cameras of config.json is 'two'; it must be a whole number"),
        *(({"input_features": value}, "of config.json is") for value in (["a"], "x", 1.5, True)),
        ({"output_features": {"effort": {"type": "ACTION", "shape": [2]}}}, "holds 'effort'; it must hold action"),
        ({"type": "groot", "use_relative_actions": True}, "a 'groot' policy with use_relative_actions; LeRobot"),
    ],
)
def test_a_configuration_that_cannot_be_evaluated(bare, changes, sentence):
    edit_json(bare / "config.json", **changes)

    assert sentence in refusal(bare)


@pytest.mark.parametrize(
    "feature",
    [
        *(None, "x", 3, ["a"], {}, {"shape": [2]}, {"type": "STATE"}, {"type": ["STATE"], "shape": [2]}),
        *({"type": "STATE", "shape": shape} for shape in (None, 2, "2", {"a": 1}, ["2"], [True], [-2], [10**30])),
        *({"type": "VISUAL", "shape": shape} for shape in ([], [96, 96], [1, 3, 96, 96])),
    ],
)
def test_a_feature_that_is_described_otherwise(bare, feature):
    """By the checkpoint, or by the user."""
    features = {"observation.state": feature}
    option = refusal(bare, ConfigError, input_features=json.dumps(features))
    edit_json(bare / "config.json", input_features=features)

    assert "input_features of config.json describes 'observation.state' as" in refusal(bare)
    assert option.startswith("policy.input_features describes 'observation.state' as")


@pytest.mark.parametrize("rename_map", [["a"], "x", 3, {"observation.image": ["a"]}])
def test_a_renaming_that_names_nothing(bare, rename_map):
    steps = [{"registry_name": "rename_observations_processor", "config": {"rename_map": rename_map}}]
    edit_json(bare / "policy_preprocessor.json", steps=steps)
    edit_json(bare / "config.json", normalization_mapping={})

    assert "policy_preprocessor.json has the rename_map" in refusal(bare)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"n_action_steps": 13}, "policy.n_action_steps is 13, but at most 12 steps"),
        ({"n_action_steps": 0}, "policy.n_action_steps is 0; it must be a whole number, at least 1"),
        ({"n_action_steps": "many"}, "policy.n_action_steps is 'many'; it must be a whole number"),
        ({"n_action_steps": "2.5"}, "policy.n_action_steps is 2.5; it must be a whole number"),
        ({"dropout": "true"}, "policy.dropout is True; it must be a number"),
        ({"strict": "maybe"}, "policy.strict is 'maybe'; it is true or false"),
        ({"compile": "perhaps"}, "policy.compile is 'perhaps'; it is true or false"),
        ({"autocast": "float64"}, "policy.autocast is 'float64'; it is bfloat16 or float16"),
        ({"use_amp": "maybe"}, "policy.use_amp is 'maybe'; it must be true or false"),
        ({"type": "diffusion"}, "policy.type is 'diffusion', but "),
        ({"device": "gpu"}, "policy.device is 'gpu'; it is cpu, cuda"),
        (
            {"temporal_ensemble_coeff": 0.01, "n_action_steps": 5},
            "policy.n_action_steps is 5; it must be 1, because a temporal ensemble predicts at every step",
        ),
    ],
)
def test_an_override_that_cannot_be(bare, fields, sentence):
    assert sentence in refusal(bare, ConfigError, **fields)


def test_temporal_ensembling_needs_no_second_flag(bare):
    """It looks at every step, whatever the checkpoint says."""
    assert load({"path": str(bare), "temporal_ensemble_coeff": "0.01"}).n_action_steps == 1
