"""LeRobot's own objects, as they are, and its own functions on what Proctor makes."""

from __future__ import annotations

import gym_pusht  # noqa: F401 - registers its environment
import numpy as np
import pytest
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.envs import configs
from lerobot.envs.factory import make_env as lerobots_make_env
from lerobot.envs.utils import preprocess_observation
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.processor import PolicyProcessorPipeline
from lerobot.scripts.lerobot_eval import eval_policy as lerobots_eval_policy

import proctor
from checkpoint_makers.checkpoints import make_act
from proctor import eval_policy, eval_policy_all, make_env, make_policy
from proctor.benchmarks.lerobot_env import LeRobotEnv
from proctor.compat.vector_env import LeRobotNames
from proctor.errors import ConfigError, Note
from proctor.testing.fakes import FAKE_BENCHMARK, FakePolicy

PUSHT = configs.PushtEnv(episode_length=12)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_act(tmp_path_factory.mktemp("policies") / "act", chunk_size=12, n_action_steps=4)


@pytest.fixture(scope="module")
def policy(checkpoint):
    """A policy object and its processors, as arguments."""
    config = PreTrainedConfig.from_pretrained(checkpoint)
    config.pretrained_path = checkpoint
    loaded = get_policy_class(config.type).from_pretrained(checkpoint, config=config)
    preprocessor, postprocessor = make_pre_post_processors(config, str(checkpoint))
    return {"policy": loaded, "preprocessor": preprocessor, "postprocessor": postprocessor}


def metrics(found):
    return [[episode[name] for name in ("sum_reward", "max_reward", "success")] for episode in found["per_episode"]]


# ------------------------------------------------------------------------------------------------------ configurations


@pytest.mark.parametrize(
    ("configuration", "fields"),
    [
        (configs.PushtEnv(), {"type": "pusht", "task": "PushT-v0", "obs_type": "pixels_agent_pos"}),
        (configs.PushtEnv(episode_length=9, observation_width=200), {"type": "pusht", "episode_length": 9}),
        (configs.PushtEnv(obs_type="environment_state_agent_pos"), {"obs_type": "environment_state_agent_pos"}),
        (configs.AlohaEnv(task="AlohaTransferCube-v0"), {"type": "aloha", "task": "AlohaTransferCube-v0"}),
        (configs.MetaworldEnv(task="reach-v3"), {"type": "metaworld", "task": "reach-v3"}),
        (configs.LiberoEnv(task="libero_spatial", task_ids=[3]), {"task": "libero_spatial", "task_ids": [3]}),
        (configs.LiberoEnv(control_mode="absolute"), {"type": "libero", "control_mode": "absolute"}),
    ],
    ids=str,
)
def test_a_configuration_of_an_environment_says_what_its_fields_say(configuration, fields):
    """What does not reach LeRobot's simulator does not reach ours, such as PushT's size of images."""
    found = LeRobotEnv.fields_of(configuration)

    assert fields.items() <= found.items()
    assert "fps" not in found
    assert ("observation_width" in found) == ("observation_width" in configuration.gym_kwargs)
    assert LeRobotEnv.fields_of({"type": "pusht"}) is None


def test_features_of_somebodys_own_are_refused():
    configuration = configs.PushtEnv()
    configuration.features_map = {**configuration.features_map, "pixels": "observation.other"}
    with pytest.raises(ConfigError, match=r"env.features_map is not supported: give --rename_map"):
        make_env(configuration)


def test_a_configuration_of_a_policy_is_the_checkpoint_that_it_names(checkpoint, tmp_path):
    """With the fields that were changed in it."""
    config = PreTrainedConfig.from_pretrained(checkpoint)
    with pytest.raises(ConfigError, match="ACTConfig without pretrained_path, and its weights would be random"):
        make_policy(config)
    config.pretrained_path, config.n_action_steps, config.device = checkpoint, 2, "cpu"

    made = make_policy(config, env_cfg=PUSHT)
    run = {"n_episodes": 1, "batch_size": 1}
    result = proctor.evaluate(config, PUSHT, output_dir=tmp_path / "config", **run)
    same = {"path": checkpoint, "n_action_steps": 2, "device": "cpu"}

    assert made.n_action_steps == 2
    expected = proctor.evaluate(same, PUSHT, output_dir=tmp_path / "fields", **run)
    assert result.run.fingerprint == expected.run.fingerprint
    assert result.info["per_episode"][0]["sum_reward"] == expected.info["per_episode"][0]["sum_reward"]


