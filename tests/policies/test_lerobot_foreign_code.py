"""A checkpoint is data: whatever it is built around, its code does not run and its pickles are not read."""

import importlib.util
import json
import os
import pickle
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from lerobot_samples import edit_json

from proctor.errors import CheckpointError
from proctor.policies.lerobot import load

pytest.importorskip("lerobot")

torch = pytest.importorskip("torch")

from proctor.policies.lerobot.foreign_code import no_foreign_code  # noqa: E402 - after what it needs
from proctor.policies.lerobot.policy_types import POLICY_TYPES  # noqa: E402 - likewise

FILES = ["config.json", "policy_preprocessor.json"]
AUTO_CLASSES = ["Config", "Model", "ModelForImageTextToText", "ModelForCausalLM", "Processor", "ImageProcessor"]
AUTO_CLASSES += ["VideoProcessor", "FeatureExtractor"]
DESCRIBED_IN = ["config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"]


class Touch:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return shutil.copyfile, (os.devnull, str(self.file))


def bring_code(folder, canary):
    """Have a model's folder bring Python files for each of its parts, which would make the canary."""
    (folder / "evil.py").write_text(
        f"open({str(canary)!r}, 'w').close()\n"
        "class Evil:\n"
        "    from_pretrained = register_for_auto_class = classmethod(lambda cls, *a, **k: cls())\n"
    )
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    names = {f"Auto{name}": "evil.Evil" for name in AUTO_CLASSES} | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    for file in {folder / name for name in DESCRIBED_IN if (folder / name).is_file()}:
        edit_json(file, auto_map=names)


def model_of_code(folder, canary):
    """A model that consists of Python files alone."""
    folder.mkdir()
    for name in DESCRIBED_IN:
        (folder / name).write_text("{}")
    bring_code(folder, canary)
    return str(folder)


def bring_pickles(folder, canary):
    """Have a model's folder hold its weights as pickles, which would make the canary."""
    for weights in [*folder.rglob("*.safetensors")]:
        weights.unlink()
        name = "diffusion_pytorch_model.bin" if weights.name.startswith("diffusion") else "pytorch_model.bin"
        torch.save({"weight": Touch(canary)}, weights.with_name(name))


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def copy_of(checkpoints, tmp_path):
    """A copy of a checkpoint, also of what it is built around, that a test may break."""

    def make(name):
        copy = shutil.copytree(checkpoints[name], tmp_path / "copy")
        for file in copy.rglob("*.json"):
            file.write_text(file.read_text().replace(str(checkpoints[name]), str(copy)))
        return copy

    return make


def refusal(directory, **fields):
    with pytest.raises(CheckpointError) as raised:
        load({"path": str(directory), **fields}).open(1)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


BUILT_AROUND = {
    **dict.fromkeys(("smolvla", "pi0", "pi05", "pi0_fast", "eo1", "evo1", "vla_jepa", "wall_x", "xvla"), ("vlm",)),
    "groot": ("vlm", "base"),
    "dit": ("clip", "clip-vision"),
    "molmoact2": ("vlm",),
    "lingbot_va": ("wan/vae", "wan/text_encoder", "wan/tokenizer"),
    **dict.fromkeys(("act", "diffusion", "vqbet", "tdmpc", "actor", "fastwam"), ()),
}
"""Checkpoints of every type, and the folders of the models that each is built around. FastWAM's are LingBot-VA's."""


def bring_all_sorts(folder, canary):
    """Have a checkpoint bring, besides what is its own, Python files and pickles that would make the canary."""
    for name in ("evil.py", "__init__.py", "modeling.py", "sitecustomize.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(canary)!r}, 'w').close()\n")
    for name in ("pytorch_model.bin", "model.pt", "model.pkl", "optimizer.bin", "training_state.pth"):
        torch.save({"weight": Touch(canary)}, folder / name)


@pytest.mark.parametrize("name", BUILT_AROUND)
def test_a_model_that_could_bring_code_is_loaded_without_it(copy_of, canary, name):
    """LeRobot or transformers implements it: the code it brings besides is not needed, nor is it in the checkpoint."""
    copy = copy_of(name)
    for folder in BUILT_AROUND[name]:
        bring_code(copy / folder, canary)
    bring_all_sorts(copy, canary)

    load({"path": str(copy)}).open(1)

    assert not canary.exists()


def test_no_type_of_policy_is_left_out(checkpoints):
    """SAC is the old name of what LeRobot calls a Gaussian actor."""
    types = {json.loads((checkpoints[name] / "config.json").read_text())["type"] for name in BUILT_AROUND}

    assert types | {"sac", "gaussian_actor"} == set(POLICY_TYPES)


def a_step(**config):
    return {"registry_name": "action_tokenizer_processor", "config": config}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("act", "action_tokenizer_name"),
        ("actor", "vision_encoder_name"),
        ("pi0_fast", "text_tokenizer_name"),
        ("pi0", "tokenizer_name"),
        ("smolvla", "vlm_model_name"),
        ("evo1", "vlm_model_name"),
        ("wall_x", "pretrained_name_or_path"),
        ("xvla", "tokenizer_name"),
        ("groot", "model_name"),
        ("fastwam", "tokenizer_model_id"),
    ],
)
def test_a_model_that_is_nothing_but_code_is_refused(copy_of, tmp_path, canary, name, field):
    """Also where LeRobot itself consents, in a literal or a default; the way on is named."""
    copy, model = copy_of(name), model_of_code(tmp_path / "model", canary)
    config, preprocessor = (json.loads((copy / file).read_text()) for file in FILES)
    if name == "act":
        preprocessor["steps"].append(a_step(action_tokenizer_name=model))
    for fields in (config, *(step["config"] for step in preprocessor["steps"])):
        fields.update({field: model} if field in fields else {})
    for file, content in zip(FILES, (config, preprocessor), strict=True):
        (copy / file).write_text(json.dumps(content))

    assert "model, which is Python code or comes with it" in (message := refusal(copy))
    assert message.endswith("give --trust_remote_code=true.")
    assert not canary.exists()


