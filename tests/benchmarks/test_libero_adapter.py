"""LIBERO: its tasks, LeRobot's protocol to the bit, a quick simulator equal to LIBERO's own code, and success."""

import ast
import importlib
import json
import logging
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from benchmark_episodes import digest, from_script, random_actions, standing
from libero_checks import both_arms, both_kinds, differences, liberos, put_at_goal, standing_simulator

from proctor.benchmarks.libero import benchmark as libero
from proctor.benchmarks.libero import package as libero_package
from proctor.benchmarks.libero import simulator as libero_simulator
from proctor.benchmarks.libero.benchmark import N_INIT_STATES, Libero, LiberoConfig
from proctor.benchmarks.libero.package import DISTRIBUTIONS, LiberoFiles, read_pickled_array
from proctor.benchmarks.libero.simulator import QuickSimulator, SamplingClock, Simulator, is_compared
from proctor.benchmarks.libero.tasks import (
    LIBERO,
    MAX_STEPS,
    SUITES,
    instruction_of,
    written_instruction,
)
from proctor.benchmarks.robosuite import drawing
from proctor.config import structure
from proctor.errors import ConfigError, MissingExtraError

AWAY = np.array([0.05, 0.05, -0.05])
needs_lerobot = pytest.mark.skipif(find_spec("lerobot") is None, reason="lerobot is not installed")


def benchmark_of(suite, *task_ids, **fields):
    return Libero(LiberoConfig(task=suite, task_ids=list(task_ids), **fields))


def test_the_tasks_are_liberos():
    """130 tasks and LIBERO-PRO's 160 in the package's order, each with the sentence that the package makes of its name,
    and with the sentence that LIBERO's own parser reads in its file.
    """
    from libero.libero import benchmark
    from libero.libero.envs.bddl_utils import get_problem_info

    files = LiberoFiles()
    for suite, names in SUITES.items():
        theirs = benchmark.get_benchmark_dict()[suite]().tasks
        assert [task.name for task in theirs] == list(names)
        assert [task.language for task in theirs] == [instruction_of(name) for name in names]
        written = [get_problem_info(str(files.task_file(suite, name)))["language_instruction"] for name in names]
        assert written == [written_instruction(suite, number) for number in range(len(names))]
    assert [len(names) for names in SUITES.values()] == [10, 10, 10, 10, 90] + [10] * 16


@needs_lerobot
def test_the_limits_are_lerobots():
    """Read from LeRobot's source: importing it takes long."""
    tree = ast.parse((Path(find_spec("lerobot").origin).parent / "envs" / "libero.py").read_text())
    (limits,) = (
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "TASK_SUITE_MAX_STEPS"
    )

    assert limits == MAX_STEPS
    assert MAX_STEPS.keys() == LIBERO.keys()


def test_suites_and_tasks_are_chosen_as_in_lerobot():
    """Several suites by comma; numbers choose in each; without a suite it is libero_10."""
    tasks = benchmark_of("libero_spatial, libero_goal", 3, 0, 3).tasks()

    assert [(t.suite, t.task_id, t.max_episode_steps) for t in tasks] == [
        ("libero_spatial", 0, 280),
        ("libero_spatial", 3, 280),
        ("libero_goal", 0, 300),
        ("libero_goal", 3, 300),
    ]
    assert tasks[2].instruction == "open the middle drawer of the cabinet"
    assert {t.suite for t in Libero(LiberoConfig()).tasks()} == {"libero_10"}


