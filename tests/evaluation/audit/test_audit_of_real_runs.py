"""The audit of a real checkpoint on a real simulator, with a real dataset of LeRobot's."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from checkpoint_makers.checkpoints import PUSHT, make_act
from proctor.benchmarks.pusht import PushT, PushTConfig
from proctor.cli import main
from proctor.results.audit import read_audit
from training_samples import make_dataset

STATE, IMAGE = "observation.state", "observation.image"


def first_image(seed):
    benchmark = PushT(PushTConfig(type="pusht"))
    env = benchmark.make_env(benchmark.tasks()[0])
    seen = env.reset(seed, None, look=True)
    env.close()
    return seen[IMAGE]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two short episodes of PushT by a small ACT, beside a dataset of PushT's images with inverted colours."""
    folder = tmp_path_factory.mktemp("audit")
    make_act(folder / "act", PUSHT, chunk_size=10, n_action_steps=5)
    make_dataset(folder / "dataset", [255 - first_image(seed) for seed in range(4)])
    options = [
        *(f"--policy.path={folder / 'act'}", "--policy.device=cpu", "--env.type=pusht", "--env.episode_length=30"),
        *("--eval.n_episodes=2", "--eval.batch_size=1", "--eval.video=none", "--eval.display=none"),
        *("--dataset.repo_id=nobody/pusht", f"--dataset.root={folder / 'dataset'}"),
    ]
    assert main(["eval", *options, f"--output_dir={folder / 'run'}"]) == 0
    return folder / "run"


def image_of(picture):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.png))))


def test_the_image_of_step_0_stands_beside_the_datasets_first_frames(run):
    ours, *theirs = read_audit(run).pictures

    assert np.array_equal(image_of(ours), first_image(1000))
    assert [picture.of_dataset for picture in (ours, *theirs)] == [False, True, True, True]
    assert np.array_equal(image_of(theirs[0]), 255 - first_image(0))


def test_an_image_that_is_nothing_like_the_datasets_is_found(run):
    found = {finding.check: finding for finding in read_audit(run).findings}

    assert found["image unlike"].feature == IMAGE
    assert found["image unlike"].source == "dataset"
    assert "far" not in found


def test_the_audit_of_the_directory_is_that_of_the_run(run):
    before = read_audit(run)

    assert main(["audit", str(run)]) == 6

    assert read_audit(run) == before
    assert before.sources == ["environment", "checkpoint", "dataset"]
