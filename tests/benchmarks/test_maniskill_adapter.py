"""ManiSkill: its own episodes to the bit, drawn only when looked at, each as in a new environment; no prompt, ever."""

import inspect
import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from benchmark_episodes import always, episode, random_actions, standing
from maniskill_checks import own, own_episode, summary

import proctor
from proctor.benchmarks.maniskill import ManiSkill, ManiSkillConfig
from proctor.benchmarks.maniskill.package import import_maniskill, preload
from proctor.benchmarks.maniskill.simulator import Generators
from proctor.benchmarks.maniskill.tasks import GROUPS, MAX_STEPS, NEEDED
from proctor.errors import ConfigError, MissingFilesError
from proctor.testing.conformance import BenchmarkConformance

pytestmark = pytest.mark.usefixtures("vulkan")


def maniskill(task, **fields):
    return ManiSkill(ManiSkillConfig(task=task, **fields))


class TestConformance(BenchmarkConformance):
    """One arm; parts that touch, whose contacts PhysX remembers after a reset; a hand."""

    @pytest.fixture(
        params=["PickCube-v1", "PlugCharger-v1", pytest.param("RotateValveLevel0-v1", marks=pytest.mark.prove)]
    )
    def benchmark(self, request):
        return maniskill(request.param)

    def test_the_docstring_says_what_is_seen_and_done(self, benchmark, recording):
        """Of the task that it describes: keys, shapes and dtypes, how many steps of how long."""
        (task,) = benchmark.tasks()
        if task.name != "PickCube-v1":
            pytest.skip("the docstring describes PickCube-v1")
        docstring = " ".join(inspect.getdoc(ManiSkill).split())

        assert f"{task.max_episode_steps} steps of {1 / recording.fps:g} s" in docstring
        assert f"{recording.action.dtype} {recording.action.shape}" in docstring
        for key, array in recording.observation.items():
            assert f"``{key}`` {array.dtype} {array.shape}" in docstring
        assert recording.deterministic
        assert recording.look_seconds[0] > 0


@pytest.mark.parametrize(
    ("task", "control_mode"), [("PickCube-v1", None), ("StackCube-v1", "pd_ee_delta_pose")], ids=lambda value: value
)
def test_an_episode_is_maniskills_to_the_bit(task, control_mode):
    """Images of every camera, positions of joints, rewards and success, of a new environment that always draws."""
    options = {} if control_mode is None else {"control_mode": control_mode}
    with standing(maniskill(task, **options)) as env:
        actions = random_actions(env, 1003, 10)
        ours = episode(env, 1003, 10, look=always)
    theirs = own(task, **options)
    expected = own_episode(theirs, 1003, actions)
    theirs.close()

    assert summary(ours) == expected
    assert len({str(seen) for seen, *_ in expected}) == 11


def test_the_state_of_maniskills_baselines_is_to_be_had():
    """``agent_extra`` is what its wrapper makes of an observation, the goal included; ``agent`` is the part that the
    robot senses, ``qpos`` the joints' positions.
    """
    theirs = own("PickCube-v1")
    seen, _ = theirs.reset(seed=5)
    theirs.close()
    agent = [seen["agent"]["qpos"], seen["agent"]["qvel"]]
    extra = [np.atleast_1d(value).astype(np.float32) for value in seen["extra"].values()]
    expected = {
        "qpos": agent[0],
        "agent": np.concatenate(agent),
        "agent_extra": np.concatenate([*agent, *extra]),
    }
    assert "goal_pos" in seen["extra"]

    with standing(maniskill("PickCube-v1", state="agent_extra")) as env:
        whole = env.reset(5, None, look=True)["observation.state"]
        assert whole.dtype == np.float32
        for state, values in expected.items():
            object.__setattr__(env._config, "state", state)
            assert np.array_equal(env._state(env._simulator.sensed(extra=True)), values), state
        object.__setattr__(env._config, "state", "none")
        assert "observation.state" not in env.reset(5, None, look=True)
    assert np.array_equal(whole, expected["agent_extra"])


