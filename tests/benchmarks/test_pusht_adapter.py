"""PushT: gym-pusht's own episodes to the bit, drawn only when looked at, and success where the block fits."""

import sys
from unittest.mock import patch

import gymnasium
import numpy as np
import pytest
from benchmark_episodes import always, digest, episode, random_actions, standing

from proctor.benchmarks.pusht import PushT, PushTConfig
from proctor.config import structure
from proctor.errors import ConfigError, MissingExtraError


@pytest.fixture
def env():
    with standing(PushT(PushTConfig())) as env:
        yield env


def stock(**kwargs):
    """gym-pusht as LeRobot makes it."""
    return gymnasium.make("gym_pusht/PushT-v0", max_episode_steps=300, **kwargs)


def nearly_done(env):
    """Lay the block almost into its outline, the finger far away."""
    env.reset(0, None, look=False)
    env._env.reset(options={"reset_to_state": [20.0, 20.0, 256.0, 256.0, np.pi / 4]})
    # The simulator turns the block around its centre of mass after placing it, which displaces it: place it again.
    env._sim.block.position = (256.5, 256.0)
    return env


def test_an_episode_is_gym_pushts_to_the_bit(env):
    """Images, positions, rewards and ends equal those of the simulator stepped and drawn as LeRobot does."""
    theirs = stock(obs_type="pixels_agent_pos")
    seen, _ = theirs.reset(seed=1003)
    expected = [(0.0, digest(seen["pixels"]), digest(seen["agent_pos"]))]
    for action in random_actions(env, 1003, 40):
        seen, reward, *_ = theirs.step(action)
        expected.append((reward, digest(seen["pixels"]), digest(seen["agent_pos"])))

    ours = [
        (m.reward, m.seen["observation.image"], m.seen["observation.state"])
        for m in episode(env, 1003, 40, look=always)
    ]
    assert ours == expected


def test_episodes_that_push_are_gym_pushts(env):
    """The block moves as in gym-pusht, which counts contacts and builds the outline anew in every step."""
    theirs, seen = stock(obs_type="state"), []
    for seed in (3, 4):
        env.reset(seed, None, look=False)
        for simulator in (env._env, theirs):
            simulator.reset(options={"reset_to_state": [150.0, 256.0, 256.0, 240.0, 0.5]})
        for noise in np.random.default_rng(seed).normal(0, 60, (60, 2)):
            action = np.array(256 + noise, np.float32)
            step, (_, reward, *_, info) = env.step(action, look=False), theirs.step(action)
            seen.append((info["n_contacts"] > 0, reward > 0))
            assert step.reward == pytest.approx(reward, rel=1e-14)
            assert [*env._sim.block.position, env._sim.block.angle] == info["block_pose"].tolist()

    assert np.sum(seen, axis=0).min() > 10


def test_corners_in_place_of_an_image():
    """``environment_state_agent_pos`` gives gym-pusht's corners, and nothing is ever drawn."""
    theirs = stock(obs_type="environment_state_agent_pos")
    expected, _ = theirs.reset(seed=5)

    with (
        standing(PushT(PushTConfig(obs_type="environment_state_agent_pos"))) as env,
        patch.object(env._sim, "_draw", side_effect=AssertionError("drawn")),
    ):
        seen = env.reset(5, None, look=True)

    assert seen.keys() == {"observation.environment_state", "observation.state"}
    assert np.array_equal(seen["observation.environment_state"], expected["environment_state"])
    assert np.array_equal(seen["observation.state"], expected["agent_pos"])


def test_only_looks_are_drawn(env):
    """One drawing a look; none for a step, a reset or an end that nobody looks at."""
    with patch.object(env._sim, "_draw", wraps=env._sim._draw) as draw:
        episode(env, 7, 20)
        drawn_unseen = draw.call_count
        episode(env, 7, 20, look=lambda i: i in (0, 10))

    assert drawn_unseen == 0
    assert draw.call_count == 2


