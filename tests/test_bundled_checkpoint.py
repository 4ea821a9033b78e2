"""The checkpoint in examples/: LeRobot's own, small, able, and described by its card."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import proctor
from proctor.policies.lerobot import load
from proctor.results.audit import read_audit
from proctor.results.eval_info import canonical_info
from proctor.statistics.intervals import wilson

CHECKPOINT = Path(__file__).parents[1] / "examples/metaworld_act"
ROW = re.compile(
    r"^\| (?P<task>\S+) \| (?P<seen>\d+) of (?P<n>\d+): (?P<seen_figures>.+?) "
    r"\| (?P<blind>\d+) of (?P=n): (?P<blind_figures>.+?) \|$",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def rows():
    """What the card says was measured, by task."""
    return {row["task"]: row for row in ROW.finditer((CHECKPOINT / "README.md").read_text())}


def test_it_is_small_enough_for_a_repository():
    assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) < 30e6


def test_lerobots_own_classes_load_it_and_act_on_what_the_camera_gives():
    import torch
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    policy = ACTPolicy.from_pretrained(CHECKPOINT)
    preprocessor, postprocessor = make_pre_post_processors(policy.config, str(CHECKPOINT))
    image = torch.rand(3, 480, 480, generator=torch.Generator().manual_seed(0))
    observation = preprocessor({"observation.image": image, "observation.state": torch.tensor([0.0, 0.6, 0.2, 1.0])})
    action = postprocessor(policy.select_action(observation))

    assert observation["observation.image"].shape == (1, 3, 72, 72)
    assert action.shape == (1, 4)
    assert action.isfinite().all()
    assert all(weight.dtype == torch.float32 for weight in policy.parameters())


def test_it_succeeds_where_its_card_says_it_does(tmp_path, rows):
    tasks = [task for task in rows if task != "all"]
    result = proctor.evaluate(
        CHECKPOINT,
        {"type": "metaworld", "task": ",".join(tasks), "episode_length": 200},
        n_episodes=3,
        output_dir=tmp_path / "run",
    )

    assert result.n_errors == 0
    assert result.summary.overall.n_successes >= 5  # of 9; 7 where the card was written, 2 without images
    assert read_audit(result.directory).findings == []  # what works is wired rightly


def on_reach(directory, **how):
    env = {"type": "metaworld", "task": "reach-v3", "episode_length": 40}
    policy = {"path": str(CHECKPOINT), "n_action_steps": 10}
    return proctor.evaluate(policy, env, n_episodes=2, video="none", output_dir=directory, **how)


def episodes(run):
    """Rewards, lengths, looks and final states."""
    return canonical_info(run.info)["per_episode"]


def test_a_delay_of_its_inference_changes_its_episodes_the_same_way_each_time(tmp_path):
    """No delay is to the bit what it is without the option; 80 steps a second make 60 ms of five steps."""
    plain = on_reach(tmp_path / "plain")
    late = on_reach(tmp_path / "late", inference_delay_steps=5, batch_size=1)

    assert episodes(on_reach(tmp_path / "none", inference_delay_steps=0)) == episodes(plain)
    assert episodes(late) != episodes(plain)
    assert episodes(on_reach(tmp_path / "again", inference_delay_steps=5, batch_size=2)) == episodes(late)
    assert episodes(on_reach(tmp_path / "ms", inference_delay_ms=60)) == episodes(late)
    assert late.n_errors == 0


def test_its_cards_figures_follow_from_its_counts(rows):
    def figures(successes, n):
        interval = wilson(successes, n)
        return f"{100 * successes / n:.0f} % ({100 * interval.low:.0f}-{100 * interval.high:.0f})"

    for row in rows.values():
        assert row["seen_figures"] == figures(int(row["seen"]), int(row["n"]))
        assert row["blind_figures"] == figures(int(row["blind"]), int(row["n"]))
    for count in ("seen", "blind", "n"):
        assert int(rows["all"][count]) == sum(int(row[count]) for task, row in rows.items() if task != "all")


def test_without_its_eyes_it_does_worse_beyond_chance(rows):
    seen, blind = (wilson(int(rows["all"][count]), int(rows["all"]["n"])) for count in ("seen", "blind"))

    assert seen.low > 0
    assert seen.high < 1
    assert blind.high < seen.low


def test_its_card_names_the_checkpoint_it_describes():
    assert load({"path": str(CHECKPOINT)}).fingerprint()["sha256"] in (CHECKPOINT / "README.md").read_text()


@pytest.mark.parametrize("script", sorted(CHECKPOINT.parent.glob("*.py")), ids=lambda path: path.name)
def test_every_example_finds_what_it_imports(script, monkeypatch):
    """The scripts run for many minutes; that they begin is seen here."""
    monkeypatch.syspath_prepend(str(script.parent))

    runpy.run_path(str(script), run_name="imported")