def test_success_ends_the_episode():
    """The cube is put where it is to be pushed."""
    with standing(maniskill("PushCube-v1")) as env:
        env.reset(3, None, look=False)
        stays = env.step(np.zeros(8, np.float32), look=True)
        task = env._simulator.env
        task.obj.set_pose(task.goal_region.pose)
        pushed = env.step(np.zeros(8, np.float32), look=True)

    assert (stays.success, stays.terminated) == (False, False)
    assert stays.observation is not None
    assert (pushed.success, pushed.terminated, pushed.truncated) == (True, True, False)
    assert pushed.observation is None


def test_the_last_step_truncates():
    """And nobody looks any more."""
    with standing(maniskill("PushCube-v1", episode_length=2, observation_width=32, observation_height=16)) as env:
        moments = episode(env, 7, 5, look=always)
        size = env.reset(7, None, look=True)["observation.images.base_camera"].shape

    assert [moment.over for moment in moments] == [False, False, True]
    assert moments[-1].seen is None
    assert size == (16, 32, 3)


def test_random_numbers_of_a_step_are_the_episodes_own():
    """``SO100GraspCube-v1`` moves its camera at random in every step, by torch's global generator."""
    torch = import_module("torch")
    with standing(maniskill("SO100GraspCube-v1")) as env:
        first = episode(env, 7, 3, look=always)
        torch.manual_seed(99)
        before = torch.get_rng_state(), np.random.get_state()[1]
        again = episode(env, 7, 3, look=always)
        after = torch.get_rng_state(), np.random.get_state()[1]

    assert again == first
    assert len({str(moment.seen) for moment in first}) == 4
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_generators_are_put_back_after_an_error():
    """Each simulator's go on where they were."""
    torch = import_module("torch")
    generators = Generators()
    generators.seed(5)
    with generators.in_place():
        first = torch.rand(1).item(), np.random.rand()
    outside = torch.get_rng_state()
    with pytest.raises(RuntimeError), generators.in_place():
        torch.normal(torch.rand(1), torch.full((1,), -1.0))
    assert torch.equal(outside, torch.get_rng_state())
    with generators.in_place():
        assert torch.rand(1).item() not in (first[0], 0.0)
    generators.seed(5)
    with generators.in_place():
        assert (torch.rand(1).item(), np.random.rand()) == first


def test_an_episode_begins_in_a_new_scene():
    """In an old one PhysX remembers contacts: the second episode of one seed then differs from the first."""
    with standing(maniskill("PlugCharger-v1")) as env:
        first, second = (episode(env, 7, 40) for _ in range(2))
        kept = []
        for _ in range(3):
            env._simulator._new = True  # then the reset builds nothing
            kept.append(episode(env, 7, 40))

    assert second == first
    assert any(moments != first for moments in kept)


def test_two_robots_have_one_action():
    """Those of the first robot, then those of the second."""
    with standing(maniskill("TwoRobotPickCube-v1", observation_width=8, observation_height=8)) as env:
        env.reset(0, None, look=False)
        parts = env._simulator._native(np.arange(16, dtype=np.float32))
        env.step(np.zeros(16, np.float32), look=False)
        assert env.action_space.shape == (16,)
        assert env.observation_space["observation.state"].shape == (18,)
    assert [part.tolist() for part in parts.values()] == [list(range(8)), list(range(8, 16))]


