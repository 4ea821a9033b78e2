"""LeRobot's own training script, with ``make_env`` and ``eval_policy_all`` of Proctor in place of its own."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from lerobot.configs.default import DatasetConfig, EvalConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.envs.configs import PushtEnv
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.scripts import lerobot_train

import proctor
from proctor.errors import Note
from training_samples import SMALL, make_dataset

N_STEPS, N_EPISODES, SEED = 4, 3, 1000
NEW = hasattr(TrainPipelineConfig, "env_eval_freq")
FREQUENCY = "env_eval_freq" if NEW else "eval_freq"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "pusht")


def config(root, folder, **changes):
    policy = ACTConfig(
        device="cpu",
        push_to_hub=False,
        chunk_size=8,
        n_action_steps=4,
        pretrained_backbone_weights=None,
        use_vae=False,
        **SMALL,
    )
    return TrainPipelineConfig(
        dataset=DatasetConfig("nobody/pusht", root=str(root), video_backend="pyav"),
        policy=policy,
        env=PushtEnv(episode_length=12),
        output_dir=folder,
        seed=SEED,
        num_workers=0,
        batch_size=2,
        steps=N_STEPS,
        save_checkpoint=False,
        log_freq=1,
        eval=EvalConfig(n_episodes=N_EPISODES, batch_size=2, use_async_envs=False),
        **{FREQUENCY: 2, **changes},
    )


class Seen:
    """What the script's evaluation returned, and the policy and its processors at that moment."""

    def __init__(self, evaluate):
        self._evaluate, self.found, self.policies = evaluate, [], []

    def __call__(self, *, policy, preprocessor, postprocessor, **arguments):
        folder = arguments["videos_dir"].with_name(f"policy-{len(self.found)}")
        for part in (policy, preprocessor, postprocessor):
            part.save_pretrained(folder)
        self.policies.append(folder)
        generators = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
        found = self._evaluate(policy=policy, preprocessor=preprocessor, postprocessor=postprocessor, **arguments)
        if self._evaluate is proctor.eval_policy_all:
            assert policy.training
            assert (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()) == generators
        self.found.append({**found, "overall": dict(found["overall"])})  # the script takes parts out
        return found


def train(cfg, make_env=None, evaluate=proctor.eval_policy_all):
    """Run the script; gives what its evaluation was given and what it returned."""
    seen = Seen(evaluate)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", Note)
        if make_env is not None:
            patch.setattr(lerobot_train, "make_env", make_env)
        patch.setattr(lerobot_train, "eval_policy_all", seen)
        patch.setattr("sys.argv", ["lerobot-train"])
        lerobot_train.train(cfg)
    return seen


@pytest.fixture(scope="module")
def ours(dataset, tmp_path_factory):
    """The script with two names changed."""
    folder = tmp_path_factory.mktemp("ours") / "run"
    return folder, train(config(dataset, folder), proctor.make_env)


def lists_of(info):
    (task,) = info["per_task"]
    assert (task["task_group"], task["task_id"]) == ("pusht", 0)
    return {name: task["metrics"][name] for name in ("sum_rewards", "max_rewards", "successes")}


def test_the_script_evaluates_with_two_names_changed(ours, tmp_path):
    """Each time the policy as it is then: the result is that of its checkpoint of that moment, with videos."""
    folder, seen = ours

    assert len(seen.found) == N_STEPS // 2
    for step, (info, directory) in enumerate(zip(seen.found, seen.policies, strict=True), 1):
        checkpoint = proctor.evaluate(
            {"path": directory, "device": "cpu"},
            PushtEnv(episode_length=12),
            n_episodes=N_EPISODES,
            batch_size=2,
            output_dir=tmp_path / f"checkpoint-{step}",
        )
        expected = checkpoint.info["per_episode"]
        assert lists_of(info) == {
            "sum_rewards": [episode["sum_reward"] for episode in expected],
            "max_rewards": [episode["max_reward"] for episode in expected],
            "successes": [episode["success"] for episode in expected],
        }
        videos = sorted((folder / "eval").glob(f"videos_step_*{2 * step}/pusht_0/*.mp4"))
        assert info["overall"]["video_paths"] == [str(video) for video in videos]
        assert len(videos) == N_EPISODES
        assert info["overall"]["n_episodes"] == info["per_group"]["pusht"]["n_episodes"] == N_EPISODES
        assert info["overall"]["eval_s"] > 0
    assert seen.found[0]["overall"]["avg_sum_reward"] != seen.found[1]["overall"]["avg_sum_reward"]


def test_lerobots_own_environments_are_stepped_in_lockstep_and_that_is_said(ours, dataset, tmp_path):
    """By the script with one name changed. A batch of another size rounds otherwise."""
    with pytest.warns(Note, match="not made by proctor.make_env: they are stepped in lockstep"):
        theirs = train(config(dataset, tmp_path / "theirs"))

    for one, other in zip(theirs.found, ours[1].found, strict=True):
        for name, values in lists_of(one).items():
            assert values == pytest.approx(lists_of(other)[name], rel=1e-3)
        assert len(one["overall"]["video_paths"]) == N_EPISODES


def test_the_result_has_the_form_of_lerobots(ours, dataset, tmp_path):
    """The same keys and kinds of values, and the same numbers as far as LeRobot's are right."""
    theirs = train(config(dataset, tmp_path / "theirs"), evaluate=lerobot_train.eval_policy_all)

    def form(value):
        if isinstance(value, dict):
            return {key: form(each) for key, each in value.items() if key != "predicted_video_paths"}
        if isinstance(value, list):
            return sorted({str(form(each)) for each in value})  # LeRobot renders episodes that it throws away, too
        return type(value).__name__

    for one, other in zip(theirs.found, ours[1].found, strict=True):
        assert form(one) == form(other)
        assert one["overall"]["pc_success"] == other["overall"]["pc_success"]
        assert lists_of(one)["max_rewards"] == pytest.approx(lists_of(other)["max_rewards"], rel=1e-3)
