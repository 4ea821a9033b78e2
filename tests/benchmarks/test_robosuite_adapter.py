"""robosuite: its own episodes to the bit, rendered only when looked at; robomimic's names, limits and cameras."""

import inspect
import re
import sys
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from benchmark_episodes import episode, random_actions, standing
from stock_robosuite import differences

from proctor.benchmarks.robosuite import Robosuite, RobosuiteConfig
from proctor.benchmarks.robosuite import benchmark as module
from proctor.benchmarks.robosuite.scenes import look_alike
from proctor.benchmarks.robosuite.simulator import Simulator, seed_everything
from proctor.benchmarks.robosuite.tasks import GROUPS, ROBOMIMIC_NAMES, TASKS
from proctor.config import structure
from proctor.errors import ConfigError, MissingExtraError

IN_1_4 = [name for name, task in TASKS.items() if task.since <= (1, 4)]


def benchmark_of(**fields):
    return Robosuite(structure(RobosuiteConfig, {"type": "robosuite", **fields}, "env"))


@pytest.mark.parametrize("task", ["Lift", "PickPlaceCan"])
def test_an_episode_is_robosuites_to_the_bit(task):
    """Images, vectors, physics, rewards and success equal those of the environment that renders in every step."""
    found = differences(task)

    assert (found["always"], found["seldom"]) == ([], [])
    assert found["images"] == 2 * found["moments"] / 3, "two of the three episodes have the same seed"


@pytest.mark.prove
@pytest.mark.parametrize("task", [task for task in IN_1_4 if task not in ("Lift", "PickPlaceCan")])
def test_every_tasks_episodes_are_robosuites_to_the_bit(task):
    """Also with two arms, with arms without a gripper, and with scenes whose text changes."""
    found = differences(task)

    assert (found["always"], found["seldom"]) == ([], [])


def test_only_looks_are_drawn():
    """There is no GL context before the first look, and two cameras are drawn for each."""
    from robosuite.utils.binding_utils import MjSim

    with standing(benchmark_of(task="PickPlaceCan")) as env:
        with patch.object(MjSim, "render", side_effect=AssertionError("drawn")):
            episode(env, 7, 3)
        context_unseen = env._simulator.env.sim._render_context_offscreen
        with patch.object(MjSim, "render", autospec=True, side_effect=MjSim.render) as render:
            episode(env, 7, 4, look=lambda i: i in (0, 3))

    assert context_unseen is None
    assert [call.kwargs["camera_name"] for call in render.call_args_list] == ["agentview", "robot0_eye_in_hand"] * 2


def test_a_scene_whose_text_is_the_same_is_compiled_once():
    """Then the GL context is kept, too. Lift draws the size of its cube, so it is compiled for each episode."""
    contexts, models = {}, {}
    for task in ("PickPlaceCan", "Lift"):
        with standing(benchmark_of(task=task)) as env:
            for seed in (1, 2):
                env.reset(seed, None, look=True)
                models[task, seed] = id(env._simulator.env.compiled_scene.model)
                contexts[task, seed] = id(env._simulator.env.compiled_scene.context)

    assert models["PickPlaceCan", 1] == models["PickPlaceCan", 2]
    assert models["Lift", 1] != models["Lift", 2]
    assert contexts["PickPlaceCan", 1] == contexts["PickPlaceCan", 2]
    assert contexts["Lift", 1] == contexts["Lift", 2]


def test_a_context_is_kept_only_for_what_it_can_draw():
    """A model with other textures or another extent needs its own."""

    def model(texture, extent):
        return SimpleNamespace(tex_data=np.array(texture), stat=SimpleNamespace(extent=extent))

    assert look_alike(model([1, 2], 3.0), model([1, 2], 3.0))
    assert not look_alike(model([1, 2], 3.0), model([1, 3], 3.0))
    assert not look_alike(model([1, 2], 3.0), model([1, 2], 3.5))


def test_a_lifted_cube_is_success_and_the_end():
    """The reward is 1 then, and 0 before."""
    with standing(benchmark_of(task="lift")) as env:
        env.reset(7, None, look=False)
        still = np.zeros(7, np.float32)
        before = env.step(still, look=False)
        simulator = env._simulator.env
        simulator.sim.data.set_joint_qpos(simulator.cube.joints[0], [0, 0, 1.2, 1, 0, 0, 0])
        after = env.step(still, look=True)

    assert (before.success, before.terminated, before.reward) == (False, False, 0.0)
    assert (after.success, after.terminated, after.truncated, after.observation) == (True, True, False, None)
    assert after.reward == 1.0


