"""``proctor demo``: what it evaluates, where it finds that, and what it says if a part is missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from proctor.cli import demo, main
from proctor.config import EvalConfig, RunConfig

CHECKPOINT = Path(__file__).parents[2] / "examples" / "metaworld_act"


@pytest.fixture
def evaluated(monkeypatch):
    """The evaluations that the command begins; they end at once, without a result."""
    configs = []
    monkeypatch.setattr("proctor.evaluation.prepared_run.prepare", configs.append)
    monkeypatch.setattr("proctor.evaluation.run.run", lambda prepared, show: prepared)
    monkeypatch.setattr(demo, "conclude", lambda result, config: 0)
    return configs


def test_it_is_ten_episodes_of_three_tasks_with_videos_and_names_the_viewers_address(evaluated, capsys):
    """CONTRIBUTING and the releases rely on these numbers: 26 of 30 succeed."""
    assert main(["demo"]) == 0

    assert evaluated == [
        RunConfig(
            policy={"path": str(CHECKPOINT)},
            env={
                "type": "metaworld",
                "task": "reach-v3,button-press-topdown-v3,coffee-button-v3",
                "episode_length": 200,
            },
            eval=EvalConfig(n_episodes=10, n_episodes_to_render=3),
        )
    ]
    assert capsys.readouterr().out.endswith("proctor view outputs shows it at http://127.0.0.1:8631/\n")


def test_it_shows_the_directory_that_it_was_given(evaluated, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr("proctor.cli.view.view_command", lambda directory: shown.append(directory) or 0)

    assert main(["demo", "--n_episodes=1", "--view", f"--output_dir={tmp_path}"]) == 0
    assert shown == [tmp_path]
    assert evaluated[0].output_dir == str(tmp_path)
    assert evaluated[0].eval.n_episodes_to_render == 1


def test_without_a_checkout_the_checkpoint_is_that_of_its_distribution(evaluated, monkeypatch, tmp_path):
    """The wheel has the checkpoint's folder under this name, and no module."""
    monkeypatch.setattr(demo, "_CHECKOUT", tmp_path / "nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    installed = tmp_path / "proctor_eval_demo" / "metaworld_act"
    installed.mkdir(parents=True)
    shutil.copy(CHECKPOINT / "config.json", installed)

    assert main(["demo"]) == 0
    assert evaluated[0].policy == {"path": str(installed)}


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("metaworld", "Meta-World, which the demonstration needs, is not installed"),
        ("lerobot", "LeRobot, which the demonstration needs, is not installed"),
        ("proctor_eval_demo", "The demonstration's checkpoint is not installed"),
    ],
)
def test_if_a_part_is_missing_one_sentence_says_what_to_install(evaluated, monkeypatch, capsys, module, sentence):
    monkeypatch.setattr(demo, "_CHECKOUT", Path("nowhere"))
    monkeypatch.setitem(sys.modules, module, None)

    assert main(["demo"]) == 2
    assert capsys.readouterr().err == f"Error: {sentence}; install it with: pip install 'proctor-eval[demo]'\n"
    assert evaluated == []