# -------------------------------------------------------------------------------------------------------- environments


def test_lerobots_functions_take_our_environments_if_they_are_asked_for_its_names(policy):
    """Its preprocessing gives the features that ours have; its own evaluation gives what the engine gives."""
    env = make_env(PUSHT, n_envs=2, use_async_envs=False, lerobot_names=True)["pusht"][0]
    ours = make_env(PUSHT, n_envs=2, use_async_envs=False)["pusht"][0]
    seen, features = env.reset(seed=[1, 2])[0], ours.reset(seed=[1, 2])[0]
    ours.close()

    assert set(seen) == {"pixels", "agent_pos"}
    assert seen["pixels"].shape == env.observation_space["pixels"].shape == (2, 96, 96, 3)
    processed = preprocess_observation(seen)
    assert set(processed) == set(features)
    assert np.array_equal((processed["observation.image"] * 255).permute(0, 2, 3, 1).numpy(), seen["pixels"])

    identity = {name: PolicyProcessorPipeline(steps=[]) for name in ("env_preprocessor", "env_postprocessor")}
    theirs = lerobots_eval_policy(env=env, n_episodes=2, start_seed=1000, **identity, **policy)
    found = eval_policy(env, n_episodes=2, **identity, **policy)
    env.close()

    assert [each[1:] for each in metrics(found)] == [
        [pytest.approx(each[1], rel=1e-3), each[2]] for each in metrics(theirs)
    ]


def test_lerobots_names_of_cameras_and_of_other_parts():
    values = {"observation.images.top": 1, "observation.images.wrist": 2, "observation.state": 3, "observation.x.y": 4}
    assert LeRobotNames(values).of(values) == {"pixels": {"top": 1, "wrist": 2}, "agent_pos": 3, "x.y": 4}
    with pytest.raises(ConfigError, match=r"no place for observation\.image beside"):
        LeRobotNames(["observation.image", "observation.images.top"])


def test_lerobots_environments_are_stepped_with_its_processors_of_environments(policy):
    """Observations pass the first and actions the second; the instruction is the environment's."""
    seen, acted = [], []

    class Noted:
        def __init__(self, what, into):
            self.what, self.into, self.steps = what, into, (self,)

        def __call__(self, values):
            self.into.append(values)
            return values

    envs = lerobots_make_env(PUSHT, n_envs=2, use_async_envs=False)
    arguments = {"env_preprocessor": Noted("observation", seen), "env_postprocessor": Noted("action", acted)}
    plain = eval_policy(envs["pusht"][0], n_episodes=2, **policy)
    processed = eval_policy(envs["pusht"][0], n_episodes=2, **policy, **arguments)

    assert metrics(plain) == metrics(processed)
    assert seen[0]["observation.image"].shape == (2, 3, 96, 96)
    assert seen[0]["task"] == ["", ""]
    assert len(acted) == 12


