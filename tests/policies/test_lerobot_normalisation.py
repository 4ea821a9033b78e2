"""A checkpoint is evaluated only if what its policy wants normalised is normalised, which its files tell."""

import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from lerobot_samples import KINDS, edit_json

from proctor.errors import CheckpointError, ConfigError
from proctor.policies.lerobot import load
from proctor.policies.lerobot.normalisation import DEFAULT_MAPPINGS

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")

BEFORE, AFTER = "policy_preprocessor.json", "policy_postprocessor.json"
NORMALISERS = {
    "normalizer_processor",
    "unnormalizer_processor",
    "groot_n1_7_pack_inputs_v1",
    "groot_action_unpack_unnormalize_v2",
}


def copy_of(checkpoint, tmp_path):
    """A checkpoint whose small files a test may change."""
    directory = tmp_path / "copy"
    shutil.copytree(checkpoint, directory, ignore=shutil.ignore_patterns("model.safetensors", "vlm", "base"))
    (directory / "model.safetensors").symlink_to(checkpoint / "model.safetensors")
    return directory


@pytest.fixture
def act(checkpoints, tmp_path):
    return copy_of(checkpoints["act"], tmp_path)


def edit_normaliser(directory, name, change):
    """Change the step that normalises in one of the two pipelines."""
    steps = json.loads((directory / name).read_text())["steps"]
    (step,) = (step for step in steps if step["registry_name"] in NORMALISERS)
    change(step)
    edit_json(directory / name, steps=[step for step in steps if step])


def edit_statistics(directory, name, change):
    from safetensors.torch import load_file, save_file

    def edit(step):
        tensors = load_file(directory / step["state_file"])
        changed = {new: value for old in tensors for new, value in change(old, tensors[old].clone()).items()}
        save_file(changed, directory / step["state_file"])

    edit_normaliser(directory, name, edit)


