"""Simulators that need packages of their own, tested with them: robosuite 1.5, gym-xarm, gym-hil and RoboCasa."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from simulator_environments import beside, with_path, xarm_python

from proctor.benchmarks.hil import Hil, HilConfig
from proctor.benchmarks.robocasa.package import read_registry
from proctor.benchmarks.xarm import Xarm, XarmConfig
from proctor.config import structure
from proctor.errors import ConfigError
from proctor.evaluation.components import make_benchmark
from proctor.evaluation.run import evaluate

HERE = Path(__file__).parent
ROBOCASA = ("rlinf-robocasa365==1.0.1", "h5py", "lxml", "imageio", "pyyaml")

STOCK_XARM = """
import json
import gymnasium, mujoco, numpy as np
import gym_xarm
from proctor.benchmarks.base import digest_of
from proctor.benchmarks.xarm import Xarm, XarmConfig
from proctor.testing.episodes import always, episode, opened, random_actions

actions = np.random.default_rng(7).uniform(-1, 1, (12, 4)).astype(np.float32)
env = gymnasium.make("gym_xarm/XarmLift-v0", obs_type="pixels_agent_pos", disable_env_checker=True)
mujoco.mj_resetData(env.unwrapped.model, env.unwrapped.data)  # its constructor has simulated an unseeded scene
seen, _ = env.reset(seed=7)
stock = [(0.0, sorted(digest_of([part]) for part in seen.values()))]
for action in actions:
    seen, reward, *_ = env.step(action)
    stock.append((float(reward), sorted(digest_of([part]) for part in seen.values())))
env.close()
with opened(Xarm(XarmConfig())) as env:  # in this order: gym-xarm does not choose its GL context before it draws
    assert (random_actions(env, 7, 12) == actions).all()
    ours = [(m.reward, sorted((m.seen or {}).values())) for m in episode(env, 7, 12, look=always)]
print()
print(json.dumps([i for i, (a, b) in enumerate(zip(ours, stock)) if a != b]))
"""

STOCK_HIL = """
import json, sys
import gymnasium, numpy as np
import gym_hil
from proctor.benchmarks.base import digest_of
from proctor.benchmarks.hil import Hil, HilConfig
from proctor.testing.episodes import always, episode, opened, random_actions

def digests(seen):
    parts = {f"observation.images.{name}": image for name, image in seen["pixels"].items()}
    parts["observation.state"] = seen["agent_pos"]
    return {name: digest_of([part]) for name, part in sorted(parts.items())}

found = {}
for task in ("PandaPickCube-v0", "PandaArrangeBoxesBase-v0"):
    with opened(Hil(HilConfig(task=task))) as env:
        ours = [(m.reward, m.seen) for m in episode(env, 7, 6, look=always)]
        actions = random_actions(env, 7, 6)
    env = gymnasium.make(f"gym_hil/{task}", image_obs=True, disable_env_checker=True)
    np.random.seed(7)
    stock = [(0.0, digests(env.reset(seed=7)[0]))]
    for action in actions:
        seen, reward, *_ = env.step(action)
        stock.append((float(reward), digests(seen)))
    env.close()
    found[task] = [i for i, (a, b) in enumerate(zip(ours, stock)) if a != b]
print()
print(json.dumps(found))
"""


def kit(python, environment, benchmark, fields, **more):
    """Run the conformance kit in another environment; the end of what pytest printed, and its status."""
    command = [python, "-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider", str(HERE / "kit_elsewhere.py")]
    given = {**environment, "BENCHMARK": benchmark, "FIELDS": json.dumps(fields), **more}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=given, timeout=900)
    return done.returncode, done.stdout[-3000:] + done.stderr[-500:]


def from_program(python, environment, *arguments):
    """What a program prints as its last line: JSON."""
    done = subprocess.run(
        [python, *arguments], check=False, capture_output=True, text=True, env=environment, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("task", ["tool_hang", pytest.param("transport", marks=pytest.mark.prove)])
def test_robosuite_1_5_passes_the_kit(task):
    """With a task that only this version has; small images, since the size of a frame matters little."""
    fields = {"type": "robosuite", "task": task, "observation_width": 84, "observation_height": 84}
    status, printed = kit(sys.executable, beside("robosuite==1.5.2"), "proctor.benchmarks.robosuite:Robosuite", fields)

    assert status == 0, printed


@pytest.mark.prove
def test_robosuite_1_5s_episodes_are_its_own_to_the_bit():
    """One arm and two, scenes whose text changes and scenes whose text does not."""
    tasks = ("Lift", "PickPlaceCan", "ToolHang", "TwoArmTransport", "TwoArmPegInHole")
    found = from_program(sys.executable, beside("robosuite==1.5.2"), str(HERE / "stock_robosuite.py"), *tasks)

    assert {task: (result["always"], result["seldom"]) for task, result in found.items()} == dict.fromkeys(
        tasks, ([], [])
    )


def test_xarm_passes_the_kit():
    """On MuJoCo 2, under an older Python than Proctor's."""
    status, printed = kit(xarm_python(), with_path(), "proctor.benchmarks.xarm:Xarm", {"type": "xarm"})

    assert status == 0, printed


