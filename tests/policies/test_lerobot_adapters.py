"""PEFT adapters and checkpoints from before there were processor files."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from lerobot_samples import PLUGIN, Episode, LeRobotLoop, edit_json, frames, new_memory

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot import load
from proctor.policies.lerobot.files import EMBEDDED_NORMALISATION

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")


def actions(path, **fields):
    return Episode(load({"path": str(path), "device": "cpu", **fields}).open(1), frames(seed=1)).run()


@pytest.fixture(scope="module")
def adapter(checkpoints, tmp_path_factory):
    """A LoRA of the SmolVLA as LeRobot's training saves it, with weights that do something."""
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
    from peft import LoraConfig, get_peft_model

    base, directory = checkpoints["smolvla"], tmp_path_factory.mktemp("adapters") / "lora"
    policy = SmolVLAPolicy.from_pretrained(base)
    policy.name_or_path = str(base)
    targets = r".*lm_expert\..*\.(q|v)_proj"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        wrapped = get_peft_model(policy, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(directory)
    policy.config.use_peft = True
    policy.config._save_pretrained(directory)
    for file in base.glob("policy_*"):
        shutil.copy(file, directory)
    return directory


def test_an_adapter_gives_what_peft_gives_and_its_base_does_not(checkpoints, adapter):
    """``peft``'s own output, by LeRobot's loop."""
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
    from peft import PeftModel

    base = SmolVLAPolicy.from_pretrained(checkpoints["smolvla"])
    theirs = PeftModel.from_pretrained(base, str(adapter)).eval()
    loop = LeRobotLoop(adapter, new_memory().stream, policy=theirs)
    expected = np.stack([loop.act(frame) for frame in frames(seed=1)])

    ours = actions(adapter, use_peft=True)

    np.testing.assert_array_equal(ours, expected)
    assert np.abs(ours - actions(checkpoints["smolvla"])).max() > 1


def test_an_adapter_whose_base_is_elsewhere_is_given_it(adapter, checkpoints, tmp_path):
    """Its configuration names a path of the machine it was trained on."""
    moved = shutil.copytree(adapter, tmp_path / "moved")
    edit_json(moved / "adapter_config.json", base_model_name_or_path="/home/somebody/base")

    np.testing.assert_array_equal(actions(moved, base_path=str(checkpoints["smolvla"])), actions(adapter))


def rewritten(adapter, directory, change):
    """A copy of an adapter whose weights are those that ``change`` makes of each name and its place in the list."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, directory)
    weights = load_file(adapter / "adapter_model.safetensors")
    changed = {change(name, i): tensor for i, (name, tensor) in enumerate(sorted(weights.items()))}
    changed.pop(None, None)
    save_file(changed, directory / "adapter_model.safetensors")
    return directory


# PEFT warns of missing keys itself. pytest.warns gives that warning again from another module than the filter names.
@pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda name, _: name.replace("model.model", "model.policy", 1), "lacks weights that adapter_config.json and"),
        (lambda name, i: name if i else None, "lacks weights that adapter_config.json and its base ask for"),
    ],
)
def test_an_adapter_whose_weights_belong_nowhere_is_refused(adapter, tmp_path, change, sentence):
    """PEFT loads such an adapter, and the policy would run with the initial values of its layers."""
    directory = rewritten(adapter, tmp_path / "other", change)

    with pytest.raises(CheckpointError, match=sentence):
        load({"path": str(directory), "device": "cpu"}).open(1)
    with pytest.warns(UserWarning, match=sentence):
        first, again = (actions(directory, strict=False) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target_modules": r".*lm_expert\..*\.q_proj"}, "holds weights that no part of adapter_config.json and its"),
        ({"target_modules": ["nothing"]}, r"adapter_config.json does not describe an adapter that PEFT can put"),
        ({"peft_type": "os.system"}, r"adapter_config.json does not describe an adapter that PEFT can put"),
        ({"r": 8}, r"not describe an adapter that PEFT can put into this policy: size mismatch"),
    ],
)
def test_an_adapter_that_its_configuration_does_not_describe_is_refused(adapter, tmp_path, changes, sentence):
    directory = shutil.copytree(adapter, tmp_path / "other")
    edit_json(directory / "adapter_config.json", **changes)

    with pytest.raises(CheckpointError, match=sentence):
        load({"path": str(directory), "device": "cpu"}).open(1)


def make_old(checkpoint, directory):
    """The checkpoint as lerobot before 0.4 would have saved it: statistics among the weights, no processors."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, directory)
    weights = load_file(directory / "model.safetensors")
    sides = ("preprocessor", "normalize_inputs", "observation"), ("postprocessor", "unnormalize_outputs", "action")
    for side, name, kind in sides:
        steps = json.loads((directory / f"policy_{side}.json").read_text())["steps"]
        state = next(step["state_file"] for step in steps if step.get("state_file"))
        for key, tensor in load_file(directory / state).items():
            feature, _, statistic = key.rpartition(".")
            if feature.startswith(kind):
                weights[f"{name}.buffer_{feature.replace('.', '_')}.{statistic}"] = tensor
    for file in directory.glob("policy_*"):
        file.unlink()
    save_file(weights, directory / "model.safetensors")
    return directory


@pytest.mark.parametrize("name", ["act", "diffusion", "vqbet"])
def test_an_old_checkpoint_acts_as_its_successor(checkpoints, tmp_path, name):
    """Its normalisation is made of what lies among its weights."""
    old = make_old(checkpoints[name], tmp_path / "old")

    np.testing.assert_array_equal(actions(old), actions(checkpoints[name]))


@pytest.mark.parametrize("change", ["gone", "never filled in"])
def test_an_old_checkpoint_without_its_statistics_is_refused(checkpoints, tmp_path, change):
    """It would run, un-normalised, and score near zero."""
    from safetensors.torch import load_file, save_file

    old = make_old(checkpoints["act"], tmp_path / "old")
    weights = load_file(old / "model.safetensors")
    name = "normalize_inputs.buffer_observation_state.mean"
    assert name.startswith(EMBEDDED_NORMALISATION)
    weights[name] = torch.full_like(weights[name], torch.inf)
    if change == "gone":
        del weights[name]
    save_file(weights, old / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"of observation\.state, by which model\.safetensors normalises it"):
        load({"path": str(old)})


def test_a_policy_of_an_installed_package_is_found_by_its_name(checkpoints):
    """``lerobot_policy_…``, imported only when a checkpoint asks for it."""
    script = (
        "import sys; from proctor.policies.lerobot import load\n"
        f"policy = load({{'path': {str(checkpoints['wanderer'])!r}, 'device': 'cpu', 'hidden_dim': 8}}).open(1)\n"
        "print(type(policy._model).__name__, policy.n_action_steps, policy.randomness)"
    )
    environment = {"PYTHONPATH": str(PLUGIN), "PATH": ""}

    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["WandererPolicy", "1", "global"], done.stderr


def test_relative_actions_are_added_to_what_was_seen_last(checkpoints):
    """So such a policy looks at every step, as in LeRobot's loop."""
    for name in ("pi0-relative", "act-relative"):
        source = load({"path": str(checkpoints[name])})

        assert (source.n_action_steps, source.checkpoint.policy_type.randomness) == (1, "global")


def test_the_processors_decide_whether_actions_are_relative(bare):
    """A field that says otherwise is the mistake of who wrote it."""
    added = {"registry_name": "absolute_actions_processor", "config": {"enabled": True}}
    edit_json(bare / "config.json", use_relative_actions=True)

    for steps in ([], [added | {"config": {"enabled": False}}], [added | {"config": {}}]):
        edit_json(bare / "policy_postprocessor.json", steps=steps)
        with pytest.raises(CheckpointError, match=r"no enabled absolute_actions_processor, though config\.json has"):
            load({"path": str(bare)})
        assert load({"path": str(bare), "use_relative_actions": False}).n_action_steps == 5

    edit_json(bare / "policy_postprocessor.json", steps=[added])
    assert load({"path": str(bare)}).n_action_steps == 1
    with pytest.raises(ConfigError, match=r"use_relative_actions is False, but .* adds actions to the state"):
        load({"path": str(bare), "use_relative_actions": False})