def test_the_table_of_tasks_is_that_of_the_registry():
    """Step limits and downloads; a group without downloads is a folder of ManiSkill's code."""
    import_maniskill(None)
    registered = import_module("mani_skill.utils.registration").REGISTERED_ENVS
    agents = import_module("mani_skill.agents").REGISTERED_AGENTS

    assert {name: registered[name].max_episode_steps for name in MAX_STEPS} == MAX_STEPS
    for group, names in GROUPS.items():
        for name in names:
            declared = {*registered[name].asset_download_ids}
            if not group.startswith("assets:"):
                assert not declared
                assert f".tasks.{group}." in registered[name].cls.__module__
    undeclared = {"OpenCabinetDoor-v1": ["partnet_mobility_cabinet"], "PickCubeWidowXAI-v1": ["widowxai"]}
    declared = {name: registered[name].asset_download_ids or undeclared.get(name) for name in NEEDED}
    assert {name: [*downloads] for name, downloads in NEEDED.items()} == declared
    assert agents["widowxai"].asset_download_ids == ["widowxai"]


def test_a_task_without_its_files_says_how_to_fetch_them(monkeypatch):
    """Nobody is asked, and nothing is downloaded, whatever ManiSkill's variable for that says."""
    monkeypatch.setenv("MS_SKIP_ASSET_DOWNLOAD_PROMPT", "1")
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("somebody was asked"))
    fetch = "python -m mani_skill.utils.download_asset"
    with pytest.raises(MissingFilesError) as error, standing(maniskill("PickClutterYCB-v1")):
        pass
    assert f"`{fetch} ycb` and `{fetch} pick_clutter_ycb_configs`, or name the folder" in str(error.value)

    import_maniskill(None)
    ask = import_module("mani_skill.utils.download_asset").prompt_yes_no
    with pytest.raises(MissingFilesError, match=r"Robot x has assets available for download\. Fetch them"):
        ask("Robot x has assets available for download. Would you like to download them now?")


def test_another_folder_in_the_same_process_is_refused(tmp_path, monkeypatch):
    """ManiSkill reads the folder's name once, while it is imported."""
    import_maniskill(None)
    monkeypatch.setenv("MS_ASSET_DIR", "")
    with pytest.raises(ConfigError, match="this process has already read ManiSkill's files in"):
        import_maniskill(str(tmp_path))


def test_a_control_mode_that_the_robot_has_not_is_refused():
    """With those that it has."""
    with pytest.raises(ConfigError, match=r"fit RotateValveLevel0-v1: pd_ee_delta_pose not in .*pd_joint_delta_pos"):
        maniskill("RotateValveLevel0-v1", control_mode="pd_ee_delta_pose").make_env(
            maniskill("RotateValveLevel0-v1").tasks()[0]
        )


def test_without_a_driver_the_sentence_names_what_is_needed():
    """In a process of its own, since a driver is chosen once."""
    program = """
from proctor.benchmarks.maniskill import ManiSkill, ManiSkillConfig
benchmark = ManiSkill(ManiSkillConfig(task="PickCube-v1"))
try:
    benchmark.make_env(benchmark.tasks()[0])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""
    nothing = {**os.environ, "VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", program], env=nothing, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1].startswith(
        "ConfigError: ManiSkill found no Vulkan driver that it can draw with ("
    )
    assert "`proctor doctor` says how to get one" in done.stdout


def test_workers_use_no_gpu_of_the_policy(monkeypatch):
    """torch in a worker would take memory of it; a renderer on the GPU needs it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    preload(None, "gpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    preload(None, "cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_an_evaluation_is_the_same_with_any_number_of_workers(tmp_path):
    """Forked ones; a video is made by replaying the episode."""
    env = {"type": "maniskill", "task": "PickCube-v1", "episode_length": 5}
    runs = []
    for n, video in ((1, "none"), (2, "first")):
        result = proctor.evaluate(
            {"type": "random"}, env, n_episodes=3, output_dir=tmp_path / str(n), batch_size=n, video=video
        )
        keys = ("seed", "sum_reward", "length", "final_state_hash")
        runs.append([[episode[key] for key in keys] for episode in result.info["per_episode"]])

    assert runs[0] == runs[1]
    assert len({str(episode) for episode in runs[0]}) == 3
    assert len([*(tmp_path / "2").rglob("*.mp4")]) == 3
    assert not [*(tmp_path / "1").rglob("*.mp4")]