def test_the_hand_moves_as_robomimics_controller_moves_it():
    """An action of 1 puts the goal five centimetres ahead, and the hand follows; an absolute one is the pose itself."""
    from robosuite.utils.transform_utils import mat2quat, quat2axisangle

    with standing(benchmark_of(task="Lift", state_keys="robot0_eef_pos")) as env:
        start = env.reset(7, None, look=True)["observation.state"]
        for _ in range(20):
            step = env.step(np.array([0, 0.2, 0, 0, 0, 0, -1], np.float32), look=True)
        moved = step.observation["observation.state"] - start
    with standing(benchmark_of(task="Lift", state_keys="robot0_eef_pos", control_mode="absolute")) as env:
        env.reset(7, None, look=False)
        controller = env._simulator.env.robots[0].controller
        rotation = quat2axisangle(mat2quat(controller.ee_ori_mat))
        pose = np.array([*controller.ee_pos + np.array([0, 0.1, 0]), *rotation, -1], np.float32)
        for _ in range(40):
            step = env.step(pose, look=True)
        reached = step.observation["observation.state"] - start

    assert 0.03 < moved[1] < 0.2, "the goal is always one centimetre ahead of where the hand is"
    assert np.abs(moved[[0, 2]]).max() < 0.01
    assert np.allclose(reached, [0, 0.1, 0], atol=0.02)


def test_observations_have_the_names_and_sizes_that_are_asked_for():
    """Cameras are renamed, vectors chosen, and the objects' poses replace the images."""
    fields = {"camera_name": "sideview,agentview", "camera_name_mapping": {"agentview": "image"}}
    with standing(benchmark_of(**fields, observation_width=32, state_keys="robot0_joint_pos,cube_pos")) as env:
        seen = env.reset(7, None, look=True)
        cube = env._simulator.env._get_observations()["cube_pos"]
    with standing(benchmark_of(obs_type="environment_state_agent_pos")) as env:
        poses = env.reset(7, None, look=True)
        look_seconds = env.look_seconds

    assert {name: array.shape for name, array in seen.items()} == {
        "observation.images.sideview": (84, 32, 3),
        "observation.images.image": (84, 32, 3),
        "observation.state": (10,),
    }
    assert np.array_equal(seen["observation.state"][7:], cube.astype(np.float32))
    assert {name: array.shape for name, array in poses.items()} == {
        "observation.environment_state": (10,),
        "observation.state": (9,),
    }
    assert look_seconds == 0


@pytest.mark.parametrize(("task", "n_actions", "n_state"), [("Wipe", 6, 7), ("TwoArmPegInHole", 12, 14)])
def test_arms_without_a_gripper_have_no_number_for_it(task, n_actions, n_state):
    with standing(benchmark_of(task=task, obs_type="environment_state_agent_pos")) as env:
        seen = env.reset(7, None, look=True)

    assert env.action_space.shape == (n_actions,)
    assert seen["observation.state"].shape == (n_state,)


def test_limits_are_robomimics():
    """As ``horizon`` in robomimic's registry of datasets has them; other tasks have robosuite's own."""

    def limits(protocol):
        return {t.name: t.max_episode_steps for t in benchmark_of(task="robomimic", protocol=protocol).tasks()}

    by_protocol = {protocol: limits(protocol) for protocol in ("ph", "mh")}

    assert by_protocol["ph"] == dict(zip(ROBOMIMIC_NAMES.values(), [400, 400, 400, 700, 700], strict=True))
    assert by_protocol["mh"] == dict(zip(ROBOMIMIC_NAMES.values(), [500, 500, 500, 700, 1100], strict=True))
    assert benchmark_of(task="Stack").tasks()[0].max_episode_steps == 1000


def test_the_docstrings_table_has_every_tasks_limits_and_cameras():
    text = inspect.getdoc(Robosuite)
    for name, task in TASKS.items():
        row = next(part for part in re.split(r"\n(?=[A-Z=])", text) if re.search(rf"\b{name}\b", part))
        assert re.search(rf"\s{task.max_steps('ph')}\s+{task.max_steps('mh')}\b", text[text.index(row) :])
        assert task.size == 84 or str(task.size) in text
        assert all(camera in text for camera in task.cameras)


