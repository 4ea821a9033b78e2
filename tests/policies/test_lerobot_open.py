"""Opening a checkpoint: what only lerobot can know, and what it must not do to the terminal or to /tmp."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from lerobot_samples import edit_json

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot import load

pytest.importorskip("lerobot")


@pytest.fixture
def copy(checkpoints, tmp_path):
    """A copy of the ACT checkpoint that a test may break."""
    return shutil.copytree(checkpoints["act"], tmp_path / "copy")


def rewrite_weights(directory, change):
    from safetensors.torch import load_file, save_file

    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors")


def test_a_missing_weight_is_an_error_unless_allowed(copy):
    """LeRobot would run with random numbers in its place and say so in the log."""
    rewrite_weights(copy, lambda weights: weights.pop("model.action_head.weight"))

    with pytest.raises(CheckpointError, match=r"lacks weights .*: model\.action_head\.weight \(1 in all\)"):
        load({"path": str(copy)}).open(1)
    with pytest.warns(UserWarning, match=r"lacks weights .*: model\.action_head\.weight"):
        first, again = (load({"path": str(copy), "strict": "false"}).open(1) for _ in range(2))
    weights = [policy._model.state_dict()["model.action_head.weight"] for policy in (first, again)]
    assert weights[0].equal(weights[1]), "what stands in its place is the same every time"


def test_a_weight_too_many_is_an_error(copy):
    """It belongs to another network than the configuration describes."""
    rewrite_weights(copy, lambda weights: weights.update({"model.other": weights["model.action_head.bias"].clone()}))

    with pytest.raises(CheckpointError, match=r"no part of its config\.json asks for: model\.other"):
        load({"path": str(copy)}).open(1)


def test_a_weight_of_another_shape_is_an_error(copy):
    """Named, with both shapes, in one line."""
    with pytest.raises(CheckpointError, match=r"of another shape than config\.json: size mismatch") as raised:
        load({"path": str(copy), "dim_model": 32}).open(1)

    assert "\n" not in str(raised.value)


def test_a_type_that_lerobot_does_not_know(copy):
    """Nor any package installed beside it."""
    edit_json(copy / "config.json", type="octopus")

    with pytest.raises(CheckpointError, match=r"is a 'octopus' policy, which lerobot [\d.]+ does not know"):
        load({"path": str(copy)}).open(1)


def test_a_field_that_lerobot_does_not_know_is_refused_unless_it_is_off(copy):
    """A checkpoint of a newer lerobot loads as long as it uses nothing new."""
    edit_json(copy / "config.json", wings=None, claws=False)
    load({"path": str(copy)}).open(1)

    edit_json(copy / "config.json", wings=2)
    with pytest.raises(CheckpointError, match=r"lerobot [\d.]+ does not know \(wings\)"):
        load({"path": str(copy)}).open(1)


def test_an_unknown_field_gets_the_nearest_name(checkpoints):
    """Among the fields of the configuration class."""
    with pytest.raises(ConfigError, match=r"Unknown field policy\.n_action_step .*Did you mean 'n_action_steps'"):
        load({"path": str(checkpoints["act"]), "n_action_step": 5})


def test_a_value_that_only_the_configuration_class_can_judge(checkpoints):
    """``temporal_ensemble_coeff`` is null in the file, which says nothing about its type."""
    with pytest.raises(ConfigError, match=r"policy\.temporal_ensemble_coeff is 'slow': .*float"):
        load({"path": str(checkpoints["act"]), "temporal_ensemble_coeff": "slow"}).open(1)


def test_a_value_the_configuration_class_rejects(checkpoints):
    """Its own sentence is passed on."""
    with pytest.raises(ConfigError, match=r"does not accept policy\.vision_backbone=vgg: .*ResNet"):
        load({"path": str(checkpoints["act"]), "vision_backbone": "vgg"}).open(1)


def test_a_value_of_the_checkpoints_own_that_the_configuration_class_rejects(copy):
    """The class says what is wrong, and not always where."""
    edit_json(copy / "config.json", n_obs_steps=["a"])

    with pytest.raises(CheckpointError, match=r"config\.json is not valid: n_obs_steps is \['a'\]: "):
        load({"path": str(copy)}).open(1)


def test_a_device_that_is_not_there_is_refused(checkpoints):
    """LeRobot would silently take another."""
    with pytest.raises(ConfigError, match=r"policy\.device is cuda:99, which this machine does not have"):
        load({"path": str(checkpoints["act"]), "device": "cuda:99"}).open(1)


def test_a_processor_that_cannot_be_built_is_refused(copy):
    """A step that does not take what it was saved with, say."""
    file = copy / "policy_postprocessor.json"
    step = {"registry_name": "device_processor", "config": {"wings": 2}}
    edit_json(file, steps=[*json.loads(file.read_text())["steps"], step])

    with pytest.raises(CheckpointError, match=r"processors of .* cannot be built: .*wings"):
        load({"path": str(copy)}).open(1)


@pytest.mark.parametrize(
    ("needed", "part"),
    [
        ("smolvla/vlm", "policy_preprocessor.json"),
        ("evo1/vlm", "config.json"),
        ("groot/vlm", "policy_preprocessor.json"),
        ("groot/base", "config.json"),
        ("wall_x/vlm", "config.json"),
        ("lingbot_va/wan", "config.json"),
        ("fastwam/wan/tokenizer", "config.json"),
    ],
)
def test_what_would_have_to_be_downloaded_is_named(checkpoints, tmp_path, monkeypatch, needed, part):
    """What a policy is built around, or was fine-tuned from, and its tokenizer, if they are not in the cache."""
    name, _, inner = needed.partition("/")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    copy = shutil.copytree(checkpoints[name], tmp_path / "copy")
    vlm = str(checkpoints[name] / inner)
    assert vlm in (copy / part).read_text()
    (copy / part).write_text((copy / part).read_text().replace(vlm, "somebody/vlm"))

    with pytest.raises(
        CheckpointError, match=r"built around somebody/vlm of the .* hf download somebody/vlm$"
    ) as raised:
        load({"path": str(copy)}).open(1)

    assert "\n" not in str(raised.value)


def test_a_policy_knows_its_checkpoint(checkpoints):
    """Contract, provenance and the engine's choices."""
    source = load({"path": str(checkpoints["act"]), "device": "cpu"})
    act = source.open(1)
    diffusion = load({"path": str(checkpoints["diffusion"])}).open(1)

    assert (act.n_action_steps, act.look_offsets, act.randomness, act.batch_size) == (5, (0,), "none", 1)
    assert (diffusion.n_action_steps, diffusion.look_offsets, diffusion.randomness) == (8, (-1, 0), "per_row")
    assert "diffusers" in diffusion.distributions
    assert act.fingerprint() == source.fingerprint()
    assert load({"path": str(checkpoints["act"])}).open(1).fingerprint()["device"] is not None