def test_success_ends_the_episode(env):
    """A block in its outline is a success, with full reward, and the end."""
    step = nearly_done(env).step(np.array([20.0, 20.0]), look=True)

    assert (step.success, step.terminated, step.truncated) == (True, True, False)
    assert step.reward == 1.0
    assert step.observation is None


def test_three_hundred_steps_are_an_episode(env):
    """LeRobot's limit: truncated, not terminated."""
    moments = episode(env, 1000, 400)

    assert len(moments) == 301
    assert PushT(PushTConfig()).tasks()[0].max_episode_steps == 300


def test_the_image_has_the_size_asked_for():
    """Unlike in LeRobot, whose fields do not reach the simulator."""
    with standing(PushT(PushTConfig(observation_width=64, observation_height=48))) as env:
        assert env.reset(7, None, look=True)["observation.image"].shape == (48, 64, 3)


def test_a_video_starts_without_the_marker_of_the_episode_before(env):
    """The first frame depends on the episode alone."""
    env.reset(7, None, look=False)
    fresh = env.render()
    episode(env, 1, 5)
    env.reset(7, None, look=False)

    assert np.array_equal(env.render(), fresh)


def test_a_frame_too_small_for_gym_pusht_is_drawn_at_the_usual_size(env):
    """Its marker of the last action would be thinner than a pixel, and drawing would fail; the caller scales frames."""
    env.reset(7, None, look=False)
    env.step(np.array([200.0, 200.0]), look=False)

    assert env.render(size=(96, 120)).shape == (120, 96, 3)
    assert env.render(size=(95, 300)).shape == (384, 384, 3)
    assert env.render().shape == (384, 384, 3)


def test_there_is_one_task():
    """LeRobot's name for it is accepted, and so is none."""
    named, unnamed = (PushT(PushTConfig(task=task)).tasks() for task in ("PushT-v0", None))

    assert named == unnamed
    assert [(t.suite, t.task_id, t.name, t.instruction) for t in named] == [("pusht", 0, "PushT-v0", "")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "PushT-v1"}, "Did you mean 'PushT-v0'?"),
        ({"obs_type": "state"}, "it must be one of pixels_agent_pos, environment_state_agent_pos"),
        ({"visualization_width": 64}, "it must be at least 96"),
        ({"observation_hieght": 96}, "Did you mean 'observation_height'?"),
    ],
)
def test_a_users_mistake_is_one_sentence(fields, words):
    """What is wrong and what to do, before any simulator is built."""
    with pytest.raises(ConfigError) as raised:
        PushT(structure(PushTConfig, {"type": "pusht", **fields}, "env")).tasks()

    assert words in str(raised.value)


def test_a_missing_simulator_names_the_extra():
    """Tasks can be listed without it."""
    benchmark = PushT(PushTConfig())
    with patch.dict(sys.modules, {"gym_pusht": None}), pytest.raises(MissingExtraError, match=r"proctor-eval\[pusht\]"):
        benchmark.make_env(benchmark.tasks()[0])


def test_the_reward_does_not_depend_on_where_memory_lies(monkeypatch):
    """pymunk gives the T's two bars in a set, whose order moves the last bits of gym-pusht's coverage."""
    noise = np.random.default_rng(0)
    ours, stock = [], []
    with standing(PushT(PushTConfig())) as env:
        env.reset(0, None, look=False)
        sim = env._sim
        bars = list(sim.block.shapes)
        for _ in range(100):
            sim.block.angle = np.pi / 4 + noise.normal(0, 0.6)
            sim.block.position = tuple(256 + noise.normal(0, 40, 2))
            for order in (bars, bars[::-1]):
                monkeypatch.setattr("pymunk.Body.shapes", order)
                ours.append(sim._get_coverage())
                stock.append(type(sim)._get_coverage(sim))

    assert ours[::2] == ours[1::2]
    assert stock[::2] != stock[1::2]
    assert ours == pytest.approx(stock, rel=1e-14)
