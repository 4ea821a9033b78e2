"""Checkpoints for these tests."""

import json

import pytest
from lerobot_samples import Checkpoints, write_safetensors


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Directories of real checkpoints for PushT by name, each made when it is first asked for."""
    with Checkpoints(tmp_path_factory.mktemp("checkpoints")) as made:
        yield made


@pytest.fixture
def bare(tmp_path):
    """A checkpoint that passes every check short of lerobot's own: the files, hardly anything in them."""
    directory = tmp_path / "pretrained_model"
    directory.mkdir()
    image, vector = {"type": "VISUAL", "shape": [3, 96, 96]}, {"type": "STATE", "shape": [2]}
    config = {
        "type": "act",
        "input_features": {"observation.image": image, "observation.state": vector},
        "output_features": {"action": {"type": "ACTION", "shape": [2]}},
        "chunk_size": 12,
        "n_action_steps": 5,
        "temporal_ensemble_coeff": None,
        "dropout": 0.1,
        "use_amp": False,
        "normalization_mapping": {},
    }
    (directory / "config.json").write_text(json.dumps(config))
    write_safetensors(directory / "model.safetensors", {"weight": 4})
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        (directory / name).write_text(json.dumps({"name": name, "steps": []}))
    return directory