def test_opening_from_an_offline_cache_prints_nothing_and_leaves_nothing_behind(checkpoints, tmp_path):
    """In a fresh interpreter, imports included. Before opening, neither torch nor lerobot is imported."""
    revision, temporary = "a" * 40, tmp_path / "tmp"
    repository = tmp_path / "home" / "hub" / "models--somebody--act-pusht"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    shutil.copytree(checkpoints["act"], repository / "snapshots" / revision)
    temporary.mkdir()
    script = (
        "import sys; from proctor.policies.lerobot import load\n"
        "source = load({'path': 'somebody/act-pusht', 'device': 'cpu'})\n"
        "assert not {'torch', 'lerobot'} & set(sys.modules)\n"
        "assert source.checkpoint.files.directory.name == 'a' * 40\n"
        "source.open(1)\n"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary)}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(temporary.iterdir()) == []


def test_the_processors_renaming_is_kept_unless_another_is_given(copy):
    """A checkpoint that was trained with one needs it."""
    file = copy / "policy_preprocessor.json"
    steps = json.loads(file.read_text())["steps"]
    steps[0]["config"]["rename_map"] = {"observation.images.top": "observation.image"}
    edit_json(file, steps=steps)

    assert load({"path": str(copy)}).checkpoint.rename_map == {"observation.images.top": "observation.image"}
    assert load({"path": str(copy)}, {"a": "b"}).checkpoint.rename_map == {"a": "b"}