def test_the_user_may_consent(copy_of, checkpoints, tmp_path, canary):
    """As for an environment's code: then it is as it was."""
    copy = copy_of("act")
    step = a_step(
        action_tokenizer_name=model_of_code(tmp_path / "model", canary),
        paligemma_tokenizer_name=str(checkpoints["smolvla"] / "vlm"),
    )
    preprocessor = json.loads((copy / "policy_preprocessor.json").read_text())
    edit_json(copy / "policy_preprocessor.json", steps=[*preprocessor["steps"], step])

    load({"path": str(copy)}, trust_remote_code=True).open(1)

    assert canary.exists()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("dit", "clip"),
        ("dit", "clip-vision"),
        ("evo1", "vlm"),
        ("vla_jepa", "vlm"),
        ("groot", "base"),
        ("lingbot_va", "wan/text_encoder"),
        ("lingbot_va", "wan/vae"),
    ],
)
def test_a_model_whose_weights_are_pickles_is_refused(copy_of, canary, name, folder):
    """Not even as tensors only: the file is named."""
    copy = copy_of(name)
    bring_pickles(copy / folder, canary)

    assert f"{folder}/" in (message := refusal(copy))
    assert "model.bin, a pickle, which can run any code" in message
    assert not canary.exists()


def run_file(file):
    """Execute a Python file as importing it would."""
    spec = importlib.util.spec_from_file_location("somebody", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def attempts(folder, canary):
    """Ways in which a library could run what a checkpoint brings, each with a word of its refusal."""
    (folder / "somebody.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    np.save(folder / "array.npy", np.array([Touch(canary)], object))
    torch.save(Touch(canary), folder / "weights.bin")
    return {
        "somebody.py": lambda: run_file(folder / "somebody.py"),
        "shutil.copyfile": lambda: pickle.loads(pickle.dumps(Touch(canary))),
        "numpy": lambda: np.load(folder / "array.npy", allow_pickle=True),
        "weights.bin": lambda: torch.load(folder / "weights.bin", weights_only=False),
    }


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Where libraries keep Python files that they download."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "lerobot"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize(
    ("where", "word"),
    [
        *((folder, "somebody.py") for folder in ("modules", "lerobot", "torch/hub", "hub/models--a--b")),
        *(("anywhere", word) for word in ("shutil.copyfile", "numpy", "weights.bin")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*unclosed file|Exception ignored in.*FileIO")  # what the pickles open
def test_no_downloaded_code_runs_and_no_pickle_is_read(downloads, canary, where, word):
    """Whichever library asks, and also if it goes on without; in another thread, and afterwards, all is as ever."""
    folder = downloads / where
    folder.mkdir(parents=True)
    attempt = attempts(folder, canary)[word]

    with pytest.raises(CheckpointError, match=word), no_foreign_code(downloads), suppress(Exception):
        attempt()
    assert not canary.exists()

    with no_foreign_code(downloads), ThreadPoolExecutor() as elsewhere:
        elsewhere.submit(attempt).result()
    assert canary.exists()
    canary.unlink()
    attempt()
    assert canary.exists()


def test_what_is_installed_may_be_imported_though_a_cache_lies_above_it(tmp_path, monkeypatch):
    """And what a library executes without a file runs, wherever that would be."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/")
    monkeypatch.chdir(tmp_path)

    with no_foreign_code(tmp_path):
        run_file(shutil.__file__)
        namedtuple("Made", "while_it_runs")  # noqa: PYI024 - the library executes a text for it


def test_what_torchvision_downloads_is_read_as_tensors(tmp_path, monkeypatch, canary):
    """A plug-in may begin with a network of torchvision's, whose address no checkpoint names."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "resnet.pth"
    file.parent.mkdir(parents=True)

    torch.save({"weight": torch.ones(2)}, file)
    with no_foreign_code(tmp_path / "checkpoint"):
        assert torch.load(str(file), weights_only=False)["weight"].tolist() == [1, 1]
    torch.save(Touch(canary), file)
    with pytest.raises(pickle.UnpicklingError), no_foreign_code(tmp_path / "checkpoint"):
        torch.load(str(file), weights_only=False)
    assert not canary.exists()


def test_a_refusal_is_one_line_whatever_is_named(downloads, canary):
    folder = downloads / "modules" / "a\nb"
    folder.mkdir(parents=True)

    with pytest.raises(CheckpointError, match=r"a\\nb.*somebody\.py") as raised, no_foreign_code(downloads):
        attempts(folder, canary)["somebody.py"]()
    assert str(raised.value).isprintable()


def test_a_models_own_generate_is_left_aside(checkpoints, tmp_path, canary):
    """transformers asks for no consent to it if the model is a folder."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    model = shutil.copytree(checkpoints["eo1"] / "vlm", tmp_path / "model")
    bring_code(model, canary)

    with no_foreign_code(tmp_path):
        Qwen2_5_VLForConditionalGeneration.from_pretrained(model, trust_remote_code=True)
    assert not canary.exists()

    with suppress(AttributeError):  # it brings a file without the function, which has run by then
        Qwen2_5_VLForConditionalGeneration.from_pretrained(model, trust_remote_code=True)
    assert canary.exists()
