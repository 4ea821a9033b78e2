"""SimplerEnv-Bridge on ManiSkill's own code, with a stand-in for its downloads (``bridge_assets.py``).

ManiSkill reads the folder of downloads once in a process, so all of this happens in processes of their own.
"""

import json
import subprocess
import sys

import bridge_assets
import numpy as np
import pytest

from proctor.benchmarks.maniskill.simpler import SCENES, Simpler, SimplerConfig
from proctor.errors import ConfigError

PROGRAM = """
import json, sys
import numpy as np
import proctor.benchmarks.maniskill.simpler as simpler
from proctor.testing.episodes import always, episode, opened

folder, name, success, n_steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
config = simpler.SimplerConfig(assets=folder, task=name, success=success, episode_length=n_steps)
benchmark = simpler.Simpler(config)
with opened(benchmark) as env:
    def of(seed, state, look):
        return [[*moment] for moment in episode(env, seed, 4, look=look, init_state_id=state)]
    seen = env.reset(0, 5, look=True)
    image, robot = seen["observation.images.image_0"], seen["observation.state"]
    told = {
        "observed": {key: [str(array.dtype), [*array.shape]] for key, array in seen.items()},
        "fits": env.observation_space.contains(seen),
        "action": [str(env.action_space.dtype), [*env.action_space.shape], env.fps],
        "state": robot.tolist(),
        "corner": image[:4, :4].std().item(),
        "frame": [*env.render().shape],
        "looked": of(1, 3, always), "unlooked": of(1, 3, lambda _: False), "other": of(1, 4, always),
        "again": of(1, 3, always),
    }
    own = env._simulator.env
    told["n_states"] = len(own.xyz_configs) * len(own.quat_configs)
    told["instruction"] = own.get_language_instruction()[0]
    from mani_skill.utils.registration import REGISTERED_ENVS
    told["horizon"] = REGISTERED_ENVS[simpler.SCENES[name].maniskill].max_episode_steps
    own.evaluate = lambda **_: {"success": own.elapsed_steps == 2}  # it holds after the second step alone
    told["success"] = [[m.success, m.over] for m in episode(env, 1, 9, init_state_id=3)]
print(json.dumps(told))
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory, vulkan):
    folder = tmp_path_factory.mktemp("assets")
    bridge_assets.write(folder)
    return folder


@pytest.fixture(scope="session")
def told(folder):
    """What a process says of a task; each is asked once."""
    answers = {}

    def of(name, success, n_steps):
        if (name, success, n_steps) not in answers:
            command = [sys.executable, "-c", PROGRAM, folder, name, success, n_steps]
            done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            answers[name, success, n_steps] = json.loads(done.stdout.splitlines()[-1])
        return answers[name, success, n_steps]

    return of


@pytest.mark.parametrize("name", SCENES)
def test_every_task_is_made_and_steps(told, name):
    """With ManiSkill's instruction, step limit and number of stored states."""
    scene, answer = SCENES[name], told(name, "end", 4)

    assert (answer["instruction"], answer["horizon"], answer["n_states"]) == scene[1:]
    assert answer["observed"] == {
        "observation.images.image_0": ["uint8", [480, 640, 3]],
        "observation.state": ["float32", [8]],
    }
    assert answer["fits"]
    assert answer["action"] == ["float32", [7], 5.0]
    assert np.isclose(np.linalg.norm(answer["state"][3:7]), 1)
    assert answer["state"][7] == 1.0  # the gripper is open
    assert answer["corner"] > 10  # the photograph behind the scene
    assert len(answer["frame"]) == 3


@pytest.mark.parametrize("name", ["widowx_carrot_on_plate"])
def test_an_episode_is_its_seeds_and_stored_states(told, name):
    """Looked at or not, after others or not; another stored state is another episode."""
    answer = told(name, "end", 4)

    assert answer["again"] == answer["looked"]
    assert [moment[:4] for moment in answer["unlooked"]] == [moment[:4] for moment in answer["looked"]]
    assert answer["other"][0][0] != answer["looked"][0][0]


def test_success_counts_at_the_end_or_at_any_step(told):
    """A success that is lost again counts by one rule and not by the other; the other rule ends the episode."""
    at_the_end = told("widowx_carrot_on_plate", "end", 4)["success"]
    last = told("widowx_carrot_on_plate", "end", 2)["success"]
    anywhere = told("widowx_carrot_on_plate", "any", 4)["success"]

    assert at_the_end == [[False, False], [False, False], [False, False], [False, False], [False, True]]
    assert last == [[False, False], [False, False], [True, True]]
    assert anywhere == [[False, False], [False, False], [True, True]]


def test_tasks_have_simplerenvs_names_or_maniskills():
    """Alone, or all four; an episode starts from a stored state."""
    both = Simpler(SimplerConfig(task="PutCarrotOnPlateInScene-v1,widowx_stack_cube")).tasks()
    everything = Simpler(SimplerConfig())

    assert [task.name for task in both] == ["widowx_carrot_on_plate", "widowx_stack_cube"]
    assert [task.name for task in everything.tasks()] == [*SCENES]
    assert [everything.init_state_id(everything.tasks()[3], i) for i in (0, 63, 64)] == [0, 63, 0]
    with pytest.raises(ConfigError, match="Did you mean 'widowx_carrot_on_plate'"):
        Simpler(SimplerConfig(task="widowx_carrot_on_plates")).tasks()


@pytest.mark.usefixtures("vulkan")
def test_without_the_downloads_a_sentence_says_what_to_fetch(tmp_path):
    """In a process of its own, with an empty folder."""
    program = """
import sys
from proctor.benchmarks.maniskill.simpler import Simpler, SimplerConfig
benchmark = Simpler(SimplerConfig(assets=sys.argv[1]))
try:
    benchmark.make_env(benchmark.tasks()[0])
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)

    fetch = "python -m mani_skill.utils.download_asset"
    assert f"ConfigError: PutSpoonOnTableClothInScene-v1 needs files that are not in {tmp_path}" in done.stdout
    assert f"`{fetch} bridge_v2_real2sim` and `{fetch} widowx250s`" in done.stdout
    assert not [*tmp_path.iterdir()]