def refusal(directory, error=CheckpointError, **fields):
    with pytest.raises(error) as raised:
        load({"path": str(directory), **fields})
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lerobot_makes_is_normalised(checkpoints, kind):
    """Each type of policy, each by the steps it has."""
    directory = checkpoints[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load({"path": str(directory)})


def test_the_mappings_that_a_config_json_without_one_stands_for_are_those_of_lerobot():
    """Of every type it has but GR00T; LeRobot 0.4 calls its reward models policies, too."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies import factory  # noqa: F401 - registers the types

    classes = {
        name: cls
        for name, cls in PreTrainedConfig.get_known_choices().items()
        if cls.__module__.startswith("lerobot.policies.") and name not in ("groot", "sarm", "reward_classifier")
    }
    defaults = {
        name: cls.__dataclass_fields__["normalization_mapping"].default_factory() for name, cls in classes.items()
    }

    assert {name: {key: mode.value for key, mode in default.items()} for name, default in defaults.items()} == {
        name: dict(DEFAULT_MAPPINGS[name]) for name in classes
    }
    assert "act" in classes


def without_step(step):
    step.clear()


def without_file(step):
    del step["state_file"]


def with_config(**changes):
    def change(step):
        step["config"] |= changes

    return change


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (BEFORE, without_step, "has no step that normalises observation.image, which the policy wants by mean and std"),
        (AFTER, without_step, "has no step that un-normalises action, which the policy wants by mean and std"),
        (BEFORE, without_file, "(its step normalizer_processor) holds no mean and std of observation.image"),
        (AFTER, without_file, "(its step unnormalizer_processor) holds no mean and std of action"),
        (BEFORE, with_config(features={}), "has no step that normalises observation.image"),
        (BEFORE, with_config(norm_map={}), "has no step that normalises observation.image"),
        (AFTER, with_config(norm_map={"ACTION": "IDENTITY"}), "has no step that un-normalises action"),
        (BEFORE, with_config(normalize_observation_keys=["observation.image"]), "normalises observation.state, which"),
        (AFTER, with_config(norm_map={"ACTION": "LOG"}), "un-normalises action by 'LOG', which is none of MEAN_STD, "),
        (AFTER, with_config(stats={"action": {"mean": [1, None], "std": [1, 1]}}), "a mean of action, by which"),
        (AFTER, with_config(stats={"actions": {"mean": [1, 2], "std": [1, 1]}}), "holds no mean and std of action"),
    ],
)
def test_a_step_that_is_missing_or_does_nothing(act, name, change, sentence):
    """On either side alone: the other one is whole."""
    edit_normaliser(act, name, change)

    message = refusal(act)
    assert sentence in message
    assert str(act / name) in message


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (BEFORE, lambda key, value: {f"so100.buffer.{key}": value}, "no mean and std of observation.image"),
        (AFTER, lambda key, value: {f"so100.buffer.{key}": value}, "no mean and std of action"),
        (AFTER, lambda key, value: {key.replace("action", "actions"): value}, "no mean and std of action"),
        (BEFORE, lambda key, value: {key.replace("on.image", "on.images.top"): value}, "std of observation.image"),
        (BEFORE, lambda _, __: {}, "no mean and std of observation.image, by which policy_preprocessor.json"),
        (AFTER, lambda key, value: {} if key == "action.std" else {key: value}, "holds no std of action"),
        (BEFORE, lambda key, value: {key: value * float("nan")}, "a mean of observation.image, by which policy_pre"),
        (AFTER, lambda key, value: {key: value / 0 if key == "action.std" else value}, "holds a std of action"),
        (
            AFTER,
            lambda key, value: {key: -value if key == "action.std" else value},
            "by which policy_postprocessor.json",
        ),
        (AFTER, lambda key, value: {key: torch.cat([value, value])}, "of shape (4,), while the feature has (2,)"),
        (BEFORE, lambda key, value: {key: value.flatten()[:2]}, "of shape (2,), while the feature has (3, 96, 96)"),
    ],
)
def test_statistics_that_are_missing_or_useless(act, name, change, sentence):
    """Under the keys of a data set, none at all, not finite, of another robot."""
    edit_statistics(act, name, change)

    message = refusal(act)
    assert sentence in message
    assert ".safetensors holds" in message


def test_statistics_that_are_out_of_order(act):
    """A minimum above its maximum turns what is normalised by it upside down, as a negative deviation does."""
    edit_normaliser(act, AFTER, without_file)
    edit_normaliser(act, AFTER, with_config(norm_map={"ACTION": "MIN_MAX"}, stats={"action": {"min": 2, "max": 1}}))
    edit_json(
        act / "config.json", normalization_mapping={"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MIN_MAX"}
    )

    assert "holds a min of action, by which policy_postprocessor.json un-normalises it, that is greater" in refusal(act)


@pytest.mark.parametrize(
    ("name", "feature"), [(BEFORE, "normalises observation.image"), (AFTER, "un-normalises action")]
)
def test_a_feature_that_is_normalised_twice(act, name, feature):
    steps = json.loads((act / name).read_text())["steps"]
    edit_json(act / name, steps=[*steps, *(step for step in steps if step["registry_name"] in NORMALISERS)])

    assert f"{feature} in 2 steps, one after the other; leave one" in refusal(act)


def test_the_sentence_says_how_to_run_what_was_trained_without(act):
    """Its option makes it so, and only what it names is left as it is."""
    edit_statistics(act, BEFORE, lambda key, value: {} if "image" in key else {key: value})
    message = refusal(act)
    option = message.partition("--policy.normalization_mapping='")[2].rstrip("'")

    load({"path": str(act), "normalization_mapping": option})
    assert json.loads(option) == {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}
    nothing = {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "IDENTITY"}
    assert "leaves ACTION as it is, but" in refusal(act, ConfigError, normalization_mapping=nothing)


def test_a_mode_that_is_not_the_configurations_needs_a_word(act):
    """LeRobot goes by the step, and says nothing."""
    edit_normaliser(act, AFTER, with_config(norm_map={"ACTION": "MIN_MAX"}))
    message = refusal(act)

    assert "un-normalises action by min and max (MIN_MAX), but" in message
    load({"path": str(act), "normalization_mapping": message.partition("mapping='")[2].rstrip("'")})


@pytest.mark.parametrize("mapping", [None, "absent"])
def test_a_configuration_without_a_mapping_has_that_of_its_type(act, mapping):
    """As LeRobot's classes have it: never un-normalised."""
    config = json.loads((act / "config.json").read_text())
    config["normalization_mapping"] = mapping
    if mapping:
        del config["normalization_mapping"]
    (act / "config.json").write_text(json.dumps(config))
    load({"path": str(act)})

    edit_normaliser(act, BEFORE, without_step)
    assert "has no step that normalises observation.image" in refusal(act)


@pytest.mark.parametrize(
    "change",
    [
        lambda key, value: {key: value * 0 if key.endswith("std") else value},
        lambda key, value: {key: value.flatten()},
        lambda key, value: {key: value.double()},
        lambda key, value: {key: value.bfloat16()},
        lambda key, value: {key: value.flatten()[0]},
        lambda key, value: {key: value, f"observation.other.{key}": value * float("nan")},
    ],
)
def test_what_lerobot_normalises_with_is_not_refused(act, change):
    """A standard deviation of zero, flat statistics of images, other dtypes, a number for all, what nobody wants."""
    for name in (BEFORE, AFTER):
        edit_statistics(act, name, change)

    load({"path": str(act)})


def test_statistics_in_the_step_itself_take_the_place_of_its_file(act):
    """As in LeRobot."""
    edit_normaliser(act, AFTER, without_file)
    edit_normaliser(act, AFTER, with_config(stats={"action": {"mean": [1, 2], "std": 3}}))

    load({"path": str(act)})


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (4,), (1, 2), (2, 2), (3, 1, 1), (2, 1, 1), (3, 8, 8), (8,)])
@pytest.mark.parametrize("key", ["observation.state", "observation.image"])
def test_shapes_are_taken_as_lerobots_step_takes_them(key, shape):
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.processor import NormalizerProcessorStep

    from proctor.policies.lerobot.normalisation import _broadcasts

    kind, size = (FeatureType.STATE, (2,)) if key.endswith("state") else (FeatureType.VISUAL, (3, 8, 8))
    step = NormalizerProcessorStep(
        {key: PolicyFeature(kind, size)},
        {kind: NormalizationMode.MEAN_STD},
        {key: {"mean": np.zeros(shape), "std": np.ones(shape)}},
    )
    if not hasattr(step, "_reshape_visual_stats") and len(shape) == 1:
        pytest.skip("LeRobot 0.4 has no flat statistics of images, and raises")
    value = torch.ones(4, *size)  # four in a batch, so that a leading dimension cannot pass for it
    try:
        fits = step._normalize_observation({key: value}, inverse=False)[key].shape == value.shape
    except RuntimeError:
        fits = False

    assert _broadcasts(shape, size) == fits


