"""ALOHA: gym-aloha's own episodes to the bit, one camera drawn only when looked at, success where the task is done."""

import sys
from unittest.mock import patch

import gymnasium
import pytest
from benchmark_episodes import always, digest, episode, random_actions, standing

from proctor.benchmarks.aloha import CAMERAS, TASKS, Aloha, AlohaConfig
from proctor.config import structure
from proctor.errors import ConfigError, MissingExtraError

each_task = pytest.mark.parametrize("task", TASKS)


def benchmark_of(task):
    return Aloha(AlohaConfig(task=task))


def stock_episode(task, actions, seed):
    """gym-aloha made as LeRobot makes it, stepped and drawn as it is: rewards and digests of what is seen."""
    import gym_aloha  # noqa: F401 - registers the ids

    env = gymnasium.make(
        f"gym_aloha/{task}", obs_type="pixels_agent_pos", render_mode="rgb_array", max_episode_steps=400
    )
    seen, _ = env.reset(seed=seed)
    moments = [(0.0, digest(seen["pixels"]["top"]), digest(seen["agent_pos"]))]
    for action in actions:
        seen, reward, *_ = env.step(action)
        moments.append((reward, digest(seen["pixels"]["top"]), digest(seen["agent_pos"])))
    env.unwrapped._env.physics.free()
    return moments


@each_task
def test_an_episode_is_gym_alohas_to_the_bit(task):
    """Images, joints and rewards equal those of the simulator that draws three cameras in every step."""
    with standing(benchmark_of(task)) as env:
        ours = [
            (m.reward, m.seen["observation.images.top"], m.seen["observation.state"])
            for m in episode(env, 1003, 6, look=always)
        ]
        actions = random_actions(env, 1003, 6)

    assert ours == stock_episode(task, actions, 1003)


def test_only_looks_are_drawn():
    """One camera a look; no GL context, and nothing drawn, before that."""
    with standing(benchmark_of("AlohaInsertion-v0")) as env:
        with patch.object(env._physics, "render", side_effect=AssertionError("drawn")):
            episode(env, 7, 5)
        context_unseen = env._physics._contexts
        with patch.object(env._physics, "render", wraps=env._physics.render) as render:
            episode(env, 7, 5, look=lambda i: i in (0, 3))

    assert context_unseen is None
    assert [call.kwargs["camera_id"] for call in render.call_args_list] == ["top", "top"]


def test_a_cube_in_the_left_gripper_is_success_and_the_end():
    """Off the table and touched by the left finger: full reward."""
    with standing(benchmark_of("AlohaTransferCube-v0")) as env:
        env.reset(7, None, look=False)
        data = env._physics.named.data
        data.qpos["red_box_joint"][:3] = data.geom_xpos["vx300s_left/10_left_gripper_finger"]
        step = env.step(env._task.get_qpos(env._physics), look=True)

    assert (step.reward, step.success, step.terminated, step.truncated) == (4.0, True, True, False)
    assert step.observation is None


def test_a_peg_at_the_sockets_pin_is_success_and_the_end():
    """Where the peg lies on the table, the task is not done; pushed onto the pin, it is."""
    with standing(benchmark_of("AlohaInsertion-v0")) as env:
        env.reset(7, None, look=False)
        data = env._physics.named.data
        before = env.step(env._task.get_qpos(env._physics), look=False)
        data.qpos["red_peg_joint"][:3] = data.geom_xpos["pin"]
        after = env.step(env._task.get_qpos(env._physics), look=False)

    assert (before.reward, before.success, before.terminated) == (0.0, False, False)
    assert (after.reward, after.success, after.terminated) == (4.0, True, True)


def test_four_hundred_steps_are_an_episode():
    """LeRobot's limit, not the 300 that gym-aloha registers: truncated, not terminated."""
    benchmark = benchmark_of("AlohaTransferCube-v0")
    with standing(benchmark) as env:
        env.reset(1000, None, look=False)
        still = env._task.get_qpos(env._physics)
        ends = [env.step(still, look=False) for _ in range(400)]

    assert benchmark.tasks()[0].max_episode_steps == 400
    assert [step.truncated for step in ends] == [False] * 399 + [True]
    assert not any(step.terminated for step in ends)


def test_images_have_the_size_asked_for():
    """Also larger than the simulator's own frame buffer; joints are left out on request."""
    fields = {"task": TASKS[0], "obs_type": "pixels", "observation_width": 800, "observation_height": 96}
    with standing(Aloha(AlohaConfig(**fields))) as env:
        seen = env.reset(7, None, look=True)
        frame = env.render("left_wrist", (320, 240))

    assert seen.keys() == {"observation.images.top"}
    assert seen["observation.images.top"].shape == (96, 800, 3)
    assert seen["observation.images.top"].std() > 10
    assert frame.shape == (240, 320, 3)


def test_cameras_are_the_simulators():
    """Every camera of the model can be asked for, and they show different things."""
    with standing(benchmark_of(TASKS[0])) as env:
        env.reset(7, None, look=False)
        model = env._physics.model
        named = {model.id2name(i, "camera") for i in range(model.ncam)}
        frames = {digest(env.render(camera, (64, 48))) for camera in CAMERAS}

    assert named == set(CAMERAS)
    assert len(frames) == len(CAMERAS)


def test_tasks():
    """The one not named is LeRobot's default; several are numbered in their order."""
    both = Aloha(AlohaConfig(task="AlohaTransferCube-v0, AlohaInsertion-v0,AlohaTransferCube-v0")).tasks()

    assert [t.name for t in Aloha(AlohaConfig()).tasks()] == ["AlohaInsertion-v0"]
    assert [(t.suite, t.task_id, t.name, t.instruction) for t in both] == [
        ("aloha", 0, "AlohaTransferCube-v0", ""),
        ("aloha", 1, "AlohaInsertion-v0", ""),
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "AlohaTransfer-v0"}, "Did you mean 'AlohaTransferCube-v0'?"),
        ({"obs_type": "state"}, "it must be one of pixels_agent_pos, pixels"),
        ({"observation_width": 0}, "env.observation_width is 0; it must be at least 1."),
    ],
)
def test_a_users_mistake_is_one_sentence(fields, words):
    """What is wrong and what to do, before any simulator is built."""
    with pytest.raises(ConfigError) as raised:
        Aloha(structure(AlohaConfig, {"type": "aloha", **fields}, "env")).tasks()

    assert words in str(raised.value)


def test_a_missing_simulator_names_the_extra():
    """Tasks can be listed without it."""
    benchmark = benchmark_of(TASKS[0])
    with patch.dict(sys.modules, {"gym_aloha": None}), pytest.raises(MissingExtraError, match=r"proctor-eval\[aloha\]"):
        benchmark.make_env(benchmark.tasks()[0])