def test_tasks_have_fixed_numbers_and_several_names():
    """A task's number does not depend on the others that are named; groups cover all of them."""
    both = benchmark_of(task="square, Lift,lift").tasks()
    covered = {name for group in ("single_arm", "two_arm") for name in GROUPS[group]}

    assert [(task.name, task.task_id) for task in both] == [("NutAssemblySquare", 10), ("Lift", 0)]
    assert [task.name for task in benchmark_of().tasks()] == ["Lift"]
    assert covered == set(TASKS)


def test_the_tasks_are_those_of_the_installed_robosuite():
    import robosuite

    tests_of_interfaces = {"Kitchen"}
    registered = {name for name in robosuite.ALL_ENVIRONMENTS if name in TASKS or name not in tests_of_interfaces}
    ours = {name for name, task in TASKS.items() if task.since <= (1, 4)}

    assert ours <= registered


def test_seeds_reach_every_generator():
    """PickPlaceSingle draws its object from Python's generator, and places from numpy's; 1.5 has one of its own."""
    with standing(benchmark_of(task="PickPlaceSingle")) as env:
        chosen = {}
        for seed in (1, 2, 3, 4, 1):
            env.reset(seed, None, look=False)
            chosen.setdefault(seed, []).append(env._simulator.env.obj_to_use)
    newer = SimpleNamespace(rng=np.random.default_rng(99))
    kept = newer.rng
    seed_everything(newer, 5)

    assert len(set(chosen[1])) == 1
    assert len({names[0] for names in chosen.values()}) > 1
    assert kept.random() == np.random.default_rng(5).random()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "PickPlaceCann"}, "Did you mean 'PickPlaceCan'?"),
        ({"robots": "Pandas"}, "it must be one of Panda, Sawyer"),
        ({"robots": "Panda,Sawyer"}, "env.robots names 2 robots; give one"),
        ({"protocol": "paper"}, "it must be one of ph, mh"),
        ({"obs_type": "state"}, "it must be one of pixels_agent_pos"),
        ({"observation_width": 0}, "env.observation_width is 0; it must be at least 1."),
    ],
)
def test_a_users_mistake_is_one_sentence(fields, words):
    """It is found before any simulator is built."""
    with pytest.raises(ConfigError) as raised:
        benchmark_of(**fields).tasks()

    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"camera_name": "agentvieww"}, "Lift has no camera 'agentvieww'. Did you mean 'agentview'?"),
        ({"state_keys": "robot0_eef"}, "robosuite has no vector 'robot0_eef'"),
        ({"camera_name_mapping": {"agentview": "a", "robot0_eye_in_hand": "a"}}, "two images the same name"),
        ({"task": "tool_hang"}, "proctor env create robosuite15"),
    ],
)
def test_what_only_the_simulator_can_say_is_a_sentence_too(fields, words):
    with pytest.raises(ConfigError, match=re.escape(words)), standing(benchmark_of(**fields)):
        pass


def test_a_missing_simulator_names_the_extra():
    """Tasks can be listed without it."""
    benchmark = benchmark_of()
    with (
        patch.dict(sys.modules, {"robosuite": None}),
        pytest.raises(MissingExtraError, match=r"proctor-eval\[robosuite\]"),
    ):
        benchmark.make_env(benchmark.tasks()[0])


def test_other_robots_can_be_chosen():
    """The hand of another arm is elsewhere."""
    with standing(benchmark_of(robots="UR5e", obs_type="environment_state_agent_pos")) as env:
        seen = env.reset(7, None, look=True)
        step = env.step(random_actions(env, 7, 1)[0], look=True)

    assert seen["observation.state"].shape == (13,)
    assert not np.array_equal(step.observation["observation.state"], seen["observation.state"])


def test_a_wiped_table_or_an_arm_at_its_limit_ends_the_episode():
    """robosuite's own end is not success."""
    with standing(benchmark_of(task="Wipe", obs_type="environment_state_agent_pos")) as env:
        env.reset(7, None, look=False)
        with patch.object(Simulator, "step", lambda *_, **__: ({}, -1.0, True)):
            step = env.step(np.zeros(6, np.float32), look=True)

    assert (step.terminated, step.success, step.observation) == (True, False, None)
    assert module.CONTROL_HZ == 20
