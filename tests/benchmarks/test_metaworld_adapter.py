"""Meta-World: the task table, LeRobot's protocol to the bit, and experts that reach success."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from benchmark_episodes import episode, standing
from metaworld_checks import benchmark_of, leftovers, lerobots_episodes, our_episode, run_expert

import proctor
from proctor.benchmarks.metaworld.benchmark import CAMERAS, MetaWorld, MetaWorldConfig
from proctor.benchmarks.metaworld.tasks import GROUPS, INSTRUCTIONS
from proctor.config import structure
from proctor.errors import ConfigError, MissingExtraError

needs_lerobot = pytest.mark.skipif(find_spec("lerobot") is None, reason="lerobot is not installed")
DIFFICULTIES = ("easy", "medium", "hard", "very_hard")
COMPARED = ("push-v3", "peg-insert-side-v3")


@needs_lerobot
def test_instructions_and_groups_are_lerobots():
    """What policies were told in training is what they are told here, letter for letter."""
    lerobot = Path(find_spec("lerobot").origin).parent / "envs" / "metaworld_config.json"
    config = json.loads(lerobot.read_text())

    assert config["TASK_DESCRIPTIONS"] == INSTRUCTIONS
    assert config["DIFFICULTY_TO_TASKS"] == {name: list(GROUPS[name]) for name in DIFFICULTIES}


def test_tasks_and_their_order_are_metaworlds():
    """MT10 and MT50 hold Meta-World's tasks in its order, and there is an expert for each."""
    from metaworld.env_dict import MT10_V3, MT50_V3
    from metaworld.policies import ENV_POLICY_MAP

    assert GROUPS["MT10"] == tuple(MT10_V3)
    assert GROUPS["MT50"] == tuple(INSTRUCTIONS) == tuple(MT50_V3)
    assert ENV_POLICY_MAP.keys() == INSTRUCTIONS.keys()
    assert [len(GROUPS[name]) for name in DIFFICULTIES] == [28, 11, 6, 5]


def test_a_group_is_a_suite_and_a_task_is_a_suite_of_its_own():
    """LeRobot's naming: results of a group are told apart by number, those of a task by its name."""
    tasks = MetaWorld(MetaWorldConfig(task="hard, reach-v3,metaworld-push-v3,reach-v3")).tasks()

    assert [(t.suite, t.task_id, t.name) for t in tasks[:2]] == [
        ("hard", 0, "assembly-v3"),
        ("hard", 1, "hand-insert-v3"),
    ]
    assert [(t.suite, t.task_id, t.name) for t in tasks[6:]] == [("reach-v3", 0, "reach-v3"), ("push-v3", 0, "push-v3")]
    assert tasks[6].instruction == "Reach a goal position"
    assert {t.max_episode_steps for t in tasks} == {500}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "needs --env.task: tasks such as reach-v3, or groups: easy"),
        ({"task": "push-v2"}, "Did you mean 'push-v"),
        ({"task": "meduim"}, "Did you mean 'medium'?"),
        ({"task": "reach-v3", "camera_name": "corner9"}, "it must be one of corner, corner2"),
        ({"task": "reach-v3", "obs_type": "state"}, "it must be one of pixels_agent_pos, pixels"),
        ({"task": "reach-v3", "observation_width": "0"}, "env.observation_width is 0; it must be at least 1."),
    ],
)
def test_a_users_mistake_is_one_sentence(fields, words):
    """What is wrong and what to do, before any simulator is built."""
    with pytest.raises(ConfigError) as raised:
        MetaWorld(structure(MetaWorldConfig, {"type": "metaworld", **fields}, "env")).tasks()

    assert words in str(raised.value)


def test_a_missing_simulator_names_the_extra():
    """Without metaworld tasks can be listed, and building one says what to install."""
    benchmark = benchmark_of("MT10")
    with patch.dict(sys.modules, {"metaworld": None}):
        tasks = benchmark.tasks()
        with pytest.raises(MissingExtraError, match=r"pip install 'proctor-eval\[metaworld\]'"):
            benchmark.make_env(tasks[0])


def test_no_gl_context_before_the_first_look():
    """Constructing, resetting and stepping draw nothing and allocate nothing to draw with."""
    with standing(benchmark_of("reach-v3")) as env:
        with patch.object(env._env, "render", side_effect=AssertionError("drawn")):
            episode(env, 7, 5)
        viewers_unseen = dict(env._env.mujoco_renderer._viewers)
        env.reset(7, None, look=True)

        assert viewers_unseen == {}
        assert len(env._env.mujoco_renderer._viewers) == 1


@needs_lerobot
@pytest.mark.parametrize("name", COMPARED)
def test_an_episode_is_lerobots_to_the_bit(name):
    """Images, positions, rewards and ends equal those of LeRobot's own wrapper."""
    ours = our_episode(name, 1003, 8)

    assert len(ours) == 9
    assert ours == lerobots_episodes(COMPARED, 1003, 8)[name]


@pytest.mark.parametrize("name", ["push-v3", "push-back-v3", "door-open-v3", "stick-pull-v3"])
def test_nothing_is_left_over_after_a_reset(name):
    """Not only the physics: no array that an image is drawn from, either. (The stock reset fails for the first two.)"""
    assert leftovers(name) == []


@pytest.mark.parametrize("name", ["reach-v3", "drawer-open-v3", "window-close-v3", "pick-place-v3"])
def test_the_expert_reaches_success(name):
    """Success is real: reported by the simulator, and the end of the episode."""
    with standing(benchmark_of(name)) as env:
        success, went_through = run_expert(env, 1000)
        action = env.expert_action()

    assert success
    assert len(went_through) < 200
    assert [moment[2] for moment in went_through].count(True) == 1
    assert action.dtype == np.float32
    assert np.abs(action).max() <= 1


def test_images_have_the_size_and_camera_asked_for():
    """A small image of another camera; and the view of an image does not depend on how large videos are."""
    fields = {"task": "reach-v3", "observation_width": 96, "observation_height": 64}
    with standing(MetaWorld(MetaWorldConfig(**fields, visualization_width=800, visualization_height=600))) as env:
        beside_large = env.reset(7, None, look=True)["observation.image"]
    with standing(MetaWorld(MetaWorldConfig(**fields, obs_type="pixels"))) as env:
        alone = env.reset(7, None, look=True)
    with standing(MetaWorld(MetaWorldConfig(**fields, camera_name="gripperPOV"))) as env:
        other = env.reset(7, None, look=True)["observation.image"]
        cameras = {env._env.model.camera(i).name for i in range(env._env.model.ncam)}

    assert alone.keys() == {"observation.image"}
    assert alone["observation.image"].shape == (64, 96, 3)
    assert np.array_equal(alone["observation.image"], beside_large)
    assert (other != beside_large).any()
    assert cameras == set(CAMERAS)


def test_the_second_task_of_a_worker_is_not_drawn_black(tmp_path):
    """The first one's GL objects must not be freed in the second one's context."""
    means = []

    def look(observation):
        means.append(observation["observation.image"].mean())
        return np.zeros((3, 4), np.float32)

    env = {"type": "metaworld", "task": "reach-v3,push-v3", "episode_length": 3}
    proctor.evaluate(look, env, n_episodes=1, batch_size=1, output_dir=tmp_path)

    assert len(means) == 2
    assert min(means) > 50