@pytest.mark.parametrize("change", [without_file, without_step])
@pytest.mark.parametrize("name", [BEFORE, AFTER])
def test_a_gr00t_normalises_in_steps_of_its_own(checkpoints, tmp_path, name, change):
    """Whatever its mapping says."""
    groot = copy_of(checkpoints["groot"], tmp_path)
    edit_normaliser(groot, name, change)

    message = refusal(groot)
    assert "holds no min and max of" in message or "has no step that normalises" in message


def test_what_a_step_declares_counts_also_where_the_mapping_is_silent(checkpoints, tmp_path):
    """LingBot-VA's mapping leaves everything as it is; its actions are un-normalised by quantiles."""
    lingbot = copy_of(checkpoints["lingbot_va"], tmp_path)
    edit_normaliser(lingbot, AFTER, without_file)

    assert "holds no q01 and q99 of action" in refusal(lingbot)


def test_a_camera_that_lerobot_calls_empty_needs_no_statistics(act):
    """No data set has any of it."""
    config = json.loads((act / "config.json").read_text())
    empty = {"observation.images.empty_camera_0": {"type": "VISUAL", "shape": [3, 96, 96]}}
    edit_json(act / "config.json", input_features={**config["input_features"], **empty}, empty_cameras=1)

    load({"path": str(act)})


def test_a_policy_of_another_package_may_normalise_in_its_own_way(checkpoints, tmp_path):
    """It is said that nobody knows; a normaliser of LeRobot's without statistics is refused."""
    wanderer = copy_of(checkpoints["wanderer"], tmp_path)
    edit_normaliser(wanderer, AFTER, without_file)
    assert "holds no mean and std of action" in refusal(wanderer)

    edit_normaliser(wanderer, AFTER, without_step)
    with pytest.warns(UserWarning, match=r"un-normalises action, .* whether its own package does it otherwise"):
        load({"path": str(wanderer)})


def test_the_command_ends_before_anything_has_started(act):
    """Status 2 and one sentence; no torch, no lerobot, no worker."""
    edit_statistics(act, BEFORE, lambda key, value: {f"so100.buffer.{key}": value})
    script = (
        "import sys; from proctor.cli import main\n"
        f"status = main(['eval', '--policy.path={act}', '--env.type=pusht'])\n"
        "print(status, sorted({'torch', 'lerobot', 'multiprocessing.popen_fork'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=act)

    assert done.stdout == "2 []\n"
    assert done.stderr.count("\n") == 1
    assert "holds no mean and std of observation.image" in done.stderr