def test_every_task_has_fifty_initial_states():
    """And episodes go round them."""
    files = LiberoFiles()
    benchmark = Libero(LiberoConfig())
    task = benchmark.tasks()[0]

    assert {len(files.init_states(suite, name)) for suite in SUITES for name in SUITES[suite]} == {N_INIT_STATES}
    assert [benchmark.init_state_id(task, i) for i in (0, 49, 50, 103)] == [0, 49, 0, 3]
    assert Libero(LiberoConfig(init_states=False)).init_state_id(task, 3) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task": "libero_spacial"}, "Did you mean 'libero_spatial'?"),
        ({"task": "libero_goal", "task_ids": "[10]"}, "env.task_ids contains 10; libero_goal has tasks 0 to 9."),
        ({"obs_type": "state"}, "it must be one of pixels_agent_pos, pixels"),
        ({"control_mode": "delta"}, "it must be one of relative, absolute"),
        ({"camera_name": "frontview_image"}, "choose from agentview_image and robot0_eye_in_hand_image"),
        ({"camera_name": ","}, "env.camera_name is empty"),
        ({"camera_name_mapping": '{"agentview": "camera1"}'}, "no camera image 'agentview'"),
        ({"camera_name_mapping": '{"agentview_image": "image2"}'}, "gives two images the same name"),
        ({"observation_height": 0}, "it must be at least 1"),
    ],
)
def test_a_users_mistake_is_one_sentence(fields, words):
    """What is wrong and what to do, before any simulator is built."""
    with pytest.raises(ConfigError) as raised:
        Libero(structure(LiberoConfig, {"type": "libero", **fields}, "env")).tasks()

    assert words in str(raised.value)


@pytest.mark.parametrize("missing", ["robosuite", "libero.libero"])
def test_a_missing_simulator_names_the_extra(missing, monkeypatch):
    """Tasks can be listed without it."""
    monkeypatch.setitem(sys.modules, missing, None)  # that one alone: what is imported meanwhile stays
    benchmark = benchmark_of("libero_goal", 7)
    with pytest.raises(MissingExtraError, match=r"proctor-eval\[libero\]"):
        benchmark.make_env(benchmark.tasks()[0])


@pytest.mark.parametrize(
    ("key", "what"), [("assets", "3D models"), ("bddl_files", "tasks"), ("init_states", "initial states")]
)
def test_a_configuration_that_leads_nowhere_is_named(tmp_path, monkeypatch, key, what):
    """Left by another installation; the sentence says which file it is and what was looked for."""
    (tmp_path / "config.yaml").write_text(json.dumps({key: str(tmp_path / "nowhere")}))
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))

    with pytest.raises(
        ConfigError,
        match=rf"LIBERO's {what} are not in .*nowhere.*; {tmp_path}/config\.yaml names that folder: correct or remove",
    ):
        LiberoFiles()


def test_missing_models_are_a_sentence(tmp_path, monkeypatch):
    """A package without its 3D models says where they were looked for and what to install."""
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))
    libero = sys.modules.get("libero.libero") or importlib.import_module("libero.libero")
    get = libero.get_libero_path
    monkeypatch.setattr(libero, "get_libero_path", lambda key: tmp_path if key == "assets" else get(key))

    with pytest.raises(ConfigError, match=r"LIBERO's 3D models are not in .*scenes; .*pip install '.*\[libero\]'"):
        LiberoFiles()


def test_robosuite_is_imported_without_its_log_file(monkeypatch):
    """Which would be in /tmp, and another user's: only the first one on a machine could run LIBERO."""
    logs = []
    monkeypatch.setattr(
        drawing, "import_simulator", lambda *_: logs.append(logging.FileHandler("/nowhere/robosuite.log"))
    )

    libero_package.import_robosuite()

    assert isinstance(logs[0], logging.NullHandler)
    assert isinstance(logging.FileHandler, type)