@pytest.mark.parametrize("makes", ["ours", "lerobots"])
def test_videos_and_all_steps_are_there_if_they_are_asked_for(policy, tmp_path, watch, makes):
    """As LeRobot returns them: a row for each step and one for what was seen last."""
    make = make_env if makes == "ours" else lerobots_make_env
    env = make(PUSHT, n_envs=2, use_async_envs=False)["pusht"][0]
    found = eval_policy(
        env, n_episodes=3, max_episodes_rendered=2, videos_dir=tmp_path, return_episode_data=True, **policy
    )
    env.close()
    data = found["episodes"]

    assert found["video_paths"] == [str(tmp_path / f"eval_episode_{i}.mp4") for i in range(2)]
    assert len(watch(found["video_paths"][0]).frames) >= 12
    assert {name: tuple(tensor.shape) for name, tensor in data.items()} == {
        "observation.image": (39, 3, 96, 96),
        "observation.state": (39, 2),
        "action": (39, 2),
        **dict.fromkeys(("episode_index", "frame_index", "timestamp", "index"), (39,)),
        **dict.fromkeys(("next.done", "next.success", "next.reward"), (39,)),
    }
    assert data["index"].tolist() == list(range(39))
    assert data["frame_index"].tolist() == [*range(12), 11] * 3
    assert data["next.done"].tolist() == [*[False] * 11, True, True] * 3
    assert torch.allclose(data["timestamp"][:12], torch.arange(12) / 10)
    assert data["observation.image"].max() <= 1
    for number, episode in enumerate(found["per_episode"]):
        rewards = data["next.reward"][13 * number : 13 * number + 12]
        assert float(rewards.double().sum()) == pytest.approx(episode["sum_reward"], rel=1e-6)
        assert float(rewards.max()) == pytest.approx(episode["max_reward"], rel=1e-6)


# ------------------------------------------------------------------------------------------------------- several tasks


NOTHING = dict.fromkeys(["env_preprocessor", "env_postprocessor", "preprocessor", "postprocessor"])
FAKES = {"type": FAKE_BENCHMARK, "max_steps": 12, "n_tasks": 3}


def test_all_tasks_of_one_make_env_are_evaluated_together_and_their_simulators_are_kept():
    """Each task has what it has alone; the simulators end when an environment is closed."""
    envs = make_env(FAKES, n_envs=2)
    evaluator = envs["fake"][0].shared.evaluator
    found = [eval_policy_all(envs, FakePolicy(), **NOTHING, n_episodes=3) for _ in range(2)]
    assert envs["fake"][2].shared.evaluator is evaluator
    alone = [eval_policy(env, FakePolicy(), 3) for env in envs["fake"].values()]
    envs["fake"][1].close()

    assert found[0]["per_task"] == found[1]["per_task"]
    assert [task["task_id"] for task in found[0]["per_task"]] == [0, 1, 2]
    for task, expected in zip(found[0]["per_task"], alone, strict=True):
        assert task["metrics"]["sum_rewards"] == [episode["sum_reward"] for episode in expected["per_episode"]]
    assert found[0]["overall"]["n_episodes"] == 9
    assert found[0]["overall"]["pc_success"] == pytest.approx(np.mean([each["pc_success"] for each in alone]))
    with pytest.raises(ConfigError, match="closed"):
        evaluator(FakePolicy())
    assert eval_policy(envs["fake"][0], FakePolicy(), 1)["n_episodes"] == 1
    envs["fake"][0].close()


def test_what_is_not_known_is_nan_as_in_lerobots_results():
    """A training script writes the numbers down without asking whether there are any."""
    envs = make_env({**FAKES, "says": "never"}, n_envs=2)
    found = eval_policy_all(envs, FakePolicy(), **NOTHING, n_episodes=1)
    envs["fake"][0].close()

    assert np.isnan(found["overall"]["pc_success"])
    assert np.isnan(found["per_task"][0]["metrics"]["successes"]).all()
    assert np.isfinite(found["overall"]["avg_sum_reward"])


def test_environments_of_others_and_of_ours_may_be_mixed(policy):
    """The others are stepped in lockstep, and that is said."""
    envs = {"ours": make_env(PUSHT)["pusht"], "theirs": lerobots_make_env(PUSHT)["pusht"]}
    identity = {name: PolicyProcessorPipeline(steps=[]) for name in ("env_preprocessor", "env_postprocessor")}
    with pytest.warns(Note, match="stepped in lockstep, one task after another"):
        found = eval_policy_all(envs, n_episodes=1, **identity, **policy)
    envs["ours"][0].close()

    ours, theirs = (found["per_group"][group]["avg_max_reward"] for group in ("ours", "theirs"))
    assert ours == pytest.approx(theirs, rel=1e-3)