def test_xarms_episodes_are_gym_xarms_to_the_bit():
    """Images, hands and rewards equal those of the simulator that renders in every step."""
    assert from_program(xarm_python(), with_path(), "-c", STOCK_XARM) == []


def test_xarm_is_evaluated_under_its_own_interpreter(tmp_path):
    """``env.python`` is all that is needed; the fingerprint has that environment's versions."""
    env = {"type": "xarm", "python": xarm_python(), "episode_length": 20}
    evaluate({"type": "random"}, env, n_episodes=2, batch_size=1, output_dir=tmp_path / "run")
    run = json.loads((tmp_path / "run" / "run.json").read_text())

    assert '"mujoco": "2.' in json.dumps(run), "the version is that of the other environment"
    assert len((tmp_path / "run" / "journal.jsonl").read_text().splitlines()) >= 2


@pytest.mark.parametrize("benchmark", [Xarm(XarmConfig()), Hil(HilConfig())], ids=["xarm", "hil"])
def test_a_missing_package_says_which_environment_to_create(benchmark):
    """Tasks can be listed without it."""
    with pytest.raises(ConfigError, match=f"proctor env create {benchmark.name}"):
        benchmark.make_env(benchmark.tasks()[0])


@pytest.mark.parametrize(
    "task", [pytest.param("PandaArrangeBoxes-v0", marks=pytest.mark.prove), "PandaPickCubeBase-v0"]
)
def test_hil_passes_the_kit(task):
    """With an action of four numbers, and of seven."""
    fields = {"type": "hil", "task": task, "random_block_position": True}
    status, printed = kit(sys.executable, beside("gym-hil==0.1.14"), "proctor.benchmarks.hil:Hil", fields)

    assert status == 0, printed


def test_hils_episodes_are_gym_hils_to_the_bit():
    """Images, joints and rewards equal those of the simulator that renders in every step."""
    found = from_program(sys.executable, beside("gym-hil==0.1.14"), "-c", STOCK_HIL)

    assert found == {"PandaPickCube-v0": [], "PandaArrangeBoxesBase-v0": []}


def test_lerobots_spelling_of_gym_hil_is_understood():
    """Its ``gym_manipulator`` with another name is left to LeRobot."""
    benchmark, _ = make_benchmark({"type": "gym_manipulator", "name": "gym_hil", "task": "PandaPickCube-v0"})

    assert isinstance(benchmark, Hil)
    assert [task.name for task in benchmark.tasks()] == ["PandaPickCube-v0"]
    assert Hil.fields_for("gym_manipulator", {"name": "real_robot"}) is None
    with pytest.raises(ConfigError, match="Did you mean 'PandaPickCube-v0'"):
        Hil(structure(HilConfig, {"type": "hil", "task": "PandaPickCubes-v0"}, "env")).tasks()


def robocasa_beside():
    """The environment variables with which this interpreter has robocasa and the robosuite that it needs."""
    robosuite = beside("praxis-robosuite==1.5.2.post1")
    folders = [beside(requirement)["PYTHONPATH"].split(":")[0] for requirement in ROBOCASA]
    return with_path(robosuite["PYTHONPATH"].split(":")[0], *folders)


@pytest.mark.prove
def test_robocasa_around_another_scene():
    """Its wrapper, robot, cameras, vectors and instruction; a kitchen needs 3D models that cannot be had here."""
    found = from_program(sys.executable, robocasa_beside(), str(HERE / "robocasa_stand_in.py"))

    assert found["same_as_robocasa"]
    assert found["same_without_looks"]
    assert found["same_again"]
    assert found["fits"]
    assert found["spaces"]["observation.state"] == ["float32", [16]]
    assert found["instruction"][0] == found["instruction"][1] != ""


@pytest.mark.prove
def test_robocasas_tasks_are_those_that_it_registers():
    """Read from its text, they equal what an import gives; without 3D models the refusal says what to fetch."""
    program = """
import json, robocasa
from robocasa.utils import dataset_registry as registry
from proctor.benchmarks.robocasa import RoboCasa, RoboCasaConfig
from proctor.benchmarks.robocasa.package import read_registry
from proctor.errors import ConfigError
every = {**registry.ATOMIC_TASK_DATASETS, **registry.COMPOSITE_TASK_DATASETS}
groups = {**registry.TARGET_TASKS, **registry.PRETRAINING_TASKS}
read = read_registry()
benchmark = RoboCasa(RoboCasaConfig(task="atomic_seen"))
try:
    benchmark.make_env(benchmark.tasks()[0])
    refusal = ""
except ConfigError as error:
    refusal = str(error)
print()
print(json.dumps([
    read.horizons == {name: entry["horizon"] for name, entry in every.items()},
    {name: list(tasks) for name, tasks in read.groups.items()} == groups, len(every), refusal,
]))
"""
    same_limits, same_groups, n_tasks, refusal = from_program(sys.executable, robocasa_beside(), "-c", program)

    assert same_limits
    assert same_groups
    assert n_tasks == 317
    assert "download_kitchen_assets --type tex fixtures_lw objs_lw" in refusal


def test_a_registry_of_another_form_is_refused(tmp_path):
    file = tmp_path / "dataset_registry.py"
    file.write_text("TASKS = {}\n")

    with pytest.raises(ConfigError, match=r"tasks cannot be read from .*dataset_registry\.py: KeyError"):
        read_registry(file)