def test_hf_libero_is_imported_without_its_questions(tmp_path):
    """The other distribution asks on the terminal, writes into the home folder, and downloads. Here it does not."""
    package = tmp_path / "site" / "libero" / "libero"
    for folder in ("assets/scenes", "bddl_files", "init_files"):
        (package / folder).mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text(ASKING)
    home = tmp_path / "home"
    home.mkdir()
    program = f"""
import sys
sys.path[:] = [path for path in sys.path if not path.endswith("site-packages")]  # the libero that is installed
sys.path.insert(0, {str(tmp_path / "site")!r})
import proctor.benchmarks.libero.package as package
files = package.LiberoFiles()
import libero.libero
print(files.task_file("libero_goal", "x"), libero.libero.get_assets_path(), sep="\\n")
"""
    setup = (
        f"import sys; sys.path.append({str(Path(np.__file__).parents[1])!r}); "
        "import numpy, gymnasium, msgspec, packaging.version, proctor.errors"
    )
    environment = {"HOME": str(home), "PATH": "", "PYTHONPATH": str(Path(find_spec("proctor").origin).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", setup + "\n" + program], capture_output=True, text=True, env=environment, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(package / "bddl_files/libero_goal/x.bddl"), str(package / "assets")]
    assert list(home.iterdir()) == []


ASKING = """
import os
config = os.path.join(os.environ.get("LIBERO_CONFIG_PATH", os.path.expanduser("~/.libero")), "config.yaml")
os.makedirs(os.path.dirname(config), exist_ok=True)
if not os.path.exists(config):
    input("Do you want to specify a custom path for the dataset folder? (Y/N): ")
def get_libero_path(what):
    raise AssertionError("the configuration is gone")
def get_assets_path():
    raise AssertionError("this would download")
"""


class Malicious:
    """Would leave a file behind when unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pickled_initial_states_are_read_and_nothing_else_is(tmp_path):
    """What torch saved is read without torch; a pickle that holds more than an array is refused, and does nothing."""
    torch = pytest.importorskip("torch")
    states = np.random.default_rng(0).normal(size=(50, 79))
    torch.save(states, tmp_path / "good.pruned_init")
    torch.save(Malicious(tmp_path / "trace"), tmp_path / "bad.pruned_init")
    torch.save([1, 2], tmp_path / "list.pruned_init")

    assert np.array_equal(read_pickled_array(tmp_path / "good.pruned_init"), states)
    with pytest.raises(pickle.UnpicklingError, match="only arrays are read from a pickle"):
        read_pickled_array(tmp_path / "bad.pruned_init")
    with pytest.raises(pickle.UnpicklingError, match="contains list, not an array"):
        read_pickled_array(tmp_path / "list.pruned_init")
    assert not (tmp_path / "trace").exists()


def test_unreadable_initial_states_say_how_to_do_without(tmp_path, monkeypatch):
    """The option is named, and that it is another protocol."""
    (tmp_path / "config.yaml").write_text(json.dumps({"init_states": str(tmp_path)}))
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path))

    with pytest.raises(ConfigError, match=r"cannot be read: .*another protocol: --env.init_states=false"):
        LiberoFiles().init_states("libero_goal", "turn_on_the_stove")


@pytest.mark.skipif(
    not is_compared(DISTRIBUTIONS), reason="other versions are installed than those the quick simulator is for"
)
@pytest.mark.parametrize(
    ("suite", "task_id"),
    [("libero_goal", 7), ("libero_object", 0), ("libero_spatial", 0), ("libero_10", 3)],
)
def test_the_quick_simulator_is_liberos_own_code_to_the_bit(suite, task_id):
    """Every array, image, sensor and random number, over two episodes in one simulator that end in success."""
    stock, quick = both_kinds(*liberos(suite, task_id), (1004, 3), 4)

    assert differences(stock, quick) == []
    assert [[moment[0] for moment in episode] for episode in quick] == [[False] * 4 + [True]] * 2


def test_a_frame_larger_than_any_before_is_liberos_own():
    """Its GL context is made anew for it, with the scene's textures."""
    frames = []
    for kind in (Simulator, QuickSimulator):
        with standing_simulator(kind, liberos("libero_goal", 7)[0]) as simulator:
            simulator.reset(7, None, absolute=False, look=True)
            frames.append([simulator.draw("agentview", size) for size in ((128, 128), (720, 600), (128, 128))])

    for stock, quick in zip(*frames, strict=True):
        assert np.array_equal(stock, quick)
    assert frames[0][1].shape == (600, 720, 3)


def test_the_compiled_arm_moves_as_robosuites_own_to_the_bit():
    """By changes of the pose, and by poses."""
    changes, poses = (both_arms("libero_object", 0, (0, 1), 30, absolute=absolute) for absolute in (False, True))

    for own, compiled in (changes, poses):
        assert compiled == own
    assert len({moment for episodes in (changes[0], poses[0]) for episode in episodes for moment in episode}) == 120


def test_the_comparison_sees_a_single_constraint_solution_less():
    """Else it could not fail."""

    actions = np.random.default_rng(0).uniform(-1, 1, (30, 7)).astype(np.float32)
    states = []
    with standing_simulator(QuickSimulator, liberos("libero_goal", 7)[0]) as simulator:
        for solve in (simulator._arm._controller._solve, lambda *_: None):
            simulator._arm._controller._solve = solve
            simulator.reset(7, None, absolute=False, look=False)
            for action in actions:
                simulator.step(action, look=False)
            states.append(simulator.data.qacc_warmstart.tobytes())

    assert states[0] != states[1]


def test_other_versions_run_by_liberos_own_code(monkeypatch):
    """The quick simulator stands in for what it was compared with, and for nothing else; the log says so."""
    benchmark = benchmark_of("libero_goal", 7)
    benchmark.files()  # the first import of robosuite warns of something else
    monkeypatch.setitem(libero_simulator.COMPARED, "mujoco", ("3.1.0",))
    with pytest.warns(UserWarning, match="LIBERO runs by its own, slower code"), standing(benchmark) as env:
        assert type(env._simulator) is Simulator


@needs_lerobot
def test_an_episode_is_lerobots_to_the_bit():
    """Images, positions, rewards and ends; in a task whose episodes depend in LeRobot on how many came before."""
    theirs = from_script("lerobot_libero.py", 1003, 2, "libero_10/3")["libero_10/3"]
    with standing(benchmark_of("libero_10", 3)) as env:
        seen = [(0.0, False, env.reset(1003, 3, look=True))]
        for action in random_actions(env, 1003, 2):
            step = env.step(action, look=True)
            seen.append((step.reward, step.terminated, step.observation))
    images = "observation.images.image", "observation.images.image2"
    ours = [[reward, over, *(digest(look[name]) for name in images)] for reward, over, look in seen]
    states = np.array([look["observation.state"] for _, _, look in seen])
    their_states = np.array([moment[4] for moment in theirs], np.float32)
    place = [0, 1, 2, 6, 7]  # of hand and fingers; between them its orientation, which LeRobot rounds differently

    assert ours == [moment[:4] for moment in theirs]
    assert np.array_equal(states[:, place], their_states[:, place])
    assert np.abs(states - their_states).max() < 1e-6


@pytest.mark.skipif(
    not is_compared(DISTRIBUTIONS), reason="other versions are installed than those the quick simulator is for"
)
def test_what_a_worker_was_forked_with_is_the_same_and_costs_less_memory():
    """The scene is compiled, and its files are read, in the process that workers are forked from."""
    own, *forked = from_script("forked_libero.py", "libero_object", 0)

    assert [episode for episode, _ in forked] == [own[0]] * 2
    assert max(memory for _, memory in forked) < 0.8 * own[1]


def test_success_ends_the_episode_and_only_looks_are_drawn():
    """Turning the stove's knob is a success; until somebody looks there is no GL context."""
    with standing(benchmark_of("libero_goal", 7, camera_name_mapping={"agentview_image": "camera1"})) as env:
        env.reset(7, 0, look=False)
        still = np.zeros(7, np.float32)
        before = env.step(still, look=False)
        unseen = env._simulator.env.sim._render_context_offscreen
        look = env.step(still, look=True).observation
        put_at_goal(env._simulator)
        after = env.step(still, look=True)

    assert (before.reward, before.success, before.terminated) == (0.0, False, False)
    assert (after.reward, after.success, after.terminated, after.truncated) == (1.0, True, True, False)
    assert after.observation is None
    assert unseen is None
    assert look.keys() == {"observation.images.camera1", "observation.images.image2", "observation.state"}
    assert all(look[name].std() > 10 for name in look if "images" in name)


def test_absolute_actions_are_poses():
    """The hand goes where the action says, and stays there; relative ones of zero leave it."""
    poses = {}
    for mode in ("absolute", "relative"):
        config = benchmark_of("libero_goal", 7, control_mode=mode, obs_type="pixels", camera_name="agentview_image")
        with standing(config) as env:
            env.reset(7, 0, look=False)
            start = env._simulator.data.site_xpos[env._simulator._hand.grip_site].copy()
            pose = [*(start + AWAY), np.pi, 0, 0] if mode == "absolute" else [0] * 6
            for _ in range(40):
                env.step(np.array([*pose, -1], np.float32), look=False)
            poses[mode] = env._simulator.data.site_xpos[env._simulator._hand.grip_site] - start
            keys = set(env.observation_space)

    assert np.abs(poses["absolute"] - AWAY).max() < 0.01
    assert np.abs(poses["relative"]).max() < 0.01
    assert keys == {"observation.images.image"}


def test_sensors_sample_once_a_step():
    """As robosuite's own do, after any number of forced samples: two substeps before the end."""
    from robosuite.utils.observables import Observable, sensor

    samples = []

    @sensor(modality="test")
    def sample(_):
        samples.append(substep)
        return 0.0

    substep = -1
    theirs, ours = Observable("test", sample, sampling_rate=20), SamplingClock(0.002, 1 / 20)
    found = []
    for episode in range(2):
        theirs.reset()
        ours.restart()
        samples.clear()
        found.clear()
        for substep in range(25 * 300 + 2):
            force = substep in (0, 1)[: episode + 1]
            theirs.update(0.002, {}, force=force)
            if ours.tick(force=force):
                found.append(substep)
        assert found == samples
        assert len(samples) > 300


@pytest.mark.parametrize(
    ("installed", "n_cautions"), [("3.2.7", 0), ("3.3.0", 0), ("3.3.2", 0), ("3.3.3", 1), ("3.3.7", 1), ("3.4.0", 2)]
)
def test_a_mujoco_that_changes_libero_is_reported_before_a_worker_starts(monkeypatch, installed, n_cautions):
    """Since 3.3.3 its images are darker; since 3.4 a task's objects lie elsewhere."""
    monkeypatch.setattr(libero, "version", lambda name: installed)

    cautions = benchmark_of("libero_object").cautions()

    assert len(cautions) == n_cautions
    assert all(caution.startswith(f"MuJoCo {installed} ") and "mujoco<3.3.3" in caution for caution in cautions)


@pytest.mark.parametrize(
    ("protocol", "limits", "state", "init_state"),
    [
        ("lerobot", [280, 280, 300, 520], "float32", 3),
        ("openpi", [220, 280, 300, 520], "float64", 3),
        ("groot", [720] * 4, "float32", None),
    ],
)
def test_a_protocol_decides_limits_states_and_waiting(protocol, limits, state, init_state):
    """By openpi's and by GR00T's protocol too, an episode is the same in LIBERO's own code and in the quick one."""
    suites = Libero(LiberoConfig(task="libero_spatial,libero_object,libero_goal,libero_10", protocol=protocol))
    assert [task.max_episode_steps for task in suites.tasks()][::10] == limits
    benchmark = benchmark_of("libero_goal", 7, protocol=protocol)
    (task,) = benchmark.tasks()
    assert benchmark.init_state_id(task, 3) == init_state

    seen = []
    for quick in (True, False):
        with patch.object(libero_simulator, "is_compared", lambda _, quick=quick: quick):
            env = benchmark.make_env(task)
            assert env.observation_space["observation.state"].dtype == state
            frames = [env.reset(1003, init_state, look=True)]
            frames += [env.step(np.array([*AWAY, 0, 0, 0, -1]), look=True).observation for _ in range(2)]
            seen.append(["".join(digest(frame[key]) for key in sorted(frame)) for frame in frames])
            env.close()

    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 3


def test_without_waiting_the_first_observation_is_the_one_that_the_seed_places():
    """It is not what it is ten steps later, and depends on the seed."""
    (task,) = benchmark_of("libero_goal", 7).tasks()
    first = {}
    for protocol in ("groot", "lerobot"):
        env = benchmark_of("libero_goal", 7, protocol=protocol, init_states=False).make_env(task)
        first[protocol] = [env.reset(seed, None, look=True)["observation.images.image"] for seed in (1, 2, 1)]
        env.close()

    assert (first["groot"][0] == first["groot"][2]).all()
    assert (first["groot"][0] != first["groot"][1]).any()
    assert (first["groot"][0] != first["lerobot"][0]).any()


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ConfigError, match="lerobot"):
        LiberoConfig(protocol="openvla")
